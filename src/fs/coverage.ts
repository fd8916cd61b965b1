import type { SharedExtent } from './shared-extents.js'

/** The shared extents of a part of a file, in order. */
interface Part {
  readonly extents: readonly SharedExtent[]
  /** In bytes. */
  readonly end: number
}

/**
 * Answers whether ranges of a file still lie where they did. It looks at a part of its map at a time: once at each, where it
 * is asked in the order of offsets.
 */
export class Coverage {
  readonly #map: (offset: number) => Part
  #start = 0
  #part: Part = { extents: [], end: 0 }

  /** @param map - looks at the part from an offset on */
  constructor(map: (offset: number) => Part) {
    this.#map = map
  }

  /** All in bytes; `position` is where in the space the range lay. */
  has(space: string, offset: number, position: number, length: number): boolean {
    const end = offset + length
    for (let at = offset; at < end; ) {
      const extent = this.#at(at)
      if (extent?.space !== space || extent.position - extent.offset !== position - offset) return false
      at = extent.offset + extent.length
    }
    return true
  }

  /** The extent that holds a byte. */
  #at(offset: number): SharedExtent | undefined {
    if (offset < this.#start || offset >= this.#part.end) {
      this.#part = this.#map(offset)
      this.#start = offset
    }
    const { extents } = this.#part
    let low = 0
    let high = extents.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((extents[middle] as SharedExtent).offset <= offset) low = middle + 1
      else high = middle
    }
    const extent = extents[low - 1]
    return extent && extent.offset + extent.length > offset ? extent : undefined
  }
}
