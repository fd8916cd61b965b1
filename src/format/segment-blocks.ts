import { ReftarError } from '../errors.js'
import type { ArchiveRecord, Data } from '../record.js'
import type { Checksums } from './checksums.js'
import type { DataRow } from './extent-row.js'
import type { SegmentHeader } from './segment.js'

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
    for (let at = this.#shortEnd; at < this.#whole; at++) {
      if (payload[at] !== 0)
        throw new ReftarError('BAD_FIELD', `padding has a byte ${payload[at]}, expected 0`)
    }
  }

  read({ length, mayBeShared }: DataRow, inBlock: number, records: ArchiveRecord[]): void {
    let left = length
    const push = (bytes: Uint8Array, crcs: Uint32Array) => {
      records.push({ kind: 'data', bytes, crcs, mayBeShared } satisfies Data)
      left -= bytes.byteLength
    }
    if (inBlock > 0) push(...this.#takeShort(Math.min(length, this.#blockSize - inBlock)))
    const whole = left - (left % this.#blockSize)
    if (whole > 0) push(...this.#takeWhole(whole))
    if (left > 0) push(...this.#takeShort(left))
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

  #takeShort(length: number): [Uint8Array, Uint32Array] {
    if (this.#short + length > this.#shortEnd) {
      throw new ReftarError(
        'BAD_FIELD',
        `a short block of ${length} bytes, have ${this.#shortEnd - this.#short}`,
      )
    }
    const bytes = this.#payload.subarray(this.#short, this.#short + length)
    this.#short += length
    return [bytes, this.#check(bytes)]
  }

  #takeWhole(length: number): [Uint8Array, Uint32Array] {
    if (length > this.#payload.byteLength - this.#whole) {
      throw new ReftarError(
        'BAD_FIELD',
        `whole blocks of ${length} bytes, have ${this.#payload.byteLength - this.#whole}`,
      )
    }
    const bytes = this.#payload.subarray(this.#whole, this.#whole + length)
    this.#whole += length
    return [bytes, this.#check(bytes)]
  }

  /** Whole blocks, or a part of one. */
  #check(bytes: Uint8Array): Uint32Array {
    const count = Math.ceil(bytes.byteLength / this.#blockSize)
    const crcs = this.#crcs.slice(this.#block, this.#block + count)
    if (crcs.length < count)
      throw new ReftarError('BAD_FIELD', `rows describe more than ${this.#crcs.length} blocks`)
    const found = this.#checksums.blockCrcs(bytes, this.#blockSize)
    const wrong = found.findIndex((crc, i) => crc !== crcs[i])
    if (wrong !== -1) {
      throw new ReftarError(
        'CHECKSUM_MISMATCH',
        `block ${this.#block + wrong} of the segment has CRC32 ${found[wrong]}, expected ${crcs[wrong]}`,
      )
    }
    this.#block += count
    return crcs
  }
}
