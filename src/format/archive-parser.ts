import { ReftarError } from '../errors.js'
import type { ArchiveRecord } from '../record.js'
import { ByteQueue } from './byte-queue.js'
import { ByteReader, equalBytes } from './bytes.js'
import { type Checksums, chainDigest } from './checksums.js'
import {
  DIGEST_SIZE,
  FEATURE_NO_PAYLOAD_DIGEST,
  SEGMENT_HEADER_SIZE,
  SEGMENT_MAGIC,
  TRAILER_MAGIC,
  TRAILER_SIZE,
} from './constants.js'
import { addressSpace } from './data-space.js'
import { decodeEntryRow, ENTRY_TAG } from './entry-row.js'
import type { ExtentBytes } from './extent-bytes.js'
import { decodeExtentRow, type ExtentRow, joinRows } from './extent-row.js'
import { decodeHeader, type Header, headerSize } from './header.js'
import type { Limits } from './limits.js'
import { OwnerNamesReader } from './owner-names.js'
import type { Pages } from './pages.js'
import {
  decodeSegmentHeader,
  decodeSegmentTables,
  payloadLength,
  type SegmentHeader,
  type SegmentPosition,
  type SegmentTables,
  tablesLength,
} from './segment.js'
import { SegmentBlocks } from './segment-blocks.js'
import { Structure } from './structure.js'
import { checkTrailer, type Totals } from './trailer.js'

/** The records of one segment: all checks were made but one, that the SHA-256 of `payload` is `payloadDigest`. */
export interface DecodedSegment {
  readonly records: readonly ArchiveRecord[]
  /** What the bytes of the data are views of. */
  readonly payload: Uint8Array
  /** In bytes from the start of the archive. */
  readonly payloadOffset: number
  /** Absent where the archive leaves it out. */
  readonly payloadDigest: Uint8Array | undefined
  /** Of the segment, in bytes from the start of the archive. */
  readonly offset: number
}

type State =
  | { readonly at: 'header' }
  | { readonly at: 'part' }
  | { readonly at: 'tables'; readonly header: SegmentHeader }
  | { readonly at: 'payload'; readonly header: SegmentHeader; readonly tables: SegmentTables }
  | { readonly at: 'trailer' }
  | { readonly at: 'end' }

/** An archive in, in pieces of any size; checked records out, segment by segment. It alone decides what is valid. */
export class ArchiveParser {
  readonly #checksums: Checksums
  readonly #limits: Partial<Limits>
  readonly #pages: Pages | undefined
  readonly #queue = new ByteQueue()
  #state: State = { at: 'header' }
  #header: Header = { blockSize: 0, features: 0, sorted: false }
  #structure: Structure
  /** From addresses of the archive to addresses of the record stream. */
  #space = addressSpace()
  #digest = new Uint8Array(DIGEST_SIZE)
  #totals = { segments: 0, extents: 0, blocks: 0, dataBytes: 0 }

  /** @param pages - for what grows with the archive; by default it stays in memory */
  constructor(checksums: Checksums, limits: Partial<Limits>, pages?: Pages) {
    this.#checksums = checksums
    this.#limits = limits
    this.#pages = pages
    this.#structure = new Structure(1, true, limits)
  }

