/** In bits. */
const PAGE = 32 * 1024

/** A set of ordinals: a bit for each number, in pages of 4 KiB that have at least one. */
export class OrdinalSet {
  readonly #pages = new Map<number, Uint8Array>()

  add(ordinal: number): void {
    const number = Math.floor(ordinal / PAGE)
    let page = this.#pages.get(number)
    if (!page) {
      page = new Uint8Array(PAGE / 8)
      this.#pages.set(number, page)
    }
    const at = ordinal % PAGE
    page[at >> 3] = (page[at >> 3] as number) | (1 << (at & 7))
  }

  /** @param ordinal - any number */
  has(ordinal: number): boolean {
    const at = ordinal % PAGE
    const byte = this.#pages.get(Math.floor(ordinal / PAGE))?.[at >> 3] ?? 0
    return (byte & (1 << (at & 7))) !== 0
  }
}
