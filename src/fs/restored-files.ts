import { DataSpace, type Piece } from '../format/data-space.js'
import { latin1, latin1Bytes } from '../format/latin1.js'
import { FILE_PLACES, type FilePlace, filePlacesFollow } from '../format/places.js'
import { FileTable } from './file-table.js'
import { PagedStore } from './paged-store.js'
import { RestoredFile } from './restored-file.js'

/** Of what is kept: device, inode, and when it was written to. */
const SIZE = 24
const INODE = 8
const WRITTEN = 16

/** Where data went: 32 bytes for each run, and 29 for each file that has any, with its name, once it is finished. */
export class RestoredFiles {
  readonly #pages = new PagedStore()
  readonly #table = new FileTable(SIZE, this.#pages)
  readonly #space = new DataSpace(1, filePlacesFollow, { places: FILE_PLACES, pages: this.#pages })
  /** Those that are not finished. */
  readonly #open = new Map<number, RestoredFile>()
  readonly #moved = new Map<number, RestoredFile>()

  /** The next data goes into a file; in bytes. */
  append(file: RestoredFile, offset: number, length: number): void {
    if (file.number === undefined) {
      file.number = this.#table.add(file.directory, latin1Bytes(file.name), () => undefined)
      this.#open.set(file.number, file)
    }
    this.#space.append(0, length, { file: file.number, offset })
  }

  /** Where data is, in order, with the numbers of its files; in bytes. @throws DANGLING_REFERENCE */
  resolve(address: number, length: number): Generator<Piece<FilePlace>, void, undefined> {
    return this.#space.resolve(address, length)
  }

  get(number: number): RestoredFile {
    const held = this.#held(number)
    if (held) return held
    const { directory, name, page, at } = this.#table.get(number)
    const file = new RestoredFile(directory, latin1(name))
    file.number = number
    file.identify({ dev: page.readDoubleLE(at), ino: page.readBigUInt64LE(at + INODE) })
    file.written = page.readDoubleLE(at + WRITTEN)
    return file
  }

  /** It was written back. */
  synced(number: number): void {
    const held = this.#held(number)
    if (held) held.written = 0
    this.#table.change(number, (page, at) => page.writeDoubleLE(0, at + WRITTEN))
  }

  /** Nothing more is written to it. To be called while it is open. @throws SYSTEM_CALL */
  finished(file: RestoredFile): void {
    const { number, dev, ino, written } = file
    if (number === undefined) return
    this.#table.change(number, (page, at) => {
      page.writeDoubleLE(dev, at)
      page.writeBigUInt64LE(ino, at + INODE)
      page.writeDoubleLE(written, at + WRITTEN)
    })
    this.#open.delete(number)
  }

  /** It has another name or directory than it had. */
  moved(file: RestoredFile): void {
    if (file.number !== undefined) this.#moved.set(file.number, file)
  }

  close(): void {
    this.#pages.close()
  }

  #held(number: number): RestoredFile | undefined {
    return this.#open.get(number) ?? this.#moved.get(number)
  }
}
