import type { Entry } from '../record.js'
import { ByteReader } from './bytes.js'
import type { Checksums } from './checksums.js'
import { MAX_BLOCK_SIZE, SEGMENT_HEADER_SIZE, TRAILER_SIZE } from './constants.js'
import { decodeEntryRow, ENTRY_TAG } from './entry-row.js'
import { countExtent, type ExtentBytes, noExtentBytes } from './extent-bytes.js'
import { decodeExtentRow } from './extent-row.js'
import { decodeHeader } from './header.js'
import { FS_COMPR_FL } from './inode-flags.js'
import { latin1 } from './latin1.js'
import { OwnerNamesReader } from './owner-names.js'
import {
  decodeSegmentHeader,
  decodeSegmentTables,
  payloadLength,
  type SegmentHeader,
  type SegmentTables,
  statedPosition,
  tablesLength,
} from './segment.js'
import { statedTotals, type Totals } from './trailer.js'

/** A part of an archive that can be read anywhere, in bytes. */
export interface ArchiveRange {
  readonly offset: number
  readonly length: number
}

/** Asks for parts of an archive, and goes on with their bytes, fewer where it ends. */
export type RangeReader<T> = Generator<ArchiveRange, T, Uint8Array>

/** The storage that the files of an archive need at least. */
export interface StorageNeeds {
  /** Of files that are too large to lie in their inodes; what is reserved for them counts as data. */
  readonly bytes: Readonly<ExtentBytes>
  /** A filesystem that can is asked to store some of them compressed, or may take it from their directories. */
  readonly mayCompress: boolean
}

/** Filesystems that store small files beside their metadata do it with fewer bytes than this. */
const INLINE = 4096
/** Most tables have no more than this, in bytes. */
const HEAD = 16 * 1024
const BTRFS_COMPRESSION = 'btrfs.compression'

/** From the trailer alone. @throws what {@link statedTotals} does */
export function* readTotals(size: number, checksums: Checksums): RangeReader<Totals> {
  const offset = Math.max(0, size - TRAILER_SIZE)
  return statedTotals(yield { offset, length: TRAILER_SIZE }, offset, checksums)
}

/** From all tables; the data is passed over. @throws as an archive is refused that is not whole */
export function* readNeeds(size: number, checksums: Checksums): RangeReader<StorageNeeds> {
  const { blockSize } = decodeHeader(yield { offset: 0, length: MAX_BLOCK_SIZE }, checksums)
  const needs = new Needs()
  const end = size - TRAILER_SIZE
  for (let offset = blockSize; offset < end; ) {
    let head = yield { offset, length: HEAD }
    const header = decodeSegmentHeader(head, { ...statedPosition(head), offset }, blockSize)
    const length = SEGMENT_HEADER_SIZE + tablesLength(header)
    if (length > HEAD) head = yield { offset, length }
    needs.add(header, decodeSegmentTables(new Uint8Array(head.subarray(0, length)), header, checksums))
    offset += length + payloadLength(offset, header, blockSize)
  }
  return needs
}

class Needs implements StorageNeeds {
  readonly bytes = noExtentBytes()
  mayCompress = false
  /** Of the file in hand, which may go on in the next segment. */
  #file = noExtentBytes()

  add({ offset }: SegmentHeader, { names, rows }: SegmentTables): void {
    const reader = new ByteReader(rows, offset)
    const ownerNames = new OwnerNamesReader(new ByteReader(names, offset))
    while (reader.remaining > 0) {
      const tag = reader.u8()
      if (tag === ENTRY_TAG) {
        this.#entry(decodeEntryRow(reader, 0, place => ownerNames.at(place)))
        continue
      }
      const row = decodeExtentRow(reader, tag)
      if (row.kind === 'end') this.#end()
      else if (row.kind === 'hole' && row.preallocated) this.#file.dataBytes += row.length
      else countExtent(this.#file, row)
    }
  }

  #entry({ type, metadata: { flags, xattrs } }: Entry): void {
    if (type !== 'file') return
    const isAsked = xattrs?.some(({ name }) => latin1(name) === BTRFS_COMPRESSION)
    // What was not captured comes from the directory.
    this.mayCompress ||= flags === undefined || (flags & FS_COMPR_FL) !== 0 || isAsked !== false
  }

  #end(): void {
    const file = this.#file
    this.#file = noExtentBytes()
    if (file.dataBytes + file.sharedBytes + file.duplicateBytes <= INLINE) return
    for (const key of Object.keys(file) as (keyof ExtentBytes)[]) this.bytes[key] += file[key]
  }
}
