/** Of a page: small enough that the last one wastes little. */
const PAGE = 4096

/** A list that only grows, in pages: unlike an array it neither keeps room for more, nor moves what it has to grow. */
export class PagedList<T> {
  readonly #pages: T[][] = []
  #length = 0

  get length(): number {
    return this.#length
  }

  /** Undefined beyond its ends. */
  at(index: number): T | undefined {
    return this.#pages[Math.floor(index / PAGE)]?.[index % PAGE]
  }

  push(value: T): void {
    if (this.#length % PAGE === 0) this.#pages.push(new Array<T>(PAGE))
    this.#length++
    this.replaceLast(value)
  }

  /** Of a list that is not empty. */
  replaceLast(value: T): void {
    const last = this.#length - 1
    const page = this.#pages[Math.floor(last / PAGE)] as T[]
    page[last % PAGE] = value
  }
}
