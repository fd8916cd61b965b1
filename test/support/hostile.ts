// Archives that mean harm, made by a writer that obeys, and a place to open them in: a target, with things beside it
// that nothing may change.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import type { Test } from 'tap'
import {
  bytes,
  data,
  end,
  entry,
  hole,
  type RawArchive,
  type RawEntry,
  type RawRow,
  rawArchive,
  reference,
  TAG,
  TYPE,
  text,
} from '../../fixtures/recipes/raw.js'
import { type ErrorCode, ReftarError } from '../../src/errors.js'
import type { ExtractOptions } from '../../src/extract.js'
import { list } from '../../src/list.js'
import { verify } from '../../src/verify.js'
import { type FilesystemName, testDirectory } from './filesystems.js'
import { failure, problems, restore, run } from './trees.js'

export type Field = readonly [tag: number, value: Uint8Array]

export const NOBODY = 65534
export const STRANGER = 4321

export const u64 = (value: number): Uint8Array => bytes(out => out.u64(value))
export const u32 = (...values: number[]): Uint8Array =>
  bytes(out => values.forEach(value => void out.u32(value)))

export function mode(bits: number): Field {
  return [TAG.mode, bytes(out => out.u16(bits))]
}

/** The last two are places in the table of owner names. */
export function owner(uid: number, gid: number, user = 0, group = 0): Field {
  return [TAG.owner, bytes(out => out.u32(uid).u32(gid).u16(user).u16(group))]
}

export function modified(seconds: number): Field {
  return [TAG.modified, bytes(out => out.u64(seconds).u32(0))]
}

export function xattrs(...list: readonly (readonly [name: string, value: Uint8Array | string])[]): Field {
  const value = bytes(out => {
    for (const [name, content] of list) {
      const bytes = typeof content === 'string' ? text(content) : content
      out.u8(name.length).u24(bytes.byteLength).append(text(name)).append(bytes)
    }
  })
  return [TAG.xattrs, value]
}

export function flags(bits: number): Field {
  return [TAG.flags, bits === 0 ? new Uint8Array(0) : u32(bits)]
}

/** All that can be set of an entry, none of which is as the sentinel has it. */
export const METADATA: readonly Field[] = [
  mode(0o6777),
  owner(STRANGER, STRANGER),
  modified(1),
  xattrs(['trusted.hostile', 'yes']),
]

export function file(name: string, options: RawEntry = {}, ...extents: readonly RawRow[]): RawRow[] {
  return [entry({ ...options, name }), ...extents, end()]
}

export function directory(name: string, parent = 0, fields: readonly Field[] = []): RawRow {
  return entry({ type: TYPE.directory, name, parent, fields })
}

export function symlink(name: string, target: string, parent = 0, more: RawEntry = {}): RawRow {
  const fields = [...(more.fields ?? []), [TAG.linkTarget, text(target)] as const]
  return entry({ ...more, type: TYPE.symlink, name, parent, fields: fields.sort(([a], [b]) => a - b) })
}

export function hardlink(name: string, to: number, parent = 0): RawRow {
  return entry({ type: TYPE.hardlink, name, parent, fields: [[TAG.linkTo, u64(to)]] })
}

export function fifo(name: string, parent = 0, fields: readonly Field[] = [], linked = 0): RawRow {
  return entry({ type: TYPE.fifo, name, parent, fields, flags: linked })
}

export function device(name: string, type: number, major: number, minor: number): RawRow {
  return entry({ type, name, fields: [[TAG.device, u32(major, minor)]] })
}

/** Of one segment, in any order of names. */
export function unsorted(rows: readonly RawRow[], more: RawArchive = {}): Uint8Array {
  return rawArchive({ flags: 0, blockSize: 4096, segments: [{ rows }], ...more })
}

/** Bytes of which no two blocks are equal. */
export function content(length: number, seed = 'content'): Uint8Array {
  return createHash('shake256', { outputLength: length }).update(seed).digest()
}

/** A target, and what lies beside it. */
export interface Ground {
  readonly base: string
  readonly target: string
  /** A target to salvage to. */
  readonly salvaged: string
  /** The sentinel: a file. */
  readonly victim: string
  /** A directory with a file in it. */
  readonly outside: string
}

