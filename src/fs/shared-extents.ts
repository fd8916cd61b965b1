import { ReftarError } from '../errors.js'
import { type BtrfsExtent, btrfsExtents } from '../sys/btrfs-extents.js'
import { ENOTTY, EOPNOTSUPP } from '../sys/errno.js'
import {
  FIEMAP_EXTENT_DELALLOC,
  FIEMAP_EXTENT_ENCODED,
  FIEMAP_EXTENT_INLINE,
  FIEMAP_EXTENT_NOT_ALIGNED,
  FIEMAP_EXTENT_SHARED,
  FIEMAP_EXTENT_UNKNOWN,
  FIEMAP_EXTENT_UNWRITTEN,
  type FiemapRow,
  fiemap,
} from '../sys/fiemap.js'
import { BTRFS, btrfsId, filesystemOf, mayHaveRealtime, XFS } from '../sys/filesystem.js'
import { isPreallocated, isRealtime } from '../sys/inode-attributes.js'
import type { Status } from '../sys/status.js'

/** A range of a file that lies on storage which others may use too; all in bytes. */
export interface SharedExtent {
  /** In the file. */
  readonly offset: number
  readonly length: number
  /** Which storage: positions of different spaces say nothing about each other. */
  readonly space: string
  /** In that space. Equal positions are equal bytes, as long as nothing moves. */
  readonly position: number
}

/** How far the addresses of a filesystem can be believed. */
export interface Storage {
  readonly id: string
  readonly type: number
  /** The unit in which it numbers its blocks, in bytes. */
  readonly blockSize: number
  /** False where equal addresses are only a hint, as on an overlay of several filesystems. */
  readonly proves: boolean
  /** It may have files on another device, whose addresses are another space. */
  readonly hasRealtime: boolean
}

const SAYS_NOTHING =
  FIEMAP_EXTENT_UNKNOWN |
  FIEMAP_EXTENT_DELALLOC |
  FIEMAP_EXTENT_NOT_ALIGNED |
  FIEMAP_EXTENT_INLINE |
  FIEMAP_EXTENT_UNWRITTEN

/** btrfs compresses at most this many bytes into one extent, which takes at least one sector on disk. */
const MAX_COMPRESSED = 128 * 1024
const SECTOR = 4096
/** What follows the id of a storage in the name of the space of its compressed extents. */
const COMPRESSED = ' compressed'

/** Filesystems that have no FIEMAP. */
const unmapped = new WeakSet<Storage>()

/** Whether a file whose extents were asked for was written back by that. */
export function isMapped(storage: Storage): boolean {
  return !unmapped.has(storage)
}

/** Filesystems whose compressed extents may not be told apart. */
const untold = new WeakSet<Storage>()

/** Whether compressed extents were left out, because only root may tell where in them the bytes of a file lie. */
export function isUntold(storage: Storage): boolean {
  return untold.has(storage)
}

/** Where on its device a position of a space lies, in bytes; in a compressed extent, where that begins. */
export function physicalPlace(space: string, position: number): { physical: number; isCompressed: boolean } {
  const isCompressed = space.endsWith(COMPRESSED)
  const physical = isCompressed ? Math.floor(position / MAX_COMPRESSED) * SECTOR : position
  return { physical, isCompressed }
}

/** The storages of one run: after it, a device number may come to mean another. */
export class Storages {
  readonly #known = new Map<number, Storage>()

