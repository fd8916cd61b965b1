// What the documents take for granted: a machine with /srv and /restored on btrfs and some files in the working directory,
// and another one behind `ssh backup`. Processes see it in a mount namespace, below a root of their own.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { CLI, type Ended, run } from '../cli/run.js'
import { type SkippableTest, testDirectory } from './filesystems.js'
import { BARE } from './injected.js'
import { sshServer } from './ssh-server.js'

/** Runs what follows a directory, of which everything takes the place of what the root has. */
const ENTER = `set -e
own=$1
shift
mount --make-rprivate /
mount -t tmpfs none "$own/.root"
for entry in /* "$own"/*; do
  to=$own/.root/\${entry##*/}
  if [ -L "$entry" ]; then
    cp -P "$entry" "$to"
  elif [ -d "$entry" ]; then
    mkdir -p "$to"
    mount --rbind "$entry" "$to"
  fi
done
exec chroot "$own/.root" bash -c 'cd "$0"; exec "$@"' "$PWD" "$@"
`
/** The number of the inode that a subvolume of btrfs begins with. */
const SUBVOLUME = 256

export interface World {
  /** The working directory. */
  readonly here: string
  /** In the PATH, ahead of all else. */
  readonly bin: string
  /** On the machine itself, what is in a directory that it has of its own. */
  own(path: string): string
  /** Mounts a tmpfs there. */
  mountSmall(path: string, bytes: number): void
  /** By bash. */
  run(script: string): Promise<Ended>
}

/** Ends with the test. Undefined, and the test is skipped, where there can be none. */
export function newWorld(t: SkippableTest): World | undefined {
  const base = testDirectory(t, 'btrfs')
  if (base === undefined) return undefined
  // Before the directory goes: what is read-only cannot be removed.
  t.teardown(() => deleteSubvolumes(base))
  const at = (...names: readonly string[]) => join(base, ...names)
  for (const machine of ['own', 'backup']) {
    for (const name of ['.root', 'restored']) fs.mkdirSync(at(machine, name), { recursive: true })
    execFileSync('btrfs', ['-q', 'subvolume', 'create', at(machine, 'srv')])
  }
  for (const name of ['bin', 'here', 'home']) fs.mkdirSync(at(name))
  fs.symlinkSync(CLI, at('bin/reftar'))
  const variables = [`HOME=${at('home')}`, 'TZ=UTC', 'LC_ALL=C.UTF-8', `PATH=${at('bin')}:${PATH}`]
  return {
    here: at('here'),
    bin: at('bin'),
    own: path => at('own', path),
    mountSmall(path, bytes) {
      const mountPoint = at('own', path)
      fs.mkdirSync(mountPoint, { recursive: true })
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'none', mountPoint])
      t.teardown(() => void execFileSync('umount', [mountPoint]))
    },
    run(script) {
      const command = [...BARE, ...variables, ...inside(at('own')), 'bash', '-euo', 'pipefail', '-c', script]
      return run(command, { cwd: at('here') })
    },
  }
}

const PATH = `${dirname(process.execPath)}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`

/** Goes ahead of a command. */
function inside(machine: string): string[] {
  return ['unshare', '--mount', 'bash', '-c', ENTER, 'enter', machine]
}

/** Answers to `ssh backup`. */
export async function addBackupHost(t: SkippableTest, { bin, here }: World): Promise<void> {
  const server = await sshServer(t, inside(join(here, '../backup')))
  if (server) addCommand(bin, 'ssh', `exec /usr/bin/ssh -F ${server.config} "$@"`)
}

/** A command of the world that is one of this machine, told where things are. */
export function addCommand(bin: string, name: string, script: string): void {
  fs.writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
}

function deleteSubvolumes(base: string): void {
  const found = execFileSync('find', [base, '-depth', '-inum', String(SUBVOLUME), '-type', 'd'], {
    encoding: 'utf8',
  })
  for (const subvolume of found.split('\n').filter(line => line !== ''))
    execFileSync('btrfs', ['-q', 'subvolume', 'delete', subvolume], { stdio: 'pipe' })
}
