import { PAGE_SIZE, type Pages } from '../format/pages.js'

/** Where bytes of a storage were seen first: in which file, and at which address of the record stream. */
export interface Sighting {
  /** A number that the caller knows the file by. */
  readonly file: number
  /** In that file, in bytes. */
  readonly offset: number
  readonly address: number
}

export interface Overlap {
  /** In the storage, in bytes. */
  readonly start: number
  readonly length: number
  readonly sighting: Sighting
}

interface Row extends Sighting {
  readonly start: number
  readonly end: number
}

/** The pages of one space, in order: where the first row of each starts, and how many it has. */
interface Space {
  readonly ids: number[]
  readonly firsts: number[]
  readonly counts: number[]
}

const FIELDS = 5
const MAX_ROWS = Math.floor(PAGE_SIZE / (FIELDS * Float64Array.BYTES_PER_ELEMENT))

/** Ranges of storage that were archived, by their position: disjoint intervals, kept in order. */
export class SharedMap {
  readonly #store: Pages
  readonly #spaces = new Map<string, Space>()

  constructor(store: Pages) {
    this.#store = store
  }

  /** The parts of a range that were seen, in order. */
  find(space: string, start: number, length: number): Overlap[] {
    const pages = this.#spaces.get(space)
    const overlaps: Overlap[] = []
    if (!pages) return overlaps
    const end = start + length
    for (let at = pageOf(pages, start); at < pages.ids.length; at++) {
      const page = this.#page(pages, at, false)
      const count = pages.counts[at] ?? 0
      for (let i = Math.max(0, rowAfter(page, count, start) - 1); i < count; i++) {
        const row = rowAt(page, i)
        if (row.end <= start) continue
        if (row.start >= end) return overlaps
        const from = Math.max(start, row.start)
        const skip = from - row.start
        overlaps.push({
          start: from,
          length: Math.min(end, row.end) - from,
          sighting: { file: row.file, offset: row.offset + skip, address: row.address + skip },
        })
      }
    }
    return overlaps
  }

  /** Takes in a range; what was known of parts of it is forgotten. */
  insert(space: string, start: number, length: number, sighting: Sighting): void {
    let pages = this.#spaces.get(space)
    if (!pages) {
      pages = { ids: [this.#store.allocate()], firsts: [start], counts: [0] }
      this.#spaces.set(space, pages)
    }
    const end = start + length
    this.#forget(pages, start, end)
    const at = this.#roomyPage(pages, pageOf(pages, start), start)
    const page = this.#page(pages, at, true)
    const place = rowAfter(page, pages.counts[at] ?? 0, start)
    if (place > 0 && goesOn(rowAt(page, place - 1), start, sighting)) page[(place - 1) * FIELDS + 1] = end
    else this.#replace(pages, at, place, 0, [{ start, end, ...sighting }])
  }

  #forget(pages: Space, start: number, end: number): void {
    for (let at = pageOf(pages, start); at < pages.ids.length && (pages.firsts[at] ?? end) < end; at++) {
      at = this.#roomyPage(pages, at, start)
      const page = this.#page(pages, at, false)
      const count = pages.counts[at] ?? 0
      const first = Math.max(0, rowAfter(page, count, start) - 1)
      let last = first
      const kept: Row[] = []
      while (last < count && (page[last * FIELDS] as number) < end)
        kept.push(...outside(rowAt(page, last++), start, end))
      if (last > first) this.#replace(pages, at, first, last - first, kept)
    }
  }

  /** The page at `at`, or where `start` belongs after it was split, with room for one more row. */
  #roomyPage(pages: Space, at: number, start: number): number {
    if ((pages.counts[at] ?? 0) < MAX_ROWS) return at
    this.#split(pages, at)
    return (pages.firsts[at + 1] ?? 0) <= start ? at + 1 : at
  }

  /** Puts rows in the place of others; there is room for them. */
  #replace(pages: Space, at: number, from: number, removed: number, rows: readonly Row[]): void {
    const page = this.#page(pages, at, true)
    const count = pages.counts[at] ?? 0
    const left = count - removed + rows.length
    page.copyWithin((from + rows.length) * FIELDS, (from + removed) * FIELDS, count * FIELDS)
    rows.forEach((row, i) => {
      page.set([row.start, row.end, row.address, row.offset, row.file], (from + i) * FIELDS)
    })
    pages.counts[at] = left
    if (left > 0) pages.firsts[at] = page[0] as number
  }

  #split(pages: Space, at: number): void {
    const id = this.#store.allocate()
    const page = this.#page(pages, at, true)
    const count = pages.counts[at] ?? 0
    const half = count >>> 1
    pages.ids.splice(at + 1, 0, id)
    pages.firsts.splice(at + 1, 0, page[half * FIELDS] ?? 0)
    pages.counts.splice(at + 1, 0, count - half)
    pages.counts[at] = half
    this.#page(pages, at + 1, true).set(page.subarray(half * FIELDS, count * FIELDS))
  }

  #page(pages: Space, at: number, toWrite: boolean): Float64Array {
    const id = pages.ids[at] as number
    return (toWrite ? this.#store.write(id) : this.#store.read(id)).numbers
  }
}

function rowAt(page: Float64Array, index: number): Row {
  const [start = 0, end = 0, address = 0, offset = 0, file = 0] = page.subarray(
    index * FIELDS,
    (index + 1) * FIELDS,
  )
  return { start, end, address, offset, file }
}

/** Whether what comes at `start` goes on where a row ends: in the storage, in the same file, and in the record stream. */
function goesOn(row: Row, start: number, { file, offset, address }: Sighting): boolean {
  const length = row.end - row.start
  return (
    row.end === start &&
    row.file === file &&
    row.offset + length === offset &&
    row.address + length === address
  )
}

/** What is left of a row outside of a range. */
function outside(row: Row, start: number, end: number): Row[] {
  const rest: Row[] = []
  if (row.start < start) rest.push({ ...row, end: Math.min(row.end, start) })
  if (row.end > end) {
    const skip = Math.max(0, end - row.start)
    rest.push({ ...row, start: row.start + skip, offset: row.offset + skip, address: row.address + skip })
  }
  return rest
}

/** The last page whose first row starts at or before `start`, else the first one. */
function pageOf({ firsts }: Space, start: number): number {
  let low = 0
  let high = firsts.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((firsts[middle] as number) <= start) low = middle + 1
    else high = middle
  }
  return Math.max(0, low - 1)
}

/** The place of the first row that starts after `start`. */
function rowAfter(page: Float64Array, count: number, start: number): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((page[middle * FIELDS] as number) <= start) low = middle + 1
    else high = middle
  }
  return low
}