  /** Whether any that was come by is of a kind. */
  some(isKind: (storage: Storage) => boolean): boolean {
    return [...this.#known.values()].some(isKind)
  }

  /** Which storage the files of a device lie on, once one of them was asked for. */
  known(device: number): Storage | undefined {
    return this.#known.get(device)
  }

  /** Which storage an open file lies on. Subvolumes of one btrfs are one. @throws SYSTEM_CALL */
  of(fd: number, { dev }: Status): Storage {
    let storage = this.#known.get(dev)
    if (!storage) {
      const { type, blockSize } = filesystemOf(fd)
      const btrfs = type === BTRFS ? btrfsId(fd) : undefined
      const hasRealtime = type === XFS && mayHaveRealtime(fd)
      const proves = type === BTRFS || type === XFS
      storage = { id: btrfs ?? `dev ${dev}`, type, blockSize, proves, hasRealtime }
      this.#known.set(dev, storage)
    }
    return storage
  }
}

/** A range of a file that has no data, whatever the cache says of it; in bytes. */
export interface EmptyRange {
  readonly offset: number
  readonly length: number
  /** Storage is reserved for it. */
  readonly preallocated: boolean
}

/** Where a file lies. */
export interface FileMap {
  readonly shared: readonly SharedExtent[]
  /** Up to its end, in order. */
  readonly empty: readonly EmptyRange[]
  /** All of it is data that was written: it needs no looking for holes. */
  readonly isFull: boolean
  /** How many bytes from its end on, in whole blocks; undefined for none. */
  readonly reservedBeyond: number | undefined
}

/** The map of a whole regular file, after it was written back. @throws SYSTEM_CALL */
export function fileMap(
  fd: number,
  status: Pick<Status, 'ino' | 'size' | 'blocks'>,
  storage: Storage,
): FileMap {
  const { size, blocks } = status
  if (size === 0 && blocks === 0) return { shared: [], empty: [], isFull: false, reservedBeyond: undefined }
  const rows = mapOf(fd, storage, 0, Number.MAX_SAFE_INTEGER)
  const isTold = isMapped(storage)
  const empty = isTold ? [...emptyRanges(rows, 0, size)] : []
  return {
    shared: sharedOf(rows, fd, status, storage, 0, size),
    empty,
    isFull: isTold && empty.length === 0,
    reservedBeyond: reservedBeyond(fd, rows.filter(isUnwritten), size, storage),
  }
}

/**
 * The parts of a file from `offset` to `end` that have no data, after it was written back: XFS takes what is in its
 * cache for data, though it only reads as zeros.
 *
 * @throws SYSTEM_CALL
 */
export function emptyRangesOf(fd: number, storage: Storage, offset: number, end: number): EmptyRange[] {
  const rows = end > offset ? mapOf(fd, storage, offset, end) : []
  return isMapped(storage) ? [...emptyRanges(rows, offset, end)] : []
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

function reservedBeyond(
  fd: number,
  unwritten: readonly FiemapRow[],
  size: number,
  { type, blockSize }: Storage,
): number | undefined {
  const end = unwritten.reduce((most, { logical, length }) => Math.max(most, logical + length), 0)
  if (end <= Math.ceil(size / blockSize) * blockSize) return undefined
  if (type === XFS && !isPreallocated(fd)) return undefined
  return end - size
}

/**
 * The shared extents of a regular file from `offset` to `end`, after it was written back, in order of their offsets.
 * Empty where the filesystem shares nothing or does not tell.
 *
 * @throws SYSTEM_CALL
 */
export function sharedExtents(
  fd: number,
  status: Pick<Status, 'ino'>,
  storage: Storage,
  offset: number,
  end: number,
): SharedExtent[] {
  return end > offset ? sharedOf(mapOf(fd, storage, offset, end), fd, status, storage, offset, end) : []
}

function sharedOf(
  all: readonly FiemapRow[],
  fd: number,
  status: Pick<Status, 'ino'>,
  storage: Storage,
  offset: number,
  end: number,
): SharedExtent[] {
  const rows = all.filter(isTelling)
  if (rows.length === 0 || (storage.hasRealtime && isRealtime(fd))) return []
  const extents: SharedExtent[] = []
  const encoded: FiemapRow[] = []
  for (const row of rows) {
    if (row.flags & FIEMAP_EXTENT_ENCODED) encoded.push(row)
    else push(extents, row.logical, row.length, storage.id, row.physical, offset, end)
  }
  if (encoded.length > 0 && storage.type === BTRFS) {
    pushEncoded(extents, encoded, fd, status, storage, offset, end)
    extents.sort((a, b) => a.offset - b.offset)
  }
  return extents
}

function mapOf(fd: number, storage: Storage, offset: number, end: number): FiemapRow[] {
  if (unmapped.has(storage)) return []
  try {
    return fiemap(fd, offset, end - offset)
  } catch (error) {
    if (!(error instanceof ReftarError && (error.errno === EOPNOTSUPP || error.errno === ENOTTY))) throw error
    unmapped.add(storage)
    return []
  }
}

function isTelling({ flags, physical }: FiemapRow): boolean {
  return (flags & FIEMAP_EXTENT_SHARED) !== 0 && (flags & SAYS_NOTHING) === 0 && physical !== 0
}

/** FIEMAP gives the same address for every part of a compressed extent; the file tree tells the parts apart. */
function pushEncoded(
  extents: SharedExtent[],
  rows: readonly FiemapRow[],
  fd: number,
  status: Pick<Status, 'ino'>,
  storage: Storage,
  offset: number,
  end: number,
): void {
  const items = btrfsExtents(fd, status.ino, offset, end)
  if (!items) {
    untold.add(storage)
    return
  }
  let next = 0
  for (const row of rows) {
    const rowEnd = row.logical + row.length
    while (next < items.length && endOf(items[next]) <= row.logical) next++
    for (let i = next; i < items.length; i++) {
      const item = items[i]
      if (!item || item.logical >= rowEnd) break
      if (item.diskStart !== row.physical) continue
      const position = (item.diskStart / SECTOR) * MAX_COMPRESSED + item.offset
      if (!Number.isSafeInteger(position + item.length)) continue
      push(extents, item.logical, item.length, storage.id + COMPRESSED, position, offset, end)
    }
  }
}

function endOf(item: BtrfsExtent | undefined): number {
  return item ? item.logical + item.length : Number.POSITIVE_INFINITY
}

function push(
  extents: SharedExtent[],
  logical: number,
  length: number,
  space: string,
  position: number,
  offset: number,
  end: number,
): void {
  const from = Math.max(logical, offset)
  const to = Math.min(logical + length, end)
  if (from < to) extents.push({ offset: from, length: to - from, space, position: position + from - logical })
}
