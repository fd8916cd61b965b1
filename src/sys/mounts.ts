import { readFileSync, readlinkSync } from 'node:fs'

/** A mounted filesystem, as proc_pid_mountinfo(5) has it. Paths are latin1, a character for each byte. */
export interface Mount {
  readonly id: number
  /** Two mounts of one filesystem have the same. */
  readonly device: string
  readonly point: string
  /** Of the filesystem, with commas between them. */
  readonly options: string
}

/** Where an open directory is mounted, and what is mounted below it. @throws where there is no /proc */
export function mountsAt(fd: number): { readonly own: Mount | undefined; readonly below: readonly Mount[] } {
  const [, id] = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? []
  const path = readlinkSync(`/proc/self/fd/${fd}`, 'latin1').replace(/\/$/, '')
  const mounts = readFileSync('/proc/self/mountinfo', 'latin1').trimEnd().split('\n').map(decodeMount)
  return {
    own: mounts.find(mount => mount.id === Number(id)),
    below: mounts.filter(({ point }) => point.startsWith(`${path}/`)),
  }
}

function decodeMount(line: string): Mount {
  const [before = '', after = ''] = line.split(' - ')
  const [id, , device = '', , point = ''] = before.split(' ')
  const [, , options = ''] = after.split(' ')
  return { id: Number(id), device, point: unescaped(point), options }
}

/** Blanks and backslashes are written as \040. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
