import { constants } from 'node:fs'
import { type ErrorCode, ReftarError } from '../errors.js'
import { joinPath } from '../format/path.js'
import { AT_FDCWD, openat } from '../sys/directory.js'
import { EACCES } from '../sys/errno.js'
import { close, closingOnError } from '../sys/file.js'
import { type Inode, inodeOf, isSameFile, statFd } from '../sys/status.js'
import type { Bestowal } from './bestowal.js'

const OPEN = constants.O_RDONLY | constants.O_DIRECTORY
const OPEN_NOFOLLOW = OPEN | constants.O_NOFOLLOW
const PARENT = new Uint8Array([0x2e, 0x2e])

/** A directory that was reached once, and that can be reached again: by its name, in its parent, as the same inode. */
export interface Directory {
  /** Another one once it was moved. */
  parent: Directory | undefined
  readonly name: Uint8Array
  readonly inode: Inode
  readonly follow: boolean
  /** Of one that this run made; once the first file was made in it. */
  bestowal?: Bestowal
}

/**
 * Directories as descriptors, at most `limit` of them open at a time. One that was closed is opened again from its
 * parent, or from a child through `..`, and refused unless it is the same inode: no path is ever resolved twice.
 */
export class DirectoryTree {
  readonly #limit: number
  readonly #changed: ErrorCode
  /** Open descriptors, the one that was used last at the end. */
  readonly #open = new Map<Directory, number>()
  /** The one that was used last. */
  #last: Directory | undefined
  #roots = 0
  #isClosed = false

  /** @param changed - the code of the error when a directory is not the one that it was */
  constructor(changed: 'SOURCE_CHANGED' | 'TARGET_CHANGED', limit = 64) {
    this.#changed = changed
    this.#limit = limit
  }

  /** Opens where everything starts; it stays open. Symbolic links on the way are followed. @throws SYSTEM_CALL */
  root(path: Uint8Array): Directory {
    const fd = openat(AT_FDCWD, path, OPEN)
    const directory = { parent: undefined, name: path, inode: inodeOfOpen(fd), follow: true }
    this.#roots++
    this.#open.set(directory, fd)
    return directory
  }

  /** @throws SYSTEM_CALL */
  child(parent: Directory, name: Uint8Array, follow = false): Directory {
    const fd = openat(this.fd(parent), name, follow ? OPEN : OPEN_NOFOLLOW)
    // A copy, for it is kept long: a name can be a view of much more.
    const directory = { parent, name: new Uint8Array(name), inode: inodeOfOpen(fd), follow }
    this.#keep(directory, fd)
    return directory
  }

  /** A descriptor to use at once; those of the two last calls are open. @throws SYSTEM_CALL, SOURCE_CHANGED or TARGET_CHANGED */
  fd(directory: Directory): number {
    const known = this.#open.get(directory)
    if (known !== undefined) {
      if (directory.parent && directory !== this.#last) {
        this.#last = directory
        this.#open.delete(directory)
        this.#open.set(directory, known)
      }
      return known
    }
    const closed: Directory[] = []
    let at: Directory | undefined = directory
    while (at && !this.#open.has(at)) {
      closed.push(at)
      at = at.parent
    }
    let from = (at && this.#open.get(at)) ?? AT_FDCWD
    const borrowed = from
    for (const next of closed.reverse()) {
      let fd: number
      try {
        fd = openat(from, next.name, next.follow ? OPEN : OPEN_NOFOLLOW)
      } finally {
        if (from !== borrowed) close(from)
      }
      this.#prove(next, fd)
      from = fd
    }
    this.#keep(directory, from)
    return from
  }

  /** Closes a directory that is done with, keeping the way back to its parent short. */
  leave(directory: Directory): void {
    const fd = this.#open.get(directory)
    if (fd === undefined || !directory.parent) return
    // Before another one is kept, for which it might have to make room.
    this.#open.delete(directory)
    try {
      if (this.#open.has(directory.parent) || directory.follow) return
      const parent = this.#above(fd)
      if (parent === undefined) return
      this.#prove(directory.parent, parent)
      this.#keep(directory.parent, parent)
    } finally {
      close(fd)
    }
  }

  /** The parent of an open directory; undefined where it may not be searched any more: there is another way to it. */
  #above(fd: number): number | undefined {
    try {
      return openat(fd, PARENT, OPEN_NOFOLLOW)
    } catch (error) {
      if (error instanceof ReftarError && error.errno === EACCES) return undefined
      throw error
    }
  }

  /**
   * Lends a descriptor, after {@link close} too: then all is opened for this one use.
   *
   * @throws SYSTEM_CALL, SOURCE_CHANGED or TARGET_CHANGED, and what `use` throws
   */
  lend<T>(directory: Directory, use: (fd: number) => T): T {
    try {
      return use(this.fd(directory))
    } finally {
      if (this.#isClosed) this.close()
    }
  }

  /** Closes everything. */
  close(): void {
    this.#isClosed = true
    for (const fd of this.#open.values()) close(fd)
    this.#open.clear()
  }

  #prove(directory: Directory, fd: number): void {
    if (isSameFile(inodeOfOpen(fd), directory.inode)) return
    close(fd)
    throw new ReftarError(this.#changed, 'the directory is not the one that it was', {
      path: pathOf(directory),
    })
  }

  #keep(directory: Directory, fd: number): void {
    this.#last = directory
    this.#open.set(directory, fd)
    if (this.#open.size <= this.#limit + this.#roots) return
    for (const [oldest, oldFd] of this.#open) {
      if (!oldest.parent || oldest === directory) continue
      this.#open.delete(oldest)
      close(oldFd)
      return
    }
  }
}

/** Of a descriptor that was opened just now: without an answer, nobody else would close it. @throws SYSTEM_CALL */
function inodeOfOpen(fd: number): Inode {
  return inodeOf(closingOnError(fd, statFd))
}

/** From the root, without it; raw bytes. */
export function pathOf(directory: Directory, name?: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = name ? [name] : []
  for (let at: Directory | undefined = directory; at?.parent; at = at.parent) parts.push(at.name)
  return joinPath(parts.reverse())
}