export function ground(t: Test, name: FilesystemName): Ground | undefined {
  const base = testDirectory(t, name)
  if (base === undefined) return undefined
  const [target, salvaged, victim, outside] = ['target', 'salvaged', 'victim', 'outside'].map(name =>
    join(base, name),
  ) as [string, string, string, string]
  for (const directory of [target, salvaged, outside, `${target}-evil`])
    fs.mkdirSync(directory, { mode: 0o755 })
  for (const path of [victim, join(outside, 'inner'), join(`${target}-evil`, 'inner')]) {
    fs.writeFileSync(path, 'untouched', { mode: 0o640 })
    fs.utimesSync(path, 1_000_000, 1_000_000)
  }
  return { base, target, salvaged, victim, outside }
}

/** All that can be told of what is beside the targets, and of the targets but what is in them. */
export function beside({ base, target, salvaged }: Ground): string[] {
  const lines: string[] = []
  const look = (path: string) => {
    const { ino, mode, uid, gid, nlink, size, mtimeNs, ctimeNs } = fs.lstatSync(path, { bigint: true })
    const isTarget = path === target || path === salvaged
    // What is made in a directory changes its times, and how many directories are in it.
    const changing = isTarget ? [] : [nlink, size, mtimeNs, ctimeNs]
    const isFile = (mode & 0o170000n) === 0o100000n
    const sha = isFile ? createHash('sha256').update(fs.readFileSync(path)).digest('hex') : ''
    lines.push([path, ino, mode.toString(8), uid, gid, ...changing, sha].join(' '))
    if (isTarget || (mode & 0o170000n) !== 0o040000n) return
    for (const name of fs.readdirSync(path).sort()) look(join(path, name))
  }
  look(base)
  return lines
}

/** Names, types, modes, owners, sizes and times of what is in a directory. */
export function inside(directory: string): string[] {
  return namesIn(directory).map(name => {
    const path = Buffer.from(`${directory}/${name}`, 'latin1')
    const { ino, mode, uid, gid, size, mtimeNs } = fs.lstatSync(path, { bigint: true })
    const isDirectory = (mode & 0o170000n) === 0o040000n
    return [name, ino, mode.toString(8), uid, gid, ...(isDirectory ? [] : [size, mtimeNs])].join(' ')
  })
}

/** What the writer calls its own. */
export function leftovers(...directories: readonly string[]): string[] {
  return directories.flatMap(directory => namesIn(directory).filter(name => name.includes('.reftar-')))
}

/** All names below a directory, as latin1, without following links as node:fs does. */
function namesIn(directory: string): string[] {
  const names: string[] = []
  const look = (below: string) => {
    for (const entry of fs.readdirSync(Buffer.from(`${directory}/${below}`, 'latin1'), {
      encoding: 'latin1',
      withFileTypes: true,
    })) {
      names.push(below + entry.name)
      if (entry.isDirectory()) look(`${below}${entry.name}/`)
    }
  }
  look('')
  return names.sort()
}

/** Takes all flags of inodes away, of those that are there: what is immutable cannot be removed. */
export function clearFlags(...paths: readonly string[]): void {
  const script = [
    'import fcntl, os, struct, sys',
    'for path in sys.argv[1:]:',
    '    if os.path.isfile(path) and not os.path.islink(path):',
    '        fcntl.ioctl(os.open(path, os.O_RDONLY), 0x40086602, struct.pack("q", 0))',
  ]
  execFileSync('python3', ['-c', script.join('\n'), ...paths])
}

export function empty(directory: string): void {
  for (const name of fs.readdirSync(directory, { encoding: 'buffer' }))
    fs.rmSync(Buffer.concat([Buffer.from(`${directory}/`), name]), { recursive: true })
}

export async function verified(archive: Uint8Array, against?: string): Promise<number> {
  const sink = verify(against === undefined ? {} : { against })
  const closed = new Promise(resolve => sink.once('close', resolve))
  await run(whole(archive), sink)
  await closed
  return sink.summary.tree?.differences ?? 0
}

/** All that a list gives is taken, and let go of. */
export async function walked(archive: Uint8Array): Promise<void> {
  const sink = new Writable({ objectMode: true, write: (_, __, done) => done() })
  await run(whole(archive), list(), sink)
}

/** Of a copy, for bytes belong to the stage that takes them. */
function whole(archive: Uint8Array): Readable {
  return Readable.from([Uint8Array.from(archive)], { objectMode: false })
}

type Reader = (archive: Uint8Array, target: string, options?: ExtractOptions) => Promise<unknown>

