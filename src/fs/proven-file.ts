import { constants } from 'node:fs'
import { ReftarError } from '../errors.js'
import type { Source } from '../record.js'
import { AT_FDCWD, openat } from '../sys/directory.js'
import { close, dataSync, readIntoAsync } from '../sys/file.js'
import { type Identity, isUnchanged, S_IFREG, statFd, typeOf } from '../sys/status.js'
import { isSettled, settle } from './settle.js'
import { Storages } from './storages.js'

const OPEN = constants.O_RDONLY | constants.O_NONBLOCK

/**
 * A file as it was when it was found. What is read from it after that are the bytes that it lends later on, or it is
 * found to have changed.
 */
export class ProvenFile implements Source {
  readonly #path: Uint8Array
  readonly #status: Identity
  #fd: number | undefined

  private constructor(fd: number, path: Uint8Array, status: Identity) {
    this.#fd = fd
    this.#path = path
    this.#status = status
  }

  /**
   * Of an open file, to be told by {@link release} before that is closed; undefined where nothing can be proven, or nothing
   * cloned from it.
   *
   * @param directory - where the clones are to be
   * @throws SYSTEM_CALL
   */
  static async of(fd: number, path: Uint8Array, directory?: Uint8Array): Promise<ProvenFile | undefined> {
    const opened = statFd(fd)
    if (typeOf(opened) !== S_IFREG || !isClonable(fd, directory)) return undefined
    await settle(opened)
    const now = Date.now()
    // Else what is stored into it through memory would not show in its times.
    await dataSync(fd)
    const status = statFd(fd)
    return isSettled(status, now) ? new ProvenFile(fd, path, status) : undefined
  }

  get device(): number {
    return this.#status.dev
  }

  /** From here on it is opened by its path, each time that it is needed. */
  release(): void {
    this.#fd = undefined
  }

  /** @throws SOURCE_CHANGED, SYSTEM_CALL */
  async read(offset: number, into: Uint8Array): Promise<void> {
    const fd = this.#open()
    try {
      const count = await readIntoAsync(fd, offset, into)
      this.#prove(fd)
      if (count !== into.byteLength) throw this.#changed()
    } finally {
      close(fd)
    }
  }

  /** @throws SOURCE_CHANGED, SYSTEM_CALL */
  withFd<T>(use: (fd: number) => T): T {
    if (this.#fd !== undefined) return this.#lend(this.#fd, use)
    const fd = this.#open()
    try {
      return this.#lend(fd, use)
    } finally {
      close(fd)
    }
  }

  #lend<T>(fd: number, use: (fd: number) => T): T {
    this.#prove(fd)
    const result = use(fd)
    this.#prove(fd)
    return result
  }

  #open(): number {
    return openat(AT_FDCWD, this.#path, OPEN)
  }

  #prove(fd: number): void {
    if (!isUnchanged(statFd(fd), this.#status)) throw this.#changed()
  }

  #changed(): ReftarError {
    return new ReftarError('SOURCE_CHANGED', 'the archive is not the one that is read', { path: this.#path })
  }
}

/** Times are believed on the filesystems that can clone, and nowhere else. */
function isClonable(fd: number, directory: Uint8Array | undefined): boolean {
  const storages = new Storages()
  const { proves, id } = storages.of(fd, statFd(fd))
  if (!proves || !directory) return proves
  const target = openat(AT_FDCWD, directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    return storages.of(target, statFd(target)).id === id
  } finally {
    close(target)
  }
}
