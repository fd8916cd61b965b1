/** Where bytes of a storage were seen first: in which file, and at which address of the record stream. */
export interface Sighting<F> {
  readonly file: F
  /** In that file, in bytes. */
  readonly offset: number
  readonly address: number
}

interface Row<F> extends Sighting<F> {
  readonly start: number
  readonly end: number
}

export interface Overlap<F> {
  /** In the storage, in bytes. */
  readonly start: number
  readonly length: number
  readonly sighting: Sighting<F>
}

/** Rows of one page: an insertion moves no more than these. */
const PAGE = 512

/** Ranges of storage that were archived, by their position: disjoint intervals, kept in order. */
export class SharedMap<F> {
  readonly #spaces = new Map<string, Row<F>[][]>()
  #rows = 0

  /** How many ranges it holds. */
  get size(): number {
    return this.#rows
  }

  /** The parts of a range that were seen, in order. */
  *find(space: string, start: number, length: number): Generator<Overlap<F>, void, undefined> {
    const pages = this.#spaces.get(space)
    if (!pages) return
    const end = start + length
    for (let at = pageOf(pages, start); at < pages.length; at++) {
      const page = pages[at] ?? []
      for (let i = Math.max(0, rowOf(page, start) - 1); i < page.length; i++) {
        const row = page[i] as Row<F>
        if (row.end <= start) continue
        if (row.start >= end) return
        const from = Math.max(start, row.start)
        const skip = from - row.start
        yield {
          start: from,
          length: Math.min(end, row.end) - from,
          sighting: { file: row.file, offset: row.offset + skip, address: row.address + skip },
        }
      }
    }
  }

  /** Takes in a range; what was known of parts of it is forgotten. */
  insert(space: string, start: number, length: number, sighting: Sighting<F>): void {
    let pages = this.#spaces.get(space)
    if (!pages) {
      pages = [[]]
      this.#spaces.set(space, pages)
    }
    const end = start + length
    this.#clear(pages, start, end)
    const page = pages[pageOf(pages, start)] as Row<F>[]
    page.splice(rowOf(page, start), 0, { start, end, ...sighting })
    this.#rows++
    if (page.length > PAGE) {
      const index = pages.indexOf(page, pageOf(pages, start))
      pages.splice(index + 1, 0, page.splice(PAGE / 2))
    }
  }

  #clear(pages: Row<F>[][], start: number, end: number): void {
    for (let at = pageOf(pages, start); at < pages.length; at++) {
      const page = pages[at] as Row<F>[]
      const first = Math.max(0, rowOf(page, start) - 1)
      let last = first
      while (last < page.length && (page[last] as Row<F>).start < end) last++
      const kept = page.slice(first, last).flatMap(row => (row.end <= start ? row : cut(row, start, end)))
      page.splice(first, last - first, ...kept)
      this.#rows += kept.length - (last - first)
      if (last < page.length + last - first - kept.length) return
    }
  }
}

/** What is left of a row outside of a range. */
function cut<F>(row: Row<F>, start: number, end: number): Row<F>[] {
  const rest: Row<F>[] = []
  if (row.start < start) rest.push({ ...row, end: start })
  if (row.end > end) {
    const skip = end - row.start
    rest.push({ ...row, start: end, offset: row.offset + skip, address: row.address + skip })
  }
  return rest
}

/** The page that has the last row which starts at or before `start`. */
function pageOf<F>(pages: readonly Row<F>[][], start: number): number {
  let low = 0
  let high = pages.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((pages[middle]?.[0]?.start ?? 0) <= start) low = middle + 1
    else high = middle
  }
  return Math.max(0, low - 1)
}

/** The place of the first row that starts after `start`. */
function rowOf<F>(page: readonly Row<F>[], start: number): number {
  let low = 0
  let high = page.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((page[middle] as Row<F>).start <= start) low = middle + 1
    else high = middle
  }
  return low
}
