import { ReftarError } from '../errors.js'
import type { Source } from '../record.js'
import { openat } from '../sys/directory.js'
import { close, OPEN_FILE, readInto, readIntoAsync, SMALL_READ } from '../sys/file.js'
import { type Identity, isUnchanged, type Status, statFd } from '../sys/status.js'
import { type Directory, type DirectoryTree, pathOf } from './directory-tree.js'

/** A file that was archived, to be read again while it is unchanged. It holds no descriptor between two reads. */
export class FileSource implements Source {
  readonly #tree: DirectoryTree
  readonly #directory: Directory
  readonly #name: Uint8Array
  readonly #identity: Identity

  /** @param status - of the file, from after it was written back and before it was read */
  constructor(tree: DirectoryTree, directory: Directory, name: Uint8Array, status: Status) {
    const { dev, ino, size, modified, changed } = status
    this.#tree = tree
    this.#directory = directory
    this.#name = name
    this.#identity = { dev, ino, size, modified, changed }
  }

  /** @throws SOURCE_CHANGED, SYSTEM_CALL */
  read(offset: number, into: Uint8Array): void | Promise<void> {
    const fd = this.#tree.lend(this.#directory, directory => openat(directory, this.#name, OPEN_FILE))
    if (into.byteLength > SMALL_READ) return this.#readLater(fd, offset, into)
    try {
      this.#prove(fd)
      this.#check(fd, readInto(fd, offset, into), into)
    } finally {
      close(fd)
    }
  }

  async #readLater(fd: number, offset: number, into: Uint8Array): Promise<void> {
    try {
      this.#prove(fd)
      this.#check(fd, await readIntoAsync(fd, offset, into), into)
    } finally {
      close(fd)
    }
  }

  #check(fd: number, count: number, into: Uint8Array): void {
    this.#prove(fd)
    if (count !== into.byteLength) throw this.#changed()
  }

  #prove(fd: number): void {
    if (!isUnchanged(statFd(fd), this.#identity)) throw this.#changed()
  }

  #changed(): ReftarError {
    const path = pathOf(this.#directory, this.#name)
    return new ReftarError('SOURCE_CHANGED', 'the file is not the one that was archived', { path })
  }
}
