import { syncFilesystem } from '../sys/file.js'
import { filesystemOf, XFS } from '../sys/filesystem.js'
import type { RestoredFile } from './restored-file.js'

/** So many files are written back at once. */
const FILES = 2048

/**
 * Has files written back while more of them come, which leaves less to wait for in the end, and knows which of them were:
 * a clone of what is dirty forces it out.
 */
export class Writeback {
  /** Of the directory in which everything is made. */
  readonly #fd: () => number
  #clock = 1
  #synced = 0
  #files = 0
  #underWay: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined

  /** @param fd - gives one that stays open until {@link Writeback.rest} */
  constructor(fd: () => number) {
    this.#fd = fd
  }

  /** What is written now may be written back at once. */
  get isUnderWay(): boolean {
    return this.#underWay !== undefined
  }

  /** To be told of every write. */
  wrote(file: RestoredFile): void {
    file.written = this.#clock
  }

  /** To be told of every file that has all of its data. */
  ended({ written }: RestoredFile): void {
    if (written === 0 || ++this.#files < FILES || this.#underWay) return
    this.#files = 0
    const fd = this.#fd()
    // It saves more than it costs where most of the work on a new file is put off until then.
    if (filesystemOf(fd).type !== XFS) return
    this.#underWay = this.all(fd)
      .catch(error => {
        this.#failure ??= { error }
      })
      .finally(() => {
        this.#underWay = undefined
      })
  }

  isDirty({ written }: RestoredFile): boolean {
    return written > this.#synced
  }

  /** Everything that was written to a filesystem until now. @throws SYSTEM_CALL */
  async all(fd: number): Promise<void> {
    const until = this.#clock++
    await syncFilesystem(fd)
    this.#synced = Math.max(this.#synced, until)
  }

  /** Until nothing is under way. @throws SYSTEM_CALL, of what was: then nobody knows what is on the disk */
  async settle(): Promise<void> {
    await this.rest()
    if (this.#failure) throw this.#failure.error
  }

  /** As {@link Writeback.settle}, whatever came of it; a promise only where that takes time. */
  rest(): void | Promise<void> {
    return this.#underWay
  }
}
