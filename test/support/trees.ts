// Makes trees, archives them, restores them, and replays records without anything of src/fs.
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import type { Test } from 'tap'
import { type CreateOptions, type CreateSummary, create } from '../../src/create.js'
import { ReftarError } from '../../src/errors.js'
import type { Path, ReftarEvent } from '../../src/event.js'
import { type ExtractOptions, type ExtractSummary, extract } from '../../src/extract.js'
import { type ListedEntry, list } from '../../src/list.js'
import type { ArchiveRecord, EndState, Reference } from '../../src/record.js'
import { extentDecoder } from '../../src/stream/extent-decoder.js'
import { compareTrees } from './compare-trees.js'
import { regularFiles, sharingKept } from './fiemap.js'

export const KIB = 1024
export const MIB = 1024 * 1024
/** It has no FIEMAP. */
const TMPFS = 0x01021994

/** Bytes of which no two blocks are equal, the same for the same seed. */
export function noise(length: number, seed: number | string = 0): Buffer {
  return createHash('shake256', { outputLength: Math.max(1, length) })
    .update(String(seed))
    .digest()
    .subarray(0, length)
}

/** Text of which no two blocks are equal, and which compresses well. */
export function text(length: number): Buffer {
  let lines = ''
  for (let i = 0; lines.length < length; i++)
    lines += `line ${i} of some text that compresses very well indeed\n`
  return Buffer.from(lines.slice(0, length))
}

/** Two new directories: one to fill, one to restore to. */
export function sourceAndTarget(
  directory: string,
  targetDirectory = directory,
): { source: string; target: string } {
  const places = { source: join(directory, 'source'), target: join(targetDirectory, 'target') }
  for (const place of Object.values(places)) fs.mkdirSync(place)
  return places
}

export function reflink(from: string, to: string): void {
  execFileSync('cp', ['--reflink=always', '--', from, to])
}

/** Writes into an existing file. */
export function overwrite(file: string, position: number, bytes: Uint8Array): void {
  const fd = fs.openSync(file, 'r+')
  fs.writeSync(fd, bytes, 0, bytes.byteLength, position)
  fs.closeSync(fd)
}

/** A file of one size that has data only where it is said. */
export function sparse(
  file: string,
  size: number,
  ...data: readonly [offset: number, bytes: Uint8Array][]
): void {
  fs.writeFileSync(file, '')
  fs.truncateSync(file, size)
  for (const [offset, bytes] of data) overwrite(file, offset, bytes)
}

export interface Archived {
  readonly bytes: Buffer
  readonly summary: CreateSummary
  readonly events: ReftarEvent[]
}

export async function archive(paths: Iterable<Path>, options: CreateOptions = {}): Promise<Archived> {
  const events: ReftarEvent[] = []
  const source = create(paths, { ...options, onEvent: event => events.push(event) })
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return { bytes: Buffer.concat(chunks), summary: source.summary, events }
}

export interface Restored {
  readonly summary: ExtractSummary
  readonly events: ReftarEvent[]
}

export async function restore(
  bytes: Uint8Array,
  target: Path,
  options: ExtractOptions = {},
): Promise<Restored> {
  const events: ReftarEvent[] = []
  const sink = extract(target, { ...options, onEvent: event => events.push(event) })
  await run(Readable.from(pieces(bytes), { objectMode: false }), sink)
  return { summary: sink.summary, events }
}

export async function listed(bytes: Uint8Array): Promise<ListedEntry[]> {
  const stage = list()
  const entries: ListedEntry[] = []
  const feeding = run(Readable.from(pieces(bytes), { objectMode: false }), stage)
  for await (const entry of stage) entries.push(entry)
  await feeding
  return entries
}

export async function decoded(bytes: Uint8Array): Promise<ArchiveRecord[]> {
  const stage = extentDecoder()
  const records: ArchiveRecord[] = []
  const feeding = run(Readable.from(pieces(bytes), { objectMode: false }), stage)
  for await (const record of stage) records.push(record)
  await feeding
  return records
}

export function references(records: readonly ArchiveRecord[]): Reference[] {
  return records.filter(record => record.kind === 'reference')
}

/**
 * Node's own pipeline, which knows streams of the streamx kind but not by their types. When it fails, this waits until
 * the last stream has closed: only then is everything rolled back.
 */
export async function run(...streams: readonly unknown[]): Promise<void> {
  const last = streams.at(-1) as Writable
  const closed = new Promise(resolve => last.once('close', resolve))
  try {
    await pipeline(streams as [Readable, Writable])
  } catch (error) {
    await closed
    throw error
  }
}

