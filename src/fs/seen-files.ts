import type { Time } from '../record.js'
import type { Identity } from '../sys/status.js'
import type { Directory } from './directory-tree.js'
import { PAGE_SIZE, type PagedStore } from './paged-store.js'

/** A file that was archived: how to find it again, and how it was. */
export interface SeenFile {
  readonly directory: Directory
  readonly name: Uint8Array
  readonly status: Identity
  /** When it was looked at, in nanoseconds of hrtime(). */
  readonly examined: number
}

const FIXED = 64

/** Files by number, in pages that can be put away: a number is where its record lies. */
export class SeenFiles {
  readonly #store: PagedStore
  readonly #directories: Directory[] = []
  readonly #numbers = new Map<Directory, number>()
  readonly #pages: number[] = []
  #used = PAGE_SIZE

  constructor(store: PagedStore) {
    this.#store = store
  }

  add({ directory, name, status, examined }: SeenFile): number {
    const length = FIXED + name.byteLength
    if (this.#used + length > PAGE_SIZE) {
      this.#pages.push(this.#store.allocate())
      this.#used = 0
    }
    const page = this.#store.write(this.#pages.at(-1) as number)
    const at = this.#used
    page.writeUInt32LE(this.#number(directory), at)
    page.writeUInt8(name.byteLength, at + 4)
    page.writeDoubleLE(status.dev, at + 8)
    page.writeBigUInt64LE(status.ino, at + 16)
    page.writeDoubleLE(status.size, at + 24)
    writeTime(page, at + 32, status.modified)
    writeTime(page, at + 44, status.changed)
    page.writeDoubleLE(examined, at + 56)
    page.set(name, at + FIXED)
    this.#used += length
    return (this.#pages.length - 1) * PAGE_SIZE + at
  }

  get(number: number): SeenFile {
    const at = number % PAGE_SIZE
    const page = this.#store.read(this.#pages[Math.floor(number / PAGE_SIZE)] as number)
    return {
      directory: this.#directories[page.readUInt32LE(at)] as Directory,
      name: new Uint8Array(page.subarray(at + FIXED, at + FIXED + page.readUInt8(at + 4))),
      status: {
        dev: page.readDoubleLE(at + 8),
        ino: page.readBigUInt64LE(at + 16),
        size: page.readDoubleLE(at + 24),
        modified: readTime(page, at + 32),
        changed: readTime(page, at + 44),
      },
      examined: page.readDoubleLE(at + 56),
    }
  }

  #number(directory: Directory): number {
    const known = this.#numbers.get(directory)
    if (known !== undefined) return known
    this.#numbers.set(directory, this.#directories.length)
    return this.#directories.push(directory) - 1
  }
}

function writeTime(page: Buffer, at: number, { seconds, nanoseconds }: Time): void {
  page.writeDoubleLE(seconds, at)
  page.writeUInt32LE(nanoseconds, at + 8)
}

function readTime(page: Buffer, at: number): Time {
  return { seconds: page.readDoubleLE(at), nanoseconds: page.readUInt32LE(at + 8) }
}
