import { caught } from '../errors.js'
import type { ArchiveRecord } from '../record.js'
import { ByteQueue } from './byte-queue.js'
import { equalBytes } from './bytes.js'
import type { Checksums } from './checksums.js'
import {
  DEFAULT_BLOCK_SIZE,
  MAX_BLOCK_SIZE,
  MIN_BLOCK_SIZE,
  SEGMENT_HEADER_SIZE,
  SEGMENT_MAGIC,
  TRAILER_MAGIC,
  TRAILER_SIZE,
} from './constants.js'
import { decodeHeader } from './header.js'
import type { Limits } from './limits.js'
import { type OnLoss, SalvagedRecords } from './salvaged-records.js'
import {
  decodeSegmentHeader,
  decodeSegmentTables,
  payloadLength,
  type SegmentHeader,
  type SegmentTables,
  statedPosition,
  tablesLength,
} from './segment.js'
import { statedTotals } from './trailer.js'

const BLOCK_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
/** The shorter of what can follow what was lost. */
const SHORTEST = TRAILER_SIZE

/**
 * Reads what is left of a damaged archive. It looks for segments by their magic, their own offset and their CRC32;
 * blocks of a segment are good by themselves.
 */
export class SalvageParser {
  readonly #checksums: Checksums
  readonly #limits: Partial<Limits>
  readonly #onLoss: OnLoss
  readonly #queue = new ByteQueue()
  #isHeaderRead = false
  /** Once the block size is known, or guessed. */
  #records: SalvagedRecords | undefined
  /** Bytes are being passed over, from this offset on. */
  #lostFrom: number | undefined
  #isEnd = false

  constructor(checksums: Checksums, limits: Partial<Limits>, onLoss: OnLoss) {
    this.#checksums = checksums
    this.#onLoss = onLoss
    this.#limits = limits
  }

  /** @throws LIMIT_EXCEEDED */
  *push(chunk: Uint8Array): Generator<readonly ArchiveRecord[], void, undefined> {
    this.#queue.push(chunk)
    yield* this.#read(false)
  }

