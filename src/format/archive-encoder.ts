import { ReftarError } from '../errors.js'
import { type ArchiveRecord, type Data, type Entry, sliceData } from '../record.js'
import { type Checksums, chainDigest } from './checksums.js'
import {
  DIGEST_SIZE,
  FEATURE_NO_PAYLOAD_DIGEST,
  SEGMENT_HEADER_SIZE,
  SEGMENT_PAYLOAD,
  SEGMENT_TABLES,
} from './constants.js'
import { addressSpace, type DataSpace } from './data-space.js'
import { checkMetadata } from './entry-row.js'
import type { ExtentBytes } from './extent-bytes.js'
import { DATA_ROW_SIZE, END_ROW_SIZE, type ExtentRow, isErrno, MAX_ERRNO } from './extent-row.js'
import { encodeHeader } from './header.js'
import type { Pages } from './pages.js'
import {
  encodeSegmentHead,
  payloadLength,
  type SegmentLayout,
  type SegmentPosition,
  tablesLength,
} from './segment.js'
import { type Payload, SegmentPayload } from './segment-payload.js'
import { SegmentTables, type Tables } from './segment-tables.js'
import { Structure } from './structure.js'
import { encodeTrailer, type Totals } from './trailer.js'
import { xattrsSize } from './xattrs.js'

export interface EncoderOptions {
  /** In bytes. */
  readonly blockSize: number
  /** Siblings ascend by the bytes of their names. */
  readonly sorted: boolean
  /** Whether each segment carries the SHA-256 of its payload. */
  readonly payloadDigest: boolean
}

/** A segment that takes nothing more; only the digest of its payload is wanted before it can be written. */
export interface ClosedSegment extends Tables, Payload {
  readonly position: SegmentPosition
  readonly layout: SegmentLayout
  readonly openDirectories: readonly number[]
  readonly crcs: Uint32Array
  /** Short blocks, padding and whole blocks, in few pieces. */
  readonly payload: readonly Uint8Array[]
  /** In bytes. */
  readonly payloadLength: number
  /** Of the first whole block, in bytes from the start of the archive. */
  readonly wholesOffset: number
}

const NONE: readonly ClosedSegment[] = []

interface Start extends Omit<SegmentPosition, 'offset' | 'sequence'> {
  readonly openDirectories: readonly number[]
}

/**
 * Records in, an archive out: `header()`, then for each record `add()`, then `finish()`; every segment that these
 * return is sealed by `seal()` in its order, and written as its head and its payload; `trailer()` comes last.
 */
export class ArchiveEncoder {
  readonly #options: EncoderOptions
  readonly #checksums: Checksums
  readonly #structure: Structure
  /** From addresses of the record stream to addresses of the archive. */
  readonly #space: DataSpace<number>
  readonly #tables = new SegmentTables()
  readonly #payload = new SegmentPayload()
  readonly #closed: ClosedSegment[] = []
  #start: Start
  #block = 0
  #offset: number
  #segments = 0
  #digest = new Uint8Array(DIGEST_SIZE)

  /** @param pages - for what grows with the archive; by default it stays in memory */
  constructor(options: EncoderOptions, checksums: Checksums, pages?: Pages) {
    this.#space = addressSpace(1, pages)
    this.#options = options
    this.#checksums = checksums
    this.#structure = new Structure(options.blockSize, options.sorted)
    this.#start = this.#startHere()
    this.#offset = options.blockSize
  }

