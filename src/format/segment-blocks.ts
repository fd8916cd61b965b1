import { ReftarError } from '../errors.js'
import type { ArchiveRecord, Data } from '../record.js'
import type { Checksums } from './checksums.js'
import type { DataRow } from './extent-row.js'
import type { SegmentHeader } from './segment.js'

/** Blocks that lie together: whole ones, or a part of one. */
interface Run {
  readonly bytes: Uint8Array
  /** As the tables have it, one a block. */
  readonly crcs: Uint32Array
  /** The first block that has another CRC32, or -1. */
  readonly wrong: number
}

/** Hands out the blocks of a segment in their order, each checked against its CRC32. */
export class SegmentBlocks {
  readonly #blockSize: number
  readonly #crcs: Uint32Array
  readonly #payload: Uint8Array
  readonly #checksums: Checksums
  readonly #shortEnd: number
  #block = 0
  #short = 0
  #whole: number

  constructor(
    header: SegmentHeader,
    crcs: Uint32Array,
    payload: Uint8Array,
    blockSize: number,
    checksums: Checksums,
  ) {
    this.#blockSize = blockSize
    this.#crcs = crcs
    this.#payload = payload
    this.#checksums = checksums
    this.#shortEnd = header.shortLength
    this.#whole = payload.byteLength - header.wholeBlocks * blockSize
  }

  /** @throws BAD_FIELD unless what fills up before whole blocks is zero; before any of them is read */
  checkPadding(): void {
    for (let at = this.#shortEnd; at < this.#whole; at++) {
      if (this.#payload[at] !== 0)
        throw new ReftarError('BAD_FIELD', `padding has a byte ${this.#payload[at]}, expected 0`)
    }
  }

  /** @throws BAD_FIELD, CHECKSUM_MISMATCH */
  read({ length, mayBeShared }: DataRow, inBlock: number, records: ArchiveRecord[]): void {
    for (const { bytes, crcs, wrong } of this.#runs(length, inBlock)) {
      if (wrong !== -1) {
        const message = `block ${this.#block - crcs.length + wrong} of the segment has another CRC32 than ${crcs[wrong]}`
        throw new ReftarError('CHECKSUM_MISMATCH', message)
      }
      records.push({ kind: 'data', bytes, crcs, mayBeShared })
    }
  }

  /** The bytes of a row in parts, those that are not what they were as their length only. @throws BAD_FIELD */
  *salvage({ length, mayBeShared }: DataRow, inBlock: number): Generator<Data | number, void, undefined> {
    for (const run of this.#runs(length, inBlock)) {
      if (run.wrong === -1) {
        yield { kind: 'data', bytes: run.bytes, crcs: run.crcs, mayBeShared }
        continue
      }
      const size = Math.min(run.bytes.byteLength, this.#blockSize)
      const found = this.#checksums.blockCrcs(run.bytes, this.#blockSize)
      const isIntact = (i: number) => found[i] === run.crcs[i]
      for (let from = 0, to = 0; from < found.length; from = to) {
        while (to < found.length && isIntact(to) === isIntact(from)) to++
        const bytes = run.bytes.subarray(from * size, to * size)
        const crcs = run.crcs.subarray(from, to)
        yield isIntact(from) ? { kind: 'data', bytes, crcs, mayBeShared } : bytes.byteLength
      }
    }
  }

  /** @throws BAD_FIELD unless every block was read */
  finish(): void {
    if (
      this.#block !== this.#crcs.length ||
      this.#short !== this.#shortEnd ||
      this.#whole !== this.#payload.byteLength
    ) {
      throw new ReftarError(
        'BAD_FIELD',
        `rows describe ${this.#block} of ${this.#crcs.length} blocks, expected all`,
      )
    }
  }

  *#runs(length: number, inBlock: number): Generator<Run, void, undefined> {
    const head = inBlock > 0 ? Math.min(length, this.#blockSize - inBlock) : 0
    if (head > 0) yield this.#check(this.#takeShort(head))
    const tail = (length - head) % this.#blockSize
    const whole = length - head - tail
    if (whole > 0) yield this.#check(this.#takeWhole(whole))
    if (tail > 0) yield this.#check(this.#takeShort(tail))
  }

  #takeShort(length: number): Uint8Array {
    if (this.#short + length > this.#shortEnd) {
      throw new ReftarError(
        'BAD_FIELD',
        `a short block of ${length} bytes, have ${this.#shortEnd - this.#short}`,
      )
    }
    const bytes = this.#payload.subarray(this.#short, this.#short + length)
    this.#short += length
    return bytes
  }

  #takeWhole(length: number): Uint8Array {
    if (length > this.#payload.byteLength - this.#whole) {
      throw new ReftarError(
        'BAD_FIELD',
        `whole blocks of ${length} bytes, have ${this.#payload.byteLength - this.#whole}`,
      )
    }
    const bytes = this.#payload.subarray(this.#whole, this.#whole + length)
    this.#whole += length
    return bytes
  }

  /** Whole blocks, or a part of one. */
  #check(bytes: Uint8Array): Run {
    const count = Math.ceil(bytes.byteLength / this.#blockSize)
    const crcs = this.#crcs.slice(this.#block, this.#block + count)
    if (crcs.length < count)
      throw new ReftarError('BAD_FIELD', `rows describe more than ${this.#crcs.length} blocks`)
    const found = this.#checksums.blockCrcs(bytes, this.#blockSize)
    this.#block += count
    return { bytes, crcs, wrong: found.findIndex((crc, i) => crc !== crcs[i]) }
  }
}
