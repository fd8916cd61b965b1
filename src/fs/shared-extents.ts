import { ReftarError } from '../errors.js'
import { type BtrfsExtent, btrfsExtents } from '../sys/btrfs-extents.js'
import { ENOTTY, EOPNOTSUPP } from '../sys/errno.js'
import {
  FIEMAP_EXTENT_DELALLOC,
  FIEMAP_EXTENT_ENCODED,
  FIEMAP_EXTENT_INLINE,
  FIEMAP_EXTENT_LAST,
  FIEMAP_EXTENT_NOT_ALIGNED,
  FIEMAP_EXTENT_SHARED,
  FIEMAP_EXTENT_UNKNOWN,
  FIEMAP_EXTENT_UNWRITTEN,
  type FiemapRow,
  fiemap,
} from '../sys/fiemap.js'
import { BTRFS } from '../sys/filesystem.js'
import { isRealtime } from '../sys/inode-attributes.js'
import type { Status } from '../sys/status.js'
import type { Storage } from './storages.js'

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

const SAYS_NOTHING =
  FIEMAP_EXTENT_UNKNOWN |
  FIEMAP_EXTENT_DELALLOC |
  FIEMAP_EXTENT_NOT_ALIGNED |
  FIEMAP_EXTENT_INLINE |
  FIEMAP_EXTENT_UNWRITTEN

/** btrfs compresses at most this many bytes into one extent, which takes at least one sector on disk. */
const MAX_COMPRESSED = 128 * 1024
const SECTOR = 4096
/** How many rows of a map are looked at at a time, about: there may be any number, and each takes some 500 bytes. */
const ROWS = 8192
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

/**
 * The shared extents of a regular file from `offset` to `end`, after it was written back, in order of their offsets.
 * None where the filesystem shares nothing or does not tell.
 *
 * @throws SYSTEM_CALL
 */
export function* sharedExtents(
  fd: number,
  status: Pick<Status, 'ino'>,
  storage: Storage,
  offset: number,
  end: number,
): Generator<SharedExtent, void, undefined> {
  for (let at = offset; at < end; ) {
    const part = sharedPart(fd, status, storage, at, end)
    yield* part.extents
    at = part.end
  }
}

/** The first of the shared extents from `offset` to `end`, and how far they were looked for. @throws SYSTEM_CALL */
export function sharedPart(
  fd: number,
  status: Pick<Status, 'ino'>,
  storage: Storage,
  offset: number,
  end: number,
): { readonly extents: readonly SharedExtent[]; readonly end: number } {
  const map = extentRows(fd, storage, offset, end)
  return { extents: sharedOf(map.rows, fd, status, storage, offset, map.end), end: map.end }
}

/** Those of some rows. @throws SYSTEM_CALL */
export function sharedOf(
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

/** The rows of a map from `offset` on, and how far they go: not to its `end` where there are very many. @throws SYSTEM_CALL */
export function extentRows(
  fd: number,
  storage: Storage,
  offset: number,
  end: number,
): { readonly rows: readonly FiemapRow[]; readonly end: number } {
  if (unmapped.has(storage)) return { rows: [], end }
  try {
    const rows = fiemap(fd, offset, end - offset, ROWS)
    const last = rows.at(-1)
    const isAll = rows.length < ROWS || !last || last.flags & FIEMAP_EXTENT_LAST
    return { rows, end: isAll ? end : Math.min(end, last.logical + last.length) }
  } catch (error) {
    if (!(error instanceof ReftarError && (error.errno === EOPNOTSUPP || error.errno === ENOTTY))) throw error
    unmapped.add(storage)
    return { rows: [], end }
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