/** Copies, for bytes belong to the stage that takes them. */
function* pieces(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.byteLength; at += 300_007)
    yield Uint8Array.from(bytes.subarray(at, at + 300_007))
}

/** Archives all that is in `source`, restores it, and asserts that it is equal and that its sharing was kept. */
export async function checkRoundTrip(
  t: Pick<Test, 'same' | 'equal'>,
  source: string,
  target: string,
  options: ExtractOptions = {},
): Promise<Archived & { readonly restored: ExtractSummary }> {
  const archived = await archive(['.'], { directory: source })
  const { summary } = await restore(archived.bytes, target, options)
  t.same(compareTrees(source, target), [], 'equal trees')
  if (fs.statfsSync(source).type !== TMPFS && fs.statfsSync(target).type !== TMPFS) {
    const { sourceShared, keptShared } = sharingKept(source, target, regularFiles(source))
    t.equal(keptShared, sourceShared, 'all sharing kept')
  }
  return { ...archived, restored: summary }
}

/** The error that something fails with. */
export async function failure(work: Promise<unknown> | (() => unknown)): Promise<ReftarError> {
  try {
    await (typeof work === 'function' ? work() : work)
  } catch (error) {
    if (error instanceof ReftarError) return error
    throw error
  }
  throw new Error('it did not fail')
}

export function problems(events: readonly ReftarEvent[]): string[] {
  return events.flatMap(event => (event.type === 'problem' ? `${event.code} ${Buffer.from(event.path)}` : []))
}

export function notes(events: readonly ReftarEvent[]): string[] {
  return events.flatMap(event => (event.type === 'note' ? event.message : []))
}

/** Every name below a directory, with `/` between components. */
export function namesBelow(directory: string): string[] {
  const names = execFileSync('find', [directory, '-mindepth', '1', '-printf', '%P\\0'], {
    encoding: 'latin1',
  })
  return names.split('\0').slice(0, -1).sort()
}

/** How many descriptors this process has open. */
export function openDescriptors(): number {
  return fs.readdirSync('/proc/self/fd').length
}

/** The same once nothing opens or closes any more: a thread lets go of its own a little after its end is told. */
export async function settledDescriptors(): Promise<number> {
  let count = openDescriptors()
  for (let same = 0; same < 5; same++) {
    await setTimeout(4)
    const now = openDescriptors()
    if (now !== count) same = -1
    count = now
  }
  return count
}

/** How many are open: as many as are expected, if that comes true within a second. */
export async function descriptorsAfter(expected: number): Promise<number> {
  for (let i = 0; i < 250 && openDescriptors() !== expected; i++) await setTimeout(4)
  return openDescriptors()
}

export interface Replayed {
  readonly bytes: Buffer
  readonly state: EndState
}

/** The files that records stand for, by name, with holes and missing bytes as zeros. */
export function replay(records: Iterable<ArchiveRecord>): Map<string, Replayed> {
  const files = new Map<string, Replayed>()
  let space = Buffer.alloc(MIB)
  let used = 0
  let name = ''
  let parts: Uint8Array[] = []
  for (const record of records) {
    if (record.kind === 'entry') {
      name = Buffer.from(record.name).toString('latin1')
      parts = []
    } else if (record.kind === 'end') {
      files.set(name, { bytes: Buffer.concat(parts), state: record.state })
    } else if (record.kind === 'data') {
      parts.push(record.bytes)
      if (used + record.bytes.byteLength > space.byteLength)
        space = Buffer.concat([space, Buffer.alloc(space.byteLength + record.bytes.byteLength)])
      space.set(record.bytes, used)
      used += record.bytes.byteLength
    } else if (record.kind === 'reference') {
      const { address, length } = record
      if (address + length > used) throw new Error(`a reference to ${address}+${length} dangles`)
      parts.push(space.subarray(address, address + length))
    } else {
      parts.push(Buffer.alloc(record.length))
    }
  }
  return files
}

export interface Ended {
  readonly code: number | null
  readonly output: string
}

/** Runs a command to its end, and gives what it said. */
export function ended(command: string, ...args: readonly string[]): Promise<Ended> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', chunk => {
      output += chunk
    })
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => resolve({ code, output }))
  })
}

/** The command that runs the source of a module in a process of its own, without what the test runner injects. */
export function moduleCommand(source: string): readonly [string, ...string[]] {
  const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', source]
  return ['env', '-u', 'NODE_OPTIONS', ...node]
}

/** Source of a module that becomes a user without any privilege, called nobody. */
export const BECOME_NOBODY = 'process.setgroups([]); process.setgid(65534); process.setuid(65534);'
