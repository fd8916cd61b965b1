// Reads through FIEMAP where the bytes of files lie on their device. Uses nothing of src/, so that it can
// be the judge of it. Physical addresses compare only within one filesystem, and only while the files stay
// as they are.
import * as fs from 'node:fs'
import { endianness } from 'node:os'
import koffi from 'koffi'

export type FiemapRow = { logical: number; physical: number; length: number; flags: number }
export type EncodedExtent = { logical: number; physical: number; length: number }
export type Storage = { apparent: number; unique: number; shared: number }
export type SharingKept = { sourceShared: number; keptShared: number }
type Path = string | Buffer
/** `from` to `to` (exclusive) in the address space of a filesystem. */
type Interval = { from: number; to: number }

export const FIEMAP_EXTENT_LAST = 0x1
export const FIEMAP_EXTENT_UNKNOWN = 0x2
export const FIEMAP_EXTENT_DELALLOC = 0x4
export const FIEMAP_EXTENT_ENCODED = 0x8
export const FIEMAP_EXTENT_NOT_ALIGNED = 0x100
export const FIEMAP_EXTENT_DATA_INLINE = 0x200
export const FIEMAP_EXTENT_UNWRITTEN = 0x800
export const FIEMAP_EXTENT_SHARED = 0x2000

/** Rows with one of these say nothing of where the bytes lie, or hold none. */
const UNUSABLE =
  FIEMAP_EXTENT_UNKNOWN |
  FIEMAP_EXTENT_DELALLOC |
  FIEMAP_EXTENT_ENCODED |
  FIEMAP_EXTENT_NOT_ALIGNED |
  FIEMAP_EXTENT_DATA_INLINE |
  FIEMAP_EXTENT_UNWRITTEN

const FS_IOC_FIEMAP = 0xc020660b
const FICLONERANGE = 0x4020940d
const FIEMAP_FLAG_SYNC = 0x1
const HEADER = 32
const ROW = 56
const ROWS = 1024
const EINTR = 4

const lib = koffi.load(null)
const ioctl = lib.func('int ioctl(int fd, unsigned long request, ...)')
const syncfs = lib.func('int syncfs(int fd)')

const request = Buffer.alloc(HEADER + ROWS * ROW)

/** The rows of one regular file. Throws where the filesystem has no FIEMAP (tmpfs). */
export function fiemap(path: Path): FiemapRow[] {
  return withFile(path, fiemapOf)
}

/** The rows of compressed extents, cut at the size of the file; inline data is not among them. */
export function encodedExtents(path: Path): EncodedExtent[] {
  const { size, rows } = mapOf(path)
  const encoded: EncodedExtent[] = []
  for (const { logical, physical, length, flags } of rows) {
    if ((flags & FIEMAP_EXTENT_ENCODED) === 0 || physical === 0 || logical >= size) continue
    if ((flags & (UNUSABLE & ~FIEMAP_EXTENT_ENCODED)) !== 0) continue
    encoded.push({ logical, physical, length: Math.min(length, size - logical) })
  }
  return encoded
}

/** How many bytes of `pathB` lie where bytes of `pathA` lie, at whatever offsets; each byte of B counts once. */
export function sharedBytes(pathA: Path, pathB: Path): number {
  const inA = union(usableRows(pathA).map(toInterval))
  const inB = usableRows(pathB)
    .map(toInterval)
    .sort((x, y) => x.from - y.from)
  let shared = 0
  let first = 0
  for (const { from, to } of inB) {
    // Rows of B come in order of `from`, so what ends before this one ends before all that follow.
    for (;;) {
      const interval = inA[first]
      if (interval === undefined || interval.to > from) break
      first++
    }
    for (let index = first; index < inA.length; index++) {
      const interval = inA[index]
      if (interval === undefined || interval.from >= to) break
      shared += Math.min(to, interval.to) - Math.max(from, interval.from)
    }
  }
  return shared
}

/**
 * What some files of one filesystem take: `apparent` counts each mapped byte of each file, `unique` each byte
 * of the device that one of them is mapped to. A second name of an inode adds nothing, nor do bytes of which
 * FIEMAP cannot tell the place (compressed, inline).
 */
