import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ReftarError } from '../errors.js'
import { newPage, PAGE_SIZE, type Page, type Pages } from '../format/pages.js'
import { close, readInto, writeAt } from '../sys/file.js'

interface Resident {
  readonly page: Page
  isDirty: boolean
  /** The number of the request that moved it to the end of the order. */
  moved: number
}

const FEWEST_PAGES = 16
/** In bytes. */
const DEFAULT_MEMORY = 8 * 1024 * 1024

/** Files of stores that nobody has any more. */
const forgotten = new FinalizationRegistry<number>(close)

/** Pages of memory that, past a bound, go to an unnamed temporary file. Closed or forgotten, it leaves nothing behind. */
export class PagedStore implements Pages {
  #limit: number
  /** In the order of their last use, but for what was used a few requests later or earlier. */
  readonly #resident = new Map<number, Resident>()
  #requests = 0
  #count = 0
  #file: number | undefined

  /** @param memory - the bound, in bytes */
  constructor(memory = DEFAULT_MEMORY) {
    this.#limit = Math.max(FEWEST_PAGES, Math.floor(memory / PAGE_SIZE))
  }

  /** Whether any page was put away. */
  get isSpilled(): boolean {
    return this.#file !== undefined
  }

  allocate(): number {
    this.#requests++
    const page = this.#room()
    page.bytes.fill(0)
    this.#resident.set(this.#count, { page, isDirty: true, moved: this.#requests })
    return this.#count++
  }

  /** @throws SYSTEM_CALL */
  read(id: number): Page {
    return this.#find(id).page
  }

  /** @throws SYSTEM_CALL */
  write(id: number): Page {
    const found = this.#find(id)
    found.isDirty = true
    return found.page
  }

  close(): void {
    this.#resident.clear()
    if (this.#file === undefined) return
    forgotten.unregister(this)
    close(this.#file)
    this.#file = undefined
  }

  #find(id: number): Resident {
    const now = ++this.#requests
    const known = this.#resident.get(id)
    if (!known) return this.#readBack(id)
    // To move it at each request would take longer than what it is wanted for.
    if (now - known.moved > this.#limit / 4) {
      known.moved = now
      this.#resident.delete(id)
      this.#resident.set(id, known)
    }
    return known
  }

  #readBack(id: number): Resident {
    const page = this.#room()
    if (this.#file === undefined || readInto(this.#file, id * PAGE_SIZE, page.bytes) < PAGE_SIZE) {
      throw new ReftarError('SYSTEM_CALL', `page ${id} cannot be read back from the temporary file`)
    }
    const found = { page, isDirty: false, moved: this.#requests }
    this.#resident.set(id, found)
    return found
  }

  /** Memory for one more page: past the bound, that of the one that was not used for longest. */
  #room(): Page {
    const [oldest] = this.#resident
    if (!oldest || this.#resident.size < this.#limit) return newPage()
    const [id, { page, isDirty }] = oldest
    if (isDirty && !this.#putAway(id, page)) return newPage()
    this.#resident.delete(id)
    return page
  }

  /** Returns false where there is no room for it: then memory has to do. */
  #putAway(id: number, { bytes }: Page): boolean {
    try {
      if (this.#file === undefined) {
        this.#file = openUnnamed()
        forgotten.register(this, this.#file, this)
      }
      writeAt(this.#file, bytes, id * PAGE_SIZE)
      return true
    } catch {
      this.#limit = Number.POSITIVE_INFINITY
      return false
    }
  }
}

/** A file that nobody else can name, and that is gone when it is closed. */
function openUnnamed(): number {
  const name = path.join(tmpdir(), `reftar-${randomUUID()}`)
  const fd = fs.openSync(name, 'wx+', 0o600)
  fs.unlinkSync(name)
  return fd
}