/** All ways to read an archive: what one of them refuses, each must refuse. */
const READERS: Readonly<Record<string, Reader>> = {
  list: walked,
  verify: archive => verified(archive),
  'verify against': (archive, target) => verified(archive, target),
  extract: (archive, target) => restore(archive, target),
  'extract over': (archive, target) => restore(archive, target, { existing: 'overwrite' }),
  'extract and keep': (archive, target) => restore(archive, target, { existing: 'keep' }),
}

/**
 * What is wrong with how an archive is refused, in words: by every reader, with one code that tells the offset and
 * the entry; nothing beside the target changed, nothing in it, and nothing is left in it.
 */
export async function refusals(
  place: Ground,
  archive: Uint8Array,
  code: ErrorCode,
  isOfEntry = true,
): Promise<string[]> {
  const wrong: string[] = []
  const before = beside(place)
  const content = inside(place.target)
  for (const [what, read] of Object.entries(READERS)) {
    const error = await failure(read(archive, place.target)).catch(error => error as Error)
    if (!('code' in error) || error.code !== code) wrong.push(`${what}: ${error}`)
    else if (!isLocated(error as ReftarError, isOfEntry)) wrong.push(`${what} does not say where: ${error}`)
  }
  // It makes the best of what it gets, but never more than the others may.
  await restore(archive, place.salvaged, { salvage: true }).catch(error => {
    if (!(error instanceof ReftarError)) wrong.push(`salvage: ${error}`)
  })
  if (`${beside(place)}` !== `${before}`)
    wrong.push(`beside the target:\n${differing(before, beside(place))}`)
  if (`${inside(place.target)}` !== `${content}`) wrong.push(`in the target: ${inside(place.target)}`)
  wrong.push(...leftovers(place.target, place.salvaged))
  empty(place.salvaged)
  return wrong
}

export function differing(before: readonly string[], after: readonly string[]): string {
  const lost = before.filter(line => !after.includes(line)).map(line => `- ${line}`)
  const found = after.filter(line => !before.includes(line)).map(line => `+ ${line}`)
  return [...lost, ...found].join('\n')
}

function isLocated({ offset, path, message }: ReftarError, isOfEntry: boolean): boolean {
  if (offset === undefined || !message.includes(`(at byte ${offset})`)) return false
  return !isOfEntry || (path?.byteLength ?? 0) > 0 || /entry \d+/.test(message)
}

const SOME = content(5000)
/** Two entries, one of which can be linked to, before those of {@link CARRIERS}. */
export const BEFORE: readonly RawRow[] = [...file('A', { flags: 1 }, data(SOME)), directory('D')]

/** Everything that can carry a name. */
export const CARRIERS: Readonly<Record<string, (name: string, parent: number) => RawRow[]>> = {
  'an empty file': (name, parent) => file(name, { parent }),
  'a file with data': (name, parent) => file(name, { parent }, data(content(100, 'more'))),
  'a file with a hole': (name, parent) => file(name, { parent }, hole(5000)),
  'a file with a reference': (name, parent) => file(name, { parent }, reference(0, SOME.byteLength)),
  'a file with metadata': (name, parent) => file(name, { parent, fields: METADATA }),
  'a directory': (name, parent) => [directory(name, parent, [mode(0o777)])],
  'a directory that is implied': (name, parent) => [directory(name, parent)],
  'a directory with metadata': (name, parent) => [directory(name, parent, METADATA)],
  'a directory with an entry': (name, parent) => [directory(name, parent), fifo('x', 3)],
  'a symlink': (name, parent) => [symlink(name, '../victim', parent)],
  'a hard link': (name, parent) => [hardlink(name, 1, parent)],
  'a FIFO': (name, parent) => [fifo(name, parent)],
  'a FIFO with metadata': (name, parent) => [fifo(name, parent, METADATA)],
  'a device': name => [device(name, TYPE.characterDevice, 1, 3)],
}

/** Extracts in every way with names that exist, and says what came of it. */
export async function eachWay(
  place: Ground,
  archive: Uint8Array,
  check: (existing: NonNullable<ExtractOptions['existing']>, outcome: string) => void,
  prepare: () => void,
): Promise<void> {
  for (const existing of ['refuse', 'keep', 'overwrite'] as const) {
    empty(place.target)
    prepare()
    const outcome = await restore(archive, place.target, { existing }).then(
      ({ events }) => problems(events).join() || 'done',
      (error: { code?: string }) => `${error.code}`,
    )
    check(existing, outcome)
  }
}
