import { pipeline } from 'node:stream/promises'
import { type ListedEntry, list } from '../list.js'
import type { EntryType, Metadata, Time, Xattr } from '../record.js'
import { openInput } from './archive-input.js'
import { type LimitOptions, limitsOf } from './limits.js'
import { escapePath, Output, pathFields } from './output.js'
import { DIFFERS, DONE, run } from './run.js'

export interface ListCommand extends LimitOptions {
  readonly file: string
  readonly verbose: boolean
  readonly json: boolean
}

export async function runList(command: ListCommand): Promise<void> {
  const { file, verbose, json } = command
  const output = new Output({ ...command, stdoutIsTaken: false })
  await run(output, async signal => {
    const entries = list({ limits: limitsOf(command) })
    let changed = 0
    await pipeline(
      await openInput(file, signal),
      entries,
      async (source: AsyncIterable<ListedEntry>) => {
        for await (const listed of source) {
          if (listed.changed) changed++
          if (json) output.object(asObject(listed))
          else output.line(verbose ? longLine(listed) : name(listed))
          if (output.drained) await output.drained
        }
      },
      { signal },
    )
    return { status: changed > 0 ? DIFFERS : DONE, summary: { archive: entries.summary } }
  })
}

function asObject({ entry, path, size, changed, linkPath }: ListedEntry) {
  const { mode, owner, modified, linkTarget, device, xattrs, flags, project, reserved } = entry.metadata
  const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes)
  return {
    type: 'entry',
    path,
    ordinal: entry.ordinal,
    entryType: entry.type,
    size,
    mode,
    ...(owner && { uid: owner.uid, gid: owner.gid, user: text(owner.user), group: text(owner.group) }),
    modified,
    ...(linkTarget && {
      linkTarget: text(linkTarget),
      linkTargetBase64: Buffer.from(linkTarget).toString('base64'),
    }),
    ...(linkPath && { link: pathFields(linkPath) }),
    device,
    ...(xattrs?.length && { xattrs: xattrs.map(xattrFields) }),
    ...(flags && { flags }),
    ...(project && { project }),
    reserved,
    ...(changed && { changed }),
  }
}

function xattrFields({ name, value }: Xattr) {
  const { path, pathBase64 } = pathFields(name)
  const base64 = Buffer.from(value).toString('base64')
  return { name: path, ...(pathBase64 && { nameBase64: pathBase64 }), valueBase64: base64 }
}

function name({ entry, path }: ListedEntry): string {
  return escapePath(path) + (entry.type === 'directory' ? '/' : '')
}

const LETTERS: Record<EntryType, string> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  hardlink: 'h',
  characterDevice: 'c',
  blockDevice: 'b',
  fifo: 'p',
}

/** As `tar -tv` has it. */
function longLine(listed: ListedEntry): string {
  const { entry, size } = listed
  const { metadata, type } = entry
  const { linkTarget, device } = metadata
  const amount = device ? `${device.major},${device.minor}` : String(size)
  const link = linkTarget
    ? ` -> ${escapePath(linkTarget)}`
    : listed.linkPath
      ? ` link to ${escapePath(listed.linkPath)}`
      : ''
  const fields = [
    LETTERS[type] + permissions(metadata.mode),
    owner(metadata),
    amount.padStart(12),
    time(metadata.modified),
  ]
  return `${fields.join(' ')} ${name(listed)}${link}${listed.changed ? ' (changed while it was archived)' : ''}`
}

function permissions(mode: number | undefined): string {
  if (mode === undefined) return '?????????'
  const letters = Array.from('rwxrwxrwx', (letter, i) => (mode & (0o400 >> i) ? letter : '-'))
  const special = [
    [0o4000, 2, 's'],
    [0o2000, 5, 's'],
    [0o1000, 8, 't'],
  ] as const
  for (const [bit, at, letter] of special) {
    if (mode & bit) letters[at] = letters[at] === 'x' ? letter : letter.toUpperCase()
  }
  return letters.join('')
}

function owner({ owner }: Metadata): string {
  if (!owner) return '?/?'
  const user = owner.user ? escapePath(owner.user) : owner.uid
  const group = owner.group ? escapePath(owner.group) : owner.gid
  return `${user}/${group}`
}

function time(modified: Time | undefined): string {
  const date = new Date((modified?.seconds ?? Number.NaN) * 1000)
  if (Number.isNaN(date.getTime())) return modified ? `@${modified.seconds}`.padEnd(16) : '?'.padEnd(16)
  const two = (value: number) => String(value).padStart(2, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`
}
