import { PAGE_SIZE, type Pages } from '../format/pages.js'
import type { Directory } from './directory-tree.js'

/** Where a file is found, and the bytes that are kept of it, which are to be used at once. */
export interface FileRow {
  readonly directory: Directory
  readonly name: Uint8Array
  readonly page: Buffer
  /** Where in the page they begin. */
  readonly at: number
}

const HEAD = 5

/** Files by number: a number is where in the pages its row lies. A row takes 5 bytes, its name, and what else is kept. */
export class FileTable {
  readonly #size: number
  readonly #pages: Pages
  readonly #ids: number[] = []
  readonly #directories: Directory[] = []
  readonly #numbers = new Map<Directory, number>()
  #used = PAGE_SIZE

  /** @param size - how many bytes are kept of each file */
  constructor(size: number, pages: Pages) {
    this.#size = size
    this.#pages = pages
  }

  /** @param write - fills in what is kept */
  add(directory: Directory, name: Uint8Array, write: (page: Buffer, at: number) => void): number {
    const length = HEAD + this.#size + name.byteLength
    if (this.#used + length > PAGE_SIZE) {
      this.#ids.push(this.#pages.allocate())
      this.#used = 0
    }
    const { bytes } = this.#pages.write(this.#ids.at(-1) as number)
    const at = this.#used
    bytes.writeUInt32LE(this.#number(directory), at)
    bytes.writeUInt8(name.byteLength, at + 4)
    write(bytes, at + HEAD)
    bytes.set(name, at + HEAD + this.#size)
    this.#used += length
    return (this.#ids.length - 1) * PAGE_SIZE + at
  }

  get(number: number): FileRow {
    const at = number % PAGE_SIZE
    const page = this.#pages.read(this.#ids[Math.floor(number / PAGE_SIZE)] as number).bytes
    const directory = this.#directories[page.readUInt32LE(at)] as Directory
    const nameAt = at + HEAD + this.#size
    const name = new Uint8Array(page.subarray(nameAt, nameAt + page.readUInt8(at + 4)))
    return { directory, name, page, at: at + HEAD }
  }

  /** @param write - changes what is kept */
  change(number: number, write: (page: Buffer, at: number) => void): void {
    const { bytes } = this.#pages.write(this.#ids[Math.floor(number / PAGE_SIZE)] as number)
    write(bytes, (number % PAGE_SIZE) + HEAD)
  }

  #number(directory: Directory): number {
    const known = this.#numbers.get(directory)
    if (known !== undefined) return known
    this.#numbers.set(directory, this.#directories.length)
    return this.#directories.push(directory) - 1
  }
}