export function storage(paths: Iterable<Path>): Storage {
  const intervals: Interval[] = []
  let apparent = 0
  for (const path of distinctFiles(paths)) {
    for (const row of usableRows(path)) {
      apparent += row.length
      intervals.push(toInterval(row))
    }
  }
  const unique = total(union(intervals))
  return { apparent, unique, shared: apparent - unique }
}

/**
 * How much of the sharing among the files of one tree is there again in its copy. `sourceShared` counts the
 * bytes of the source tree beyond the first on each byte of its device; `keptShared` those of them that the
 * restored tree too has on the same byte as one of the earlier ones. So `sourceShared - keptShared` is what
 * the copy takes more because of lost sharing. A second name of an inode in the source adds nothing.
 *
 * With p the place of a byte in the source and q that of the same byte (file, offset) in the copy, the first
 * is the number of bytes less that of different p, and the second that of bytes less that of different
 * pairs (p, q), where bytes without a q differ from all others. Over a stretch both run on in step: pairs
 * are equal where p and q - p are, which leaves a union of intervals of p for each q - p.
 */
export function sharingKept(
  sourceRoot: Path,
  restoredRoot: Path,
  relativeFiles: Iterable<Path>,
): SharingKept {
  const files = Array.from(relativeFiles, name => ({
    source: join(sourceRoot, name),
    restored: join(restoredRoot, name),
  }))
  const restoredOf = new Map(files.map(({ source, restored }) => [source, restored]))
  syncFilesystems(restoredOf.values())
  const sources: Interval[] = []
  const pairs = new Map<number, Interval[]>()
  for (const source of distinctFiles(restoredOf.keys())) {
    const restored = restoredOf.get(source)
    const sourceRows = usableRows(source)
    if (restored === undefined || sourceRows.length === 0) continue
    for (const row of sourceRows) sources.push(toInterval(row))
    const restoredRows = usableRows(restored)
    let first = 0
    for (const row of sourceRows) {
      const end = row.logical + row.length
      while (first < restoredRows.length) {
        const other = restoredRows[first]
        if (other === undefined || other.logical >= end) break
        const otherEnd = other.logical + other.length
        const from = Math.max(row.logical, other.logical)
        const to = Math.min(end, otherEnd)
        if (from < to) {
          const p = row.physical + (from - row.logical)
          const q = other.physical + (from - other.logical)
          const interval = { from: p, to: p + (to - from) }
          const sameStep = pairs.get(q - p)
          if (sameStep === undefined) pairs.set(q - p, [interval])
          else sameStep.push(interval)
        }
        if (otherEnd > end) break
        first++
      }
    }
  }
  let keptShared = 0
  for (const intervals of pairs.values()) keptShared += total(intervals) - total(union(intervals))
  return { sourceShared: total(sources) - total(union(sources)), keptShared }
}

/** Clones `length` bytes (0: to the end) of one existing file into another, or elsewhere into itself. */
export function cloneRange(from: Path, fromOffset: number, length: number, to: Path, toOffset: number): void {
  withFile(from, source => {
    const target = fs.openSync(to, 'r+')
    try {
      const range = Buffer.alloc(32)
      for (const [index, value] of [source, fromOffset, length, toOffset].entries()) {
        range.writeBigUInt64LE(BigInt(value), index * 8)
      }
      const result: unknown = ioctl(target, FICLONERANGE, 'void *', range)
      if (result !== 0) throw new Error(`FICLONERANGE failed: errno ${koffi.errno()}`)
    } finally {
      fs.closeSync(target)
    }
  })
}

/** The regular files below `root`, as paths relative to it, in the order of their bytes. */
export function regularFiles(root: Path): Buffer[] {
  const files: Buffer[] = []
  const walk = (directory: Buffer, prefix: Buffer): void => {
    for (const entry of fs.readdirSync(directory, { encoding: 'buffer', withFileTypes: true })) {
      const name = prefix.length === 0 ? entry.name : join(prefix, entry.name)
      if (entry.isDirectory()) walk(join(directory, entry.name), name)
      else if (entry.isFile()) files.push(name)
    }
  }
  walk(Buffer.from(root), Buffer.alloc(0))
  return files.sort(Buffer.compare)
}