  get totals(): Totals & Readonly<ExtentBytes> {
    const { entries, bytes } = this.#structure
    const { extents } = this.#tables
    return { segments: this.#segments, extents, entries, ...bytes, blocks: this.#block }
  }

  /** How many bytes there are in front of the next segment, or of the trailer. */
  get offset(): number {
    return this.#offset
  }

  header(): Uint8Array {
    const { blockSize, sorted, payloadDigest } = this.#options
    const features = payloadDigest ? 0 : FEATURE_NO_PAYLOAD_DIGEST
    const header = encodeHeader({ blockSize, features, sorted }, this.#checksums)
    this.#digest = new Uint8Array(this.#checksums.sha256(header))
    return header
  }

  /**
   * Takes in one record and returns the segments that it closes.
   *
   * @throws INVALID_ARGUMENT, BAD_STRUCTURE, UNSAFE_NAME, DANGLING_REFERENCE for records that make no archive
   */
  add(record: ArchiveRecord): readonly ClosedSegment[] {
    switch (record.kind) {
      case 'entry':
        checkMetadata(record)
        if (this.#isFull(0, entryRowBound(record))) this.#close()
        this.#structure.entry(record)
        this.#tables.entry(record)
        break
      case 'data':
        this.#addData(record)
        break
      case 'reference':
        checkLength(record)
        for (const { place, skip, length } of this.#space.resolve(record.address, record.length)) {
          this.#addRow({ ...record, address: place + skip, length })
        }
        break
      case 'end':
        if (record.state === 'lost') {
          const message = 'a file has lost bytes, expected one that is whole'
          throw new ReftarError('INVALID_ARGUMENT', message, { path: this.#structure.path() })
        }
        if (this.#isFull(0, END_ROW_SIZE)) this.#close()
        this.#structure.end()
        this.#tables.end(record)
        break
      default:
        this.#addRow(record)
    }
    return this.#takeClosed()
  }

  /** @throws BAD_STRUCTURE when a file has not ended */
  finish(): readonly ClosedSegment[] {
    this.#structure.finish()
    if (this.#tablesLength() > 0) this.#close()
    return this.#takeClosed()
  }

  /** The header and tables of a segment. Segments are sealed in their order, each once. */
  seal(segment: ClosedSegment, payloadDigest: Uint8Array = new Uint8Array(DIGEST_SIZE)): Uint8Array {
    const payload = { length: segment.payloadLength, digest: payloadDigest }
    const head = encodeSegmentHead(segment.position, segment.layout, segment, payload, this.#checksums)
    this.#digest = new Uint8Array(chainDigest(this.#digest, this.#checksums.sha256(head), this.#checksums))
    return head
  }

  trailer(): Uint8Array {
    return encodeTrailer({ offset: this.#offset, totals: this.totals, digest: this.#digest }, this.#checksums)
  }

  #addData(data: Data): void {
    const { blockSize } = this.#options
    const length = data.bytes.byteLength
    const inBlock = (this.#structure.openFile?.size ?? 0) % blockSize
    const isRun = inBlock === 0 && length % blockSize === 0
    if (length === 0 || (!isRun && inBlock + length > blockSize)) {
      throw new ReftarError(
        'INVALID_ARGUMENT',
        `data of ${length} bytes lies ${inBlock} bytes into a block of ${blockSize}, expected whole blocks or a part of one: put a blockSplitter before`,
        { path: this.#structure.path() },
      )
    }
    const { mayBeShared } = data
    const size = isRun ? blockSize : length
    for (let at = 0; at < length; ) {
      const rowSize = this.#tables.costOf({ kind: 'dataRow', length, mayBeShared })
      if (this.#isFull(size, rowSize + 4)) {
        this.#close()
        continue
      }
      const room = Math.min(
        Math.floor((SEGMENT_PAYLOAD - this.#payload.shortLength - this.#payload.wholeLength) / size),
        Math.floor((SEGMENT_TABLES - this.#tablesLength() - rowSize) / 4),
      )
      const end = Math.min(length, at + Math.max(1, room) * size)
      const crcs = data.crcs?.subarray(Math.floor(at / size), Math.floor(end / size))
      this.#takeBlocks(sliceData(data, at, end, crcs), inBlock, size)
      at = end
    }
  }

  /** Adds data that fits: blocks of `size` bytes each. */
  #takeBlocks(data: Data, inBlock: number, size: number): void {
    const { blockSize } = this.#options
    const length = data.bytes.byteLength
    const count = length / size
    this.#append({ kind: 'dataRow', length, mayBeShared: data.mayBeShared })
    const crcs = data.crcs?.length === count ? data.crcs : this.#checksums.blockCrcs(data.bytes, blockSize)
    this.#payload.add(data, crcs, size === blockSize)
    this.#space.append(0, length, this.#block * blockSize + inBlock)
    this.#block += count
  }

  #addRow(row: ExtentRow): void {
    checkLength(row)
    if (row.kind === 'missing' && !isErrno(row.errno)) {
      throw new ReftarError(
        'INVALID_ARGUMENT',
        `missing has error number ${row.errno}, expected 1 to ${MAX_ERRNO}`,
      )
    }
    if (this.#isFull(0, this.#tables.costOf(row))) this.#close()
    this.#append(row)
  }

  #append(row: ExtentRow): void {
    this.#structure.extent(row)
    this.#tables.extent(row)
  }

  #isFull(payload: number, tables: number): boolean {
    const length = this.#tablesLength()
    if (length === 0) return false
    const { shortLength, wholeLength } = this.#payload
    return shortLength + wholeLength + payload > SEGMENT_PAYLOAD || length + tables > SEGMENT_TABLES
  }

  /** Without the open directories, so that it is 0 for a segment that holds nothing, and the room does not depend on them. */
  #tablesLength(): number {
    return this.#tables.length + this.#payload.blocks * 4
  }

  #takeClosed(): readonly ClosedSegment[] {
    return this.#closed.length === 0 ? NONE : this.#closed.splice(0)
  }

  #startHere(): Start {
    const { entries, openDirectories, openFile } = this.#structure
    return {
      firstOrdinal: entries + 1,
      firstBlock: this.#block,
      continuedEntry: openFile?.ordinal ?? 0,
      continuedSize: openFile?.size ?? 0,
      openDirectories,
    }
  }

  #close(): void {
    const { blockSize } = this.#options
    const { openDirectories, ...start } = this.#start
    const { names, rows } = this.#tables.take()
    const { blocks, shortLength, wholeLength } = this.#payload
    const layout: SegmentLayout = {
      openDirectories: openDirectories.length,
      namesLength: names.byteLength,
      rowsLength: rows.byteLength,
      blocks,
      shortLength,
      wholeBlocks: wholeLength / blockSize,
    }
    const position = { ...start, offset: this.#offset, sequence: this.#segments }
    const length = payloadLength(this.#offset, layout, blockSize)
    const taken = this.#payload.take(this.#offset, layout, blockSize)
    this.#offset += SEGMENT_HEADER_SIZE + tablesLength(layout) + length
    this.#segments++
    this.#start = this.#startHere()
    this.#closed.push({
      ...taken,
      position,
      layout,
      openDirectories,
      names,
      rows,
      payload: [...taken.edge, ...taken.wholes],
      payloadLength: length,
      wholesOffset: this.#offset - wholeLength,
    })
  }
}

function checkLength({ kind, length }: ExtentRow): void {
  if (!(Number.isSafeInteger(length) && length > 0)) {
    throw new ReftarError('INVALID_ARGUMENT', `${kind} has length ${length}, expected 1 or more`)
  }
}

/** No fewer bytes than the row of an entry and its owner names need. */
function entryRowBound({ name, metadata }: Entry): number {
  const names = (metadata.owner?.user?.byteLength ?? 0) + (metadata.owner?.group?.byteLength ?? 0)
  const { linkTarget, xattrs = [] } = metadata
  return 160 + DATA_ROW_SIZE + name.byteLength + names + (linkTarget?.byteLength ?? 0) + xattrsSize(xattrs)
}
