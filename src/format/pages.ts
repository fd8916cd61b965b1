/** Of a page, in bytes. */
export const PAGE_SIZE = 32 * 1024

/** The same memory, as it is wanted. */
export interface Page {
  readonly bytes: Buffer
  readonly numbers: Float64Array
}

/**
 * Where tables lie that grow: outside of the heap, which would take twice what is in it, and maybe outside of memory. A page
 * that was handed out is to be used at once: the eighth request after it may put it away.
 */
export interface Pages {
  /** A new page, all zero. */
  allocate(): number
  /** A page to look at. */
  read(id: number): Page
  /** A page to change. */
  write(id: number): Page
}

/** Pages that stay in memory. */
export class ResidentPages implements Pages {
  readonly #pages: Page[] = []

  allocate(): number {
    return this.#pages.push(newPage()) - 1
  }

  read(id: number): Page {
    return this.#pages[id] as Page
  }

  write(id: number): Page {
    return this.read(id)
  }
}

/** @param bytes - of a page, in memory of their own; by default all zero */
export function newPage(bytes = Buffer.alloc(PAGE_SIZE)): Page {
  const { buffer, byteOffset } = bytes
  return { bytes, numbers: new Float64Array(buffer, byteOffset, PAGE_SIZE / Float64Array.BYTES_PER_ELEMENT) }
}
