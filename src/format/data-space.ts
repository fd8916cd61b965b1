import { ReftarError } from '../errors.js'
import { NumberTable } from './number-table.js'
import type { Pages } from './pages.js'
import { listedPlaces, NUMBERS, type Places } from './places.js'

/** A part of a piece of data, and where that went. */
export interface Piece<T> {
  readonly place: T
  /** Bytes between the start of `place` and the start of this piece. */
  readonly skip: number
  /** In bytes. */
  readonly length: number
}

/** How the rows of a data space are kept. */
export interface SpaceMemory<T> {
  readonly places: Places<T>
  /** By default they stay in memory. */
  readonly pages?: Pages | undefined
}

interface Row<T> {
  readonly start: number
  readonly place: T
  end: number
}

const START = 0
const END = 1
const PLACE = 2

/**
 * Maps the addresses of a data space to where each piece of data went. Append-only, so its rows are sorted
 * and a look-up is a binary search. Each append starts at a fresh block of `blockSize` bytes; with a block size
 * of 1 the space has no gaps. A row takes 16 bytes, and 8 for each number of a place.
 */
export class DataSpace<T> {
  readonly #blockSize: number
  readonly #follows: ((place: T, length: number, next: T) => boolean) | undefined
  readonly #places: Places<T>
  readonly #rows: NumberTable
  #last: Row<T> | undefined
  #size = 0

  /**
   * @param blockSize - in bytes
   * @param follows - whether `next` begins where `place` ends after `length` bytes: such rows are joined
   * @param memory - how its rows are kept, inside of this package; else they are in memory
   */
  constructor(
    blockSize = 1,
    follows?: (place: T, length: number, next: T) => boolean,
    memory: SpaceMemory<T> = { places: listedPlaces() },
  ) {
    const { places, pages } = memory
    this.#blockSize = blockSize
    this.#follows = follows
    this.#places = places
    this.#rows = new NumberTable(PLACE + places.width, pages)
  }

  /** The address just past the last block, in bytes. */
  get size(): number {
    return this.#size
  }

  /** Takes in `length` bytes that lie at `place` and begin `inBlockOffset` bytes into a block. Returns their address. */
  append(inBlockOffset: number, length: number, place: T): number {
    const start = this.#size + inBlockOffset
    const end = start + length
    const last = this.#last
    this.#size = Math.ceil(end / this.#blockSize) * this.#blockSize
    if (last?.end === start && this.#follows?.(last.place, start - last.start, place)) {
      last.end = end
      this.#rows.set(this.#rows.length - 1, END, end)
      return start
    }
    this.#last = { start, end, place }
    this.#rows.push([start, end, ...this.#places.numbersOf(place)])
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
    for (let row = this.#rows.findLast(address); at < end; row++) {
      const start = this.#start(row)
      const rowEnd = this.#end(row)
      if (at < start || at >= rowEnd) {
        throw new ReftarError(
          'DANGLING_REFERENCE',
          `a reference to ${length} bytes at address ${address} finds no data at ${at}, expected data before ${this.#size}`,
        )
      }
      const pieceEnd = Math.min(end, rowEnd)
      yield { place: this.#place(row), skip: at - start, length: pieceEnd - at }
      at = pieceEnd
    }
  }

  /** The rest, from `address` on, of the piece that holds it; undefined where there is no data. */
  at(address: number): Piece<T> | undefined {
    const row = this.#rows.findLast(address)
    const end = this.#end(row)
    if (end <= address) return undefined
    return { place: this.#place(row), skip: address - this.#start(row), length: end - address }
  }

  /** Infinite beyond the ends of the table, which nothing reaches. */
  #start(row: number): number {
    return this.#has(row) ? this.#rows.get(row, START) : Number.POSITIVE_INFINITY
  }

  #end(row: number): number {
    return this.#has(row) ? this.#rows.get(row, END) : Number.NEGATIVE_INFINITY
  }

  #has(row: number): boolean {
    return row >= 0 && row < this.#rows.length
  }

  #place(row: number): T {
    return this.#places.placeAt(this.#rows, row, PLACE)
  }
}

/** A data space whose places are plain addresses: rows of which one goes on where the other ends are joined. */
export function addressSpace(blockSize?: number, pages?: Pages): DataSpace<number> {
  return new DataSpace(blockSize, addressesFollow, { places: NUMBERS, pages })
}

/** Joins rows whose places are plain addresses. */
export function addressesFollow(place: number, length: number, next: number): boolean {
  return place + length === next
}
