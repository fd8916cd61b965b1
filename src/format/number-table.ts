import { PAGE_SIZE, type Pages, ResidentPages } from './pages.js'

/** Rows of a few numbers each, of 8 bytes. It only grows. */
export class NumberTable {
  readonly #width: number
  readonly #rowsOfPage: number
  readonly #pages: Pages
  readonly #ids: number[] = []
  /** The first number of each page, at hand to search in. */
  readonly #firsts: number[] = []
  #length = 0

  /** @param width - how many numbers a row has */
  constructor(width: number, pages: Pages = new ResidentPages()) {
    this.#width = width
    this.#rowsOfPage = Math.floor(PAGE_SIZE / (width * Float64Array.BYTES_PER_ELEMENT))
    this.#pages = pages
  }

  /** In rows. */
  get length(): number {
    return this.#length
  }

  push(row: readonly number[]): void {
    if (this.#length % this.#rowsOfPage === 0) {
      this.#ids.push(this.#pages.allocate())
      this.#firsts.push(row[0] as number)
    }
    const { numbers } = this.#pages.write(this.#ids.at(-1) as number)
    const at = (this.#length % this.#rowsOfPage) * this.#width
    for (let i = 0; i < this.#width; i++) numbers[at + i] = row[i] as number
    this.#length++
  }

  /** Of a row that is there. */
  get(row: number, column: number): number {
    const { numbers } = this.#pages.read(this.#ids[Math.floor(row / this.#rowsOfPage)] as number)
    return numbers[(row % this.#rowsOfPage) * this.#width + column] as number
  }

  /** Of a row that is there; not of the first column. */
  set(row: number, column: number, value: number): void {
    const { numbers } = this.#pages.write(this.#ids[Math.floor(row / this.#rowsOfPage)] as number)
    numbers[(row % this.#rowsOfPage) * this.#width + column] = value
  }

  /** The last row whose first number is not above a value, or -1; of a table whose first column ascends. */
  findLast(value: number): number {
    const page = lastNotAbove(0, this.#firsts.length, at => (this.#firsts[at] as number) <= value)
    if (page === -1) return -1
    const { numbers } = this.#pages.read(this.#ids[page] as number)
    const first = page * this.#rowsOfPage
    const count = Math.min(this.#rowsOfPage, this.#length - first)
    return first + lastNotAbove(1, count, at => (numbers[at * this.#width] as number) <= value)
  }
}

/** The last place before `end` of which that holds, as it does of all before it, and of the one before `start`. */
function lastNotAbove(start: number, end: number, holds: (at: number) => boolean): number {
  let [low, high] = [start, end]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(middle)) low = middle + 1
    else high = middle
  }
  return low - 1
}