  get totals(): Totals & Readonly<ExtentBytes> {
    const { entries, bytes } = this.#structure
    return { ...this.#totals, entries, ...bytes }
  }

  /** @throws every code of a bad archive, see FORMAT.md, "What readers refuse" */
  *push(chunk: Uint8Array): Generator<DecodedSegment, void, undefined> {
    this.#queue.push(chunk)
    for (;;) {
      const result = this.#step()
      if (result === 'wait') return
      if (result !== 'next') yield result
    }
  }

  /** @throws TRUNCATED unless the trailer was read */
  end(): void {
    if (this.#state.at === 'end') return
    const offset = this.#queue.consumed + this.#queue.length
    const missing = this.#state.at === 'part' ? 'the trailer' : `the rest of the ${this.#state.at}`
    throw new ReftarError('TRUNCATED', `the archive ends before ${missing}`, { offset })
  }

  #step(): DecodedSegment | 'next' | 'wait' {
    const state = this.#state
    switch (state.at) {
      case 'header':
        return this.#readHeader()
      case 'part':
        return this.#readPart()
      case 'tables': {
        const head = this.#queue.takeCopy(SEGMENT_HEADER_SIZE + tablesLength(state.header))
        if (!head) return 'wait'
        const digest = this.#checksums.sha256(head)
        const tables = decodeSegmentTables(head, state.header, this.#checksums)
        this.#digest = new Uint8Array(chainDigest(this.#digest, digest, this.#checksums))
        this.#state = { at: 'payload', header: state.header, tables }
        return 'next'
      }
      case 'payload': {
        const length = payloadLength(state.header.offset, state.header, this.#header.blockSize)
        const payload = this.#queue.take(length)
        if (!payload) return 'wait'
        this.#state = { at: 'part' }
        return this.#readSegment(state.header, state.tables, payload)
      }
      case 'trailer':
        return this.#readTrailer()
      case 'end':
        if (this.#queue.length === 0) return 'wait'
        throw new ReftarError('TRAILING_DATA', 'bytes follow the trailer, expected the end', {
          offset: this.#queue.consumed,
        })
    }
  }

  #readHeader(): 'next' | 'wait' {
    const prefix = this.#queue.peek(12)
    if (!prefix) return 'wait'
    const bytes = this.#queue.take(headerSize(prefix))
    if (!bytes) return 'wait'
    this.#header = decodeHeader(bytes, this.#checksums)
    this.#structure = new Structure(this.#header.blockSize, this.#header.sorted, this.#limits)
    this.#space = addressSpace(this.#header.blockSize, this.#pages)
    this.#digest = new Uint8Array(this.#checksums.sha256(bytes))
    this.#state = { at: 'part' }
    return 'next'
  }

  #readPart(): 'next' | 'wait' {
    const magic = this.#queue.peek(SEGMENT_MAGIC.byteLength)
    if (!magic) return 'wait'
    if (equalBytes(magic, TRAILER_MAGIC)) {
      this.#finishStructure()
      this.#state = { at: 'trailer' }
      return 'next'
    }
    if (!equalBytes(magic, SEGMENT_MAGIC)) {
      const offset = this.#queue.consumed
      throw new ReftarError('BAD_MAGIC', 'neither a segment nor the trailer begins here', { offset })
    }
    const bytes = this.#queue.peek(SEGMENT_HEADER_SIZE)
    if (!bytes) return 'wait'
    const header = decodeSegmentHeader(bytes, this.#position(), this.#header.blockSize)
    this.#state = { at: 'tables', header }
    return 'next'
  }

  #finishStructure(): void {
    try {
      this.#structure.finish()
    } catch (error) {
      throw located(error, this.#queue.consumed, this.#structure.path())
    }
  }

  #readTrailer(): 'next' | 'wait' {
    const offset = this.#queue.consumed
    const bytes = this.#queue.take(TRAILER_SIZE)
    if (!bytes) return 'wait'
    checkTrailer(bytes, { offset, totals: this.totals, digest: this.#digest }, this.#checksums)
    this.#state = { at: 'end' }
    return 'next'
  }

  #position(): SegmentPosition {
    const { entries, openFile } = this.#structure
    return {
      offset: this.#queue.consumed,
      sequence: this.#totals.segments,
      firstOrdinal: entries + 1,
      firstBlock: this.#totals.blocks,
      continuedEntry: openFile?.ordinal ?? 0,
      continuedSize: openFile?.size ?? 0,
    }
  }

  #readSegment(header: SegmentHeader, tables: SegmentTables, payload: Uint8Array): DecodedSegment {
    this.#structure.archiveBytes = this.#queue.consumed
    const rowsAt = header.offset + SEGMENT_HEADER_SIZE + header.openDirectories * 8 + header.namesLength
    const reader = new ByteReader(tables.rows, rowsAt)
    let at = rowsAt
    try {
      const open = this.#structure.openDirectories
      if (
        open.length !== tables.openDirectories.length ||
        open.some((ordinal, i) => ordinal !== tables.openDirectories[i])
      ) {
        throw reader.error('BAD_FIELD', 'the open directories of the segment are not those that are open')
      }
      const names = new OwnerNamesReader(new ByteReader(tables.names, rowsAt - header.namesLength))
      const blocks = new SegmentBlocks(header, tables.crcs, payload, this.#header.blockSize, this.#checksums)
      blocks.checkPadding()
      const records: ArchiveRecord[] = []
      let previous: ExtentRow | undefined
      while (reader.remaining > 0) {
        at = reader.offset
        const tag = reader.u8()
        if (tag === ENTRY_TAG) {
          const entry = decodeEntryRow(reader, this.#structure.entries + 1, place => names.at(place))
          this.#structure.entry(entry)
          records.push(entry)
          previous = undefined
          continue
        }
        const row = decodeExtentRow(reader, tag)
        if (row.kind === 'end') {
          this.#structure.end()
          records.push(row)
          previous = undefined
          continue
        }
        if (previous && joinRows(previous, row)) {
          throw reader.error('BAD_FIELD', `${row.kind} continues the row before, expected the two as one`)
        }
        previous = row
        this.#readExtent(row, blocks, records)
      }
      names.finish()
      blocks.finish()
      this.#totals.segments++
      return {
        records,
        payload,
        payloadOffset: rowsAt + header.rowsLength + header.blocks * 4,
        payloadDigest: this.#payloadDigest(header, reader),
        offset: header.offset,
      }
    } catch (error) {
      throw located(error, at, this.#structure.path())
    }
  }

  #readExtent(row: ExtentRow, blocks: SegmentBlocks, records: ArchiveRecord[]): void {
    const inBlock = (this.#structure.openFile?.size ?? 0) % this.#header.blockSize
    const places = row.kind === 'reference' ? [...this.#space.resolve(row.address, row.length)] : []
    this.#structure.extent(row)
    this.#totals.extents++
    switch (row.kind) {
      case 'dataRow':
        blocks.read(row, inBlock, records)
        this.#space.append(inBlock, row.length, this.#totals.dataBytes)
        this.#totals.blocks = this.#space.size / this.#header.blockSize
        this.#totals.dataBytes += row.length
        break
      case 'reference':
        for (const { place, skip, length } of places) {
          records.push({ ...row, address: place + skip, length })
        }
        break
      default:
        records.push(row)
    }
  }

  #payloadDigest(header: SegmentHeader, reader: ByteReader): Uint8Array | undefined {
    if ((this.#header.features & FEATURE_NO_PAYLOAD_DIGEST) === 0) return header.payloadDigest
    if (header.payloadDigest.some(byte => byte !== 0)) {
      throw reader.error(
        'BAD_FIELD',
        'the digest of the payload is not zero, though the archive leaves it out',
      )
    }
    return undefined
  }
}

/** Adds where it happened to an error that does not say it. */
function located(error: unknown, offset: number, path: Uint8Array): unknown {
  if (!(error instanceof ReftarError) || error.offset !== undefined) return error
  const { code, message, limit } = error
  return new ReftarError(code, message, { offset, path: error.path ?? path, ...(limit && { limit }) })
}
