import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ReftarError } from '../errors.js'
import { close, readAt, writeAt } from '../sys/file.js'

/** Of a page, in bytes. */
export const PAGE_SIZE = 32 * 1024

interface Page {
  readonly bytes: Buffer
  isDirty: boolean
}

const FEWEST_PAGES = 8

/**
 * Pages of memory that, past a bound, go to an unnamed temporary file. A page that was handed out is to be used at once:
 * the eighth request after it may put it away.
 */
export class PagedStore {
  readonly #limit: number
  /** In the order of their last use. */
  readonly #resident = new Map<number, Page>()
  /** The page that was used last. */
  #last = -1
  #count = 0
  #file: number | undefined

  /** @param memory - the bound, in bytes */
  constructor(memory: number) {
    this.#limit = Math.max(FEWEST_PAGES, Math.floor(memory / PAGE_SIZE))
  }

  /** Whether any page was put away. */
  get isSpilled(): boolean {
    return this.#file !== undefined
  }

  /** A new page, all zero. @throws SYSTEM_CALL */
  allocate(): number {
    const id = this.#count++
    this.#keep(id, { bytes: Buffer.alloc(PAGE_SIZE), isDirty: true })
    return id
  }

  /** A page to look at. @throws SYSTEM_CALL */
  read(id: number): Buffer {
    return this.#page(id).bytes
  }

  /** A page to change. @throws SYSTEM_CALL */
  write(id: number): Buffer {
    const page = this.#page(id)
    page.isDirty = true
    return page.bytes
  }

  close(): void {
    this.#resident.clear()
    if (this.#file !== undefined) close(this.#file)
    this.#file = undefined
  }

  #page(id: number): Page {
    const known = this.#resident.get(id)
    if (known) {
      if (id === this.#last) return known
      this.#last = id
      this.#resident.delete(id)
      this.#resident.set(id, known)
      return known
    }
    const bytes = this.#file === undefined ? undefined : readAt(this.#file, id * PAGE_SIZE, PAGE_SIZE)
    if (bytes?.byteLength !== PAGE_SIZE) {
      throw new ReftarError('SYSTEM_CALL', `page ${id} cannot be read back from the temporary file`)
    }
    const page = { bytes: Buffer.from(bytes.buffer, bytes.byteOffset, PAGE_SIZE), isDirty: false }
    this.#keep(id, page)
    return page
  }

  #keep(id: number, page: Page): void {
    this.#last = id
    this.#resident.set(id, page)
    if (this.#resident.size <= this.#limit) return
    const [oldest] = this.#resident
    if (!oldest) return
    const [oldId, { bytes, isDirty }] = oldest
    this.#resident.delete(oldId)
    if (!isDirty) return
    this.#file ??= openUnnamed()
    writeAt(this.#file, bytes, oldId * PAGE_SIZE)
  }
}

/** A file that nobody else can name, and that is gone when it is closed. */
function openUnnamed(): number {
  const name = path.join(tmpdir(), `reftar-${randomUUID()}`)
  const fd = fs.openSync(name, 'wx+', 0o600)
  fs.unlinkSync(name)
  return fd
}