function fiemapOf(fd: number): FiemapRow[] {
  const rows: FiemapRow[] = []
  let start = 0n
  for (;;) {
    request.fill(0, 0, HEADER)
    request.writeBigUInt64LE(start, 0)
    request.writeBigUInt64LE(0xffff_ffff_ffff_ffffn - start, 8)
    request.writeUInt32LE(FIEMAP_FLAG_SYNC, 16)
    request.writeUInt32LE(ROWS, 24)
    const result: unknown = ioctl(fd, FS_IOC_FIEMAP, 'void *', request)
    if (result !== 0) {
      const errno = koffi.errno()
      if (errno === EINTR) continue
      throw new Error(`FIEMAP failed: errno ${errno}`)
    }
    const count = request.readUInt32LE(20)
    if (count === 0) return rows
    for (let at = HEADER; at < HEADER + count * ROW; at += ROW) {
      rows.push({
        logical: readUInt64(at),
        physical: readUInt64(at + 8),
        length: readUInt64(at + 16),
        flags: request.readUInt32LE(at + 40),
      })
    }
    const last = rows.at(-1)
    if (last === undefined || (last.flags & FIEMAP_EXTENT_LAST) !== 0) return rows
    start = BigInt(last.logical) + BigInt(last.length)
  }
}

function readUInt64(at: number): number {
  return request.readUInt32LE(at) + request.readUInt32LE(at + 4) * 2 ** 32
}

function mapOf(path: Path): { size: number; rows: FiemapRow[] } {
  return withFile(path, fd => ({ size: fs.fstatSync(fd).size, rows: fiemapOf(fd) }))
}

/** The rows that tell where bytes lie, cut at the size of the file. */
function usableRows(path: Path): FiemapRow[] {
  const { size, rows } = mapOf(path)
  const usable: FiemapRow[] = []
  for (const row of rows) {
    if ((row.flags & UNUSABLE) !== 0 || row.physical === 0 || row.logical >= size) continue
    usable.push({ ...row, length: Math.min(row.length, size - row.logical) })
  }
  return usable
}

function withFile<T>(path: Path, use: (fd: number) => T): T {
  if (endianness() !== 'LE') throw new Error('this helper knows little-endian machines only')
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
  try {
    if (!fs.fstatSync(fd).isFile()) throw new Error(`${path} is not a regular file`)
    return use(fd)
  } catch (error) {
    throw new Error(`${path}: ${error instanceof Error ? error.message : error}`, { cause: error })
  } finally {
    fs.closeSync(fd)
  }
}

/** The paths less further names of an inode that came before; their filesystems are synced once. */
function distinctFiles<P extends Path>(paths: Iterable<P>): P[] {
  const seen = new Set<string>()
  const distinct: P[] = []
  for (const path of paths) {
    const { dev, ino } = fs.lstatSync(path, { bigint: true })
    const key = `${dev}:${ino}`
    if (seen.has(key)) continue
    seen.add(key)
    distinct.push(path)
  }
  syncFilesystems(distinct)
  return distinct
}

/** One syncfs a filesystem is far cheaper than the flush of each dirty file by FIEMAP_FLAG_SYNC. */
function syncFilesystems(paths: Iterable<Path>): void {
  const synced = new Set<number>()
  for (const path of paths) {
    const { dev } = fs.lstatSync(path)
    if (synced.has(dev)) continue
    synced.add(dev)
    withFile(path, fd => syncfs(fd))
  }
}

function toInterval(row: FiemapRow): Interval {
  return { from: row.physical, to: row.physical + row.length }
}

function union(intervals: readonly Interval[]): Interval[] {
  const [only] = intervals
  if (only === undefined || intervals.length === 1) return [...intervals]
  const result: Interval[] = []
  let last: Interval | undefined
  for (const { from, to } of intervals.toSorted((x, y) => x.from - y.from)) {
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to)
    else {
      last = { from, to }
      result.push(last)
    }
  }
  return result
}

function total(intervals: readonly Interval[]): number {
  let sum = 0
  for (const { from, to } of intervals) sum += to - from
  return sum
}

function join(directory: Path, name: Path): Buffer {
  return Buffer.concat([Buffer.from(directory), Buffer.from('/'), Buffer.from(name)])
}