  /** Nothing more comes. @throws LIMIT_EXCEEDED */
  *end(): Generator<readonly ArchiveRecord[], void, undefined> {
    yield* this.#read(true)
    const records = this.#records?.end() ?? []
    if (records.length > 0) yield records
    if (this.#lostFrom !== undefined) this.#found()
    if (!this.#isEnd) this.#onLoss('the archive ends before its trailer', this.#queue.consumed)
  }

  *#read(isLast: boolean): Generator<readonly ArchiveRecord[], void, undefined> {
    this.#isHeaderRead ||= this.#readHeader(isLast)
    while (this.#isHeaderRead) {
      const offset = this.#queue.consumed
      const magic = this.#queue.peek(SEGMENT_MAGIC.byteLength)
      if (!magic || (this.#queue.length < SHORTEST && !isLast)) return
      if (this.#isEnd) return this.#passOver(this.#queue.length)
      const isSegment = equalBytes(magic, SEGMENT_MAGIC)
      const records = isSegment ? this.#readSegment(offset, isLast) : this.#readTrailer(magic, offset)
      if (records === 'wait') return
      if (records === 'none') this.#seek()
      else if (records.length > 0) yield records
    }
  }

  /** Returns false until it is there. One that is damaged is passed over, and told like all that is. */
  #readHeader(isLast: boolean): boolean {
    if (this.#queue.length < MIN_BLOCK_SIZE && !isLast) return false
    try {
      const { blockSize } = decodeHeader(this.#queue.peekAll(), this.#checksums)
      this.#queue.take(blockSize)
      this.#records = this.#recordsOf(blockSize, true)
      return true
    } catch (error) {
      caught(error)
      return isLast || this.#queue.length >= MAX_BLOCK_SIZE
    }
  }

  #recordsOf(blockSize: number, isProven: boolean): SalvagedRecords {
    return new SalvagedRecords(blockSize, isProven, this.#checksums, this.#limits, this.#onLoss)
  }

  #readSegment(offset: number, isLast: boolean): readonly ArchiveRecord[] | 'wait' | 'none' {
    const fixed = this.#queue.peek(SEGMENT_HEADER_SIZE)
    if (!fixed) return isLast ? 'none' : 'wait'
    const headers = new Map<number, SegmentHeader>()
    const known = this.#records?.isProven ? [this.#records.blockSize] : BLOCK_SIZES
    for (const size of known) {
      const fitting = headerOf(fixed, offset, size)
      if (fitting) headers.set(size, fitting)
    }
    const salvaged = this.#records ?? this.#recordsOf(...guessedSize(headers))
    // Whole blocks fit into one size only.
    const [proven] = headers.size === 1 ? headers.keys() : []
    const blockSize = proven ?? salvaged.blockSize
    const header = headers.get(blockSize)
    if (!header) return 'none'
    const headLength = SEGMENT_HEADER_SIZE + tablesLength(header)
    const length = headLength + payloadLength(offset, header, blockSize)
    if (this.#queue.length < length && !isLast) return 'wait'
    const head = this.#queue.peek(headLength)?.slice()
    if (!head) return 'none'
    let tables: SegmentTables
    try {
      tables = decodeSegmentTables(head, header, this.#checksums)
    } catch (error) {
      caught(error)
      return 'none'
    }
    this.#records = salvaged
    if (proven !== undefined) salvaged.prove(proven)
    if (!salvaged.canFollow(header)) return 'none'
    this.#found()
    this.#queue.take(headLength)
    // Of what was cut off, no block has the bytes that it had.
    const payload = new Uint8Array(length - headLength)
    payload.set(this.#queue.takeUpTo(payload.byteLength))
    return salvaged.segment(header, tables, payload, this.#queue.consumed)
  }

  #readTrailer(magic: Uint8Array, offset: number): readonly ArchiveRecord[] | 'none' {
    const bytes = equalBytes(magic, TRAILER_MAGIC) && this.#queue.peek(TRAILER_SIZE)
    if (!bytes) return 'none'
    let entries: number
    try {
      entries = statedTotals(bytes, offset, this.#checksums).entries
    } catch (error) {
      caught(error)
      return 'none'
    }
    this.#found()
    this.#queue.take(TRAILER_SIZE)
    this.#isEnd = true
    this.#records ??= this.#recordsOf(DEFAULT_BLOCK_SIZE, false)
    this.#records.entriesLost(entries + 1, offset)
    return []
  }

  /** Goes on to the next place where something may begin. */
  #seek(): void {
    const bytes = this.#queue.peekAll()
    const first = SEGMENT_MAGIC[0] as number
    let at = bytes.indexOf(first, 1)
    while (at !== -1 && at + SEGMENT_MAGIC.byteLength <= bytes.byteLength) {
      const magic = bytes.subarray(at, at + SEGMENT_MAGIC.byteLength)
      if (equalBytes(magic, SEGMENT_MAGIC) || equalBytes(magic, TRAILER_MAGIC)) break
      at = bytes.indexOf(first, at + 1)
    }
    this.#passOver(at === -1 ? bytes.byteLength : at)
  }

  #passOver(count: number): void {
    this.#lostFrom ??= this.#queue.consumed
    this.#queue.take(count)
  }

  #found(): void {
    if (this.#lostFrom === undefined) return
    const count = this.#queue.consumed - this.#lostFrom
    this.#onLoss(`${count} bytes of the archive are damaged`, this.#lostFrom)
    this.#lostFrom = undefined
  }
}

/** Undefined where it cannot be one, in an archive of such blocks. */
function headerOf(fixed: Uint8Array, offset: number, blockSize: number): SegmentHeader | undefined {
  try {
    return decodeSegmentHeader(fixed, { ...statedPosition(fixed), offset }, blockSize)
  } catch (error) {
    caught(error)
    return undefined
  }
}

/** Without a header: the first segment stands one block from the start. */
function guessedSize(headers: ReadonlyMap<number, SegmentHeader>): [blockSize: number, isProven: boolean] {
  for (const [size, { offset, sequence }] of headers)
    if (sequence === 0 && offset === size) return [size, true]
  const [first = DEFAULT_BLOCK_SIZE] = headers.keys()
  return [headers.has(DEFAULT_BLOCK_SIZE) ? DEFAULT_BLOCK_SIZE : first, false]
}
