import { FIEMAP_EXTENT_UNWRITTEN, type FiemapRow } from '../sys/fiemap.js'
import { XFS } from '../sys/filesystem.js'
import { isPreallocated } from '../sys/inode-attributes.js'
import type { Status } from '../sys/status.js'
import { extentRows, isMapped, type SharedExtent, sharedOf } from './shared-extents.js'
import type { Storage } from './storages.js'

/** A range of a file that has no data, whatever the cache says of it; in bytes. */
export interface EmptyRange {
  readonly offset: number
  readonly length: number
  /** Storage is reserved for it. */
  readonly preallocated: boolean
}

/** Where a file lies, or a part of it: a map can be of any size. */
export interface FileMap {
  readonly shared: readonly SharedExtent[]
  /** In order. */
  readonly empty: readonly EmptyRange[]
  /** All of it is data that was written: it needs no looking for holes. */
  readonly isFull: boolean
  /** How far the map goes, in bytes: to the end of the file, unless that has more extents than a map may have rows. */
  readonly end: number
  /** Of the first part: how many bytes from the end of the file on, in whole blocks; undefined for none. */
  readonly reservedBeyond: number | undefined
}

/**
 * The map of a regular file, after it was written back.
 *
 * @param offset - where it begins, in bytes
 * @throws SYSTEM_CALL
 */
export function fileMap(
  fd: number,
  status: Pick<Status, 'ino' | 'size' | 'blocks'>,
  storage: Storage,
  offset = 0,
): FileMap {
  const { size, blocks } = status
  if (size === 0 && blocks === 0) return NOTHING
  const { rows, end: mapped } = extentRows(fd, storage, offset, Number.MAX_SAFE_INTEGER)
  const end = Math.min(mapped, size)
  const isTold = isMapped(storage)
  const empty = isTold ? [...emptyRanges(rows, offset, end)] : []
  const known = mapped === Number.MAX_SAFE_INTEGER ? rows : undefined
  return {
    shared: sharedOf(rows, fd, status, storage, offset, end),
    empty,
    isFull: isTold && empty.length === 0,
    end,
    reservedBeyond: offset > 0 ? undefined : reservedBeyond(fd, size, storage, known),
  }
}

const NOTHING: FileMap = { shared: [], empty: [], isFull: false, end: 0, reservedBeyond: undefined }

/**
 * The parts of a file from `offset` to `end` that have no data, after it was written back: XFS takes what is in its
 * cache for data, though it only reads as zeros.
 *
 * @throws SYSTEM_CALL
 */
export function* emptyRangesOf(
  fd: number,
  storage: Storage,
  offset: number,
  end: number,
): Generator<EmptyRange, void, undefined> {
  for (let at = offset; at < end; ) {
    const map = extentRows(fd, storage, at, end)
    if (!isMapped(storage)) return
    yield* emptyRanges(map.rows, at, map.end)
    at = map.end
  }
}

function* emptyRanges(
  rows: readonly FiemapRow[],
  offset: number,
  end: number,
): Generator<EmptyRange, void, undefined> {
  let at = offset
  for (const row of rows) {
    const [from, to] = [Math.max(row.logical, at), Math.min(row.logical + row.length, end)]
    if (from >= to) continue
    if (from > at) yield { offset: at, length: from - at, preallocated: false }
    if (isUnwritten(row)) yield { offset: from, length: to - from, preallocated: true }
    at = to
  }
  if (at < end) yield { offset: at, length: end - at, preallocated: false }
}

function isUnwritten({ flags }: FiemapRow): boolean {
  return (flags & FIEMAP_EXTENT_UNWRITTEN) !== 0
}

/** @param known - the rows behind the end of the file, and maybe others */
function reservedBeyond(
  fd: number,
  size: number,
  storage: Storage,
  known: readonly FiemapRow[] = extentRows(fd, storage, size, Number.MAX_SAFE_INTEGER).rows,
): number | undefined {
  const { type, blockSize } = storage
  let end = 0
  for (const row of known) if (isUnwritten(row)) end = Math.max(end, row.logical + row.length)
  if (end <= Math.ceil(size / blockSize) * blockSize) return undefined
  if (type === XFS && !isPreallocated(fd)) return undefined
  return end - size
}
