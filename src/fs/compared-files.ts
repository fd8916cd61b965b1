import { DataSpace, type Piece } from '../format/data-space.js'
import { FILE_PLACES, type FilePlace, filePlacesFollow } from '../format/places.js'
import type { Inode } from '../sys/status.js'
import type { Directory } from './directory-tree.js'
import { FileTable } from './file-table.js'
import { PagedStore } from './paged-store.js'

/** A file of the tree that stands for one of the archive; found again by its name, as the same inode. */
export interface ComparedFile {
  readonly directory: Directory
  readonly name: Uint8Array
  readonly inode: Inode
  /** Whether all bytes that were compared so far were equal. */
  readonly isEqual: boolean
}

/** Of what is kept: device, inode, and whether it is equal. */
const SIZE = 17
const INODE = 8
const IS_EQUAL = 16
/** The number of what the tree has not. */
const NO_FILE = -1

/** Where data of the archive is in the tree: 32 bytes for each run, and 22 for each file that has any, with its name. */
export class ComparedFiles {
  readonly #pages = new PagedStore()
  readonly #table = new FileTable(SIZE, this.#pages)
  readonly #space = new DataSpace(1, filePlacesFollow, { places: FILE_PLACES, pages: this.#pages })

  /** Returns the number of the file. */
  add({ directory, name, inode, isEqual }: ComparedFile): number {
    return this.#table.add(directory, name, (page, at) => {
      page.writeDoubleLE(inode.dev, at)
      page.writeBigUInt64LE(inode.ino, at + INODE)
      page.writeUInt8(isEqual ? 1 : 0, at + IS_EQUAL)
    })
  }

  /** The next data of the archive is in a file, or nowhere; in bytes. */
  append(file = NO_FILE, offset: number, length: number): void {
    this.#space.append(0, length, { file, offset })
  }

  /** Where data is, in order, with the numbers of its files; in bytes. @throws DANGLING_REFERENCE */
  resolve(address: number, length: number): Generator<Piece<FilePlace>, void, undefined> {
    return this.#space.resolve(address, length)
  }

  /** Undefined for what the tree has not. */
  get(number: number): ComparedFile | undefined {
    if (number === NO_FILE) return undefined
    const { directory, name, page, at } = this.#table.get(number)
    const inode = { dev: page.readDoubleLE(at), ino: page.readBigUInt64LE(at + INODE) }
    return { directory, name, inode, isEqual: page.readUInt8(at + IS_EQUAL) === 1 }
  }

  /** Some of its bytes differ. */
  differs(number: number): void {
    this.#table.change(number, (page, at) => page.writeUInt8(0, at + IS_EQUAL))
  }

  close(): void {
    this.#pages.close()
  }
}
