import { ReftarError } from '../errors.js'
import { PagedList } from './paged-list.js'

export interface Piece<T> {
  readonly place: T
  /** Bytes between the start of `place` and the start of this piece. */
  readonly skip: number
  /** In bytes. */
  readonly length: number
}

/**
 * Maps the addresses of a data space to where each piece of data went. Append-only, so its rows are sorted
 * and a look-up is a binary search. Each append starts at a fresh block of `blockSize` bytes; with a block size
 * of 1 the space has no gaps. A row takes 24 bytes, and what a place takes that is no number.
 */
export class DataSpace<T> {
  readonly #blockSize: number
  readonly #follows: ((place: T, length: number, next: T) => boolean) | undefined
  readonly #starts = new PagedList<number>()
  readonly #ends = new PagedList<number>()
  readonly #places = new PagedList<T>()
  #size = 0

  /**
   * @param blockSize - in bytes
   * @param follows - whether `next` begins where `place` ends after `length` bytes: such rows are joined
   */
  constructor(blockSize = 1, follows?: (place: T, length: number, next: T) => boolean) {
    this.#blockSize = blockSize
    this.#follows = follows
  }

  /** The address just past the last block, in bytes. */
  get size(): number {
    return this.#size
  }

  /** Takes in `length` bytes that lie at `place` and begin `inBlockOffset` bytes into a block. Returns their address. */
  append(inBlockOffset: number, length: number, place: T): number {
    const start = this.#size + inBlockOffset
    const end = start + length
    const last = this.#starts.length - 1
    this.#size = Math.ceil(end / this.#blockSize) * this.#blockSize
    if (this.#follows && this.#ends.at(last) === start) {
      const lastStart = this.#starts.at(last) as number
      if (this.#follows(this.#places.at(last) as T, start - lastStart, place)) {
        this.#ends.replaceLast(end)
        return start
      }
    }
    this.#starts.push(start)
    this.#ends.push(end)
    this.#places.push(place)
    return start
  }

  /**
   * The pieces that hold `length` bytes from `address`, in order.
   *
   * @throws DANGLING_REFERENCE when any of those bytes is not data of this space
   */
  *resolve(address: number, length: number): Generator<Piece<T>, void, undefined> {
    let at = address
    const end = address + length
    if (!Number.isInteger(address)) {
      throw new ReftarError(
        'DANGLING_REFERENCE',
        `a reference to address ${address}, expected a whole number`,
      )
    }
    for (let row = this.#find(address); at < end; row++) {
      const start = this.#starts.at(row)
      const rowEnd = this.#ends.at(row)
      if (start === undefined || rowEnd === undefined || at < start || at >= rowEnd) {
        throw new ReftarError(
          'DANGLING_REFERENCE',
          `a reference to ${length} bytes at address ${address} finds no data at ${at}, expected data before ${this.#size}`,
        )
      }
      const pieceEnd = Math.min(end, rowEnd)
      yield { place: this.#places.at(row) as T, skip: at - start, length: pieceEnd - at }
      at = pieceEnd
    }
  }

  /** The rest, from `address` on, of the piece that holds it; undefined where there is no data. */
  at(address: number): Piece<T> | undefined {
    const row = this.#find(address)
    const end = this.#ends.at(row)
    if (end === undefined || end <= address) return undefined
    return {
      place: this.#places.at(row) as T,
      skip: address - (this.#starts.at(row) as number),
      length: end - address,
    }
  }

  /** The last row that starts at or before `address`, or -1. */
  #find(address: number): number {
    let low = 0
    let high = this.#starts.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#starts.at(middle) as number) <= address) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}

/** Joins rows whose places are plain addresses. */
export function addressesFollow(place: number, length: number, next: number): boolean {
  return place + length === next
}
