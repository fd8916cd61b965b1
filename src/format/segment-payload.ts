import type { Data, From } from '../record.js'
import { paddingLength, type SegmentLayout } from './segment.js'

/** Whole blocks that can be had from elsewhere, too. */
export interface BlockRun {
  /** Where it lies among the whole blocks of its segment, in bytes. */
  readonly at: number
  /** In bytes. */
  readonly length: number
  readonly from: From
}

/** The payload of a segment, in few pieces. */
export interface Payload {
  /** What comes before the whole blocks: short blocks, and padding. */
  readonly edge: readonly Uint8Array[]
  readonly wholes: readonly Uint8Array[]
  /** In order. */
  readonly runs: readonly BlockRun[]
}

/** From this many bytes on, a write of its own costs less than a copy. */
const LARGE_PIECE = 128 * 1024

/** Collects the blocks of a segment, with their CRC32. */
export class SegmentPayload {
  #crcs: number[] = []
  #shorts: Uint8Array[] = []
  #wholes: Uint8Array[] = []
  #runs: BlockRun[] = []
  #shortLength = 0
  #wholeLength = 0

  get blocks(): number {
    return this.#crcs.length
  }

  /** In bytes, as the next one. */
  get shortLength(): number {
    return this.#shortLength
  }

  get wholeLength(): number {
    return this.#wholeLength
  }

  /** Takes one short block, or whole ones. */
  add({ bytes, from }: Data, crcs: Uint32Array, isWhole: boolean): void {
    const { byteLength: length } = bytes
    for (const crc of crcs) this.#crcs.push(crc)
    if (isWhole) {
      this.#wholes.push(bytes)
      if (from) this.#addRun({ at: this.#wholeLength, length, from })
      this.#wholeLength += length
    } else {
      this.#shorts.push(bytes)
      this.#shortLength += length
    }
  }

  /** All that was collected, and nothing of it stays. @param offset - of the segment, in bytes */
  take(offset: number, layout: SegmentLayout, blockSize: number): Payload & { readonly crcs: Uint32Array } {
    const padding = new Uint8Array(paddingLength(offset, layout, blockSize))
    const taken = {
      crcs: Uint32Array.from(this.#crcs),
      edge: coalesce([...this.#shorts, padding]),
      wholes: coalesce(this.#wholes),
      runs: this.#runs,
    }
    this.#crcs = []
    this.#shorts = []
    this.#wholes = []
    this.#runs = []
    this.#shortLength = 0
    this.#wholeLength = 0
    return taken
  }

  /** Adds a run, to the one before where it goes on from there. */
  #addRun(run: BlockRun): void {
    const last = this.#runs.at(-1)
    const isContinued =
      last !== undefined &&
      last.at + last.length === run.at &&
      last.from.source === run.from.source &&
      last.from.offset + last.length === run.from.offset
    if (isContinued) this.#runs[this.#runs.length - 1] = { ...last, length: last.length + run.length }
    else this.#runs.push(run)
  }
}

/** Large pieces stay as they are, and small neighbours become one: each piece is a write in the end. */
function coalesce(pieces: readonly Uint8Array[]): Uint8Array[] {
  const out: Uint8Array[] = []
  let small: Uint8Array[] = []
  const merge = () => {
    if (small.length > 0) out.push(Buffer.concat(small))
    small = []
  }
  for (const piece of pieces) {
    if (piece.byteLength < LARGE_PIECE) {
      small.push(piece)
      continue
    }
    merge()
    out.push(piece)
  }
  merge()
  return out
}
