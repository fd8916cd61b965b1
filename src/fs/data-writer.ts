import { SMALL_WRITE, startWriteback, writeAt, writeAtAsync } from '../sys/file.js'

/** From this many bytes on, what is written goes to the disk at once. */
export const WRITTEN_BACK = 1024 * 1024
/** How much may be on its way to other threads, in bytes. */
const MOST_UNDER_WAY = 8 * 1024 * 1024

/**
 * Writes the data of one file after the other. Small pieces that lie side by side take one call; large ones are written
 * on other threads while more arrives, so that each file has to be waited for at its end.
 */
export class DataWriter {
  readonly #joined = Buffer.allocUnsafeSlow(SMALL_WRITE)
  /** Small pieces that were not written yet, all of one file. */
  #pieces: Uint8Array[] = []
  #fd = -1
  /** Of the first piece. */
  #offset = 0
  #length = 0
  readonly #underWay = new Set<Promise<void>>()
  #bytesUnderWay = 0
  #failure: { readonly error: unknown } | undefined

  /** @throws SYSTEM_CALL, which may be that of an earlier write */
  write(fd: number, bytes: Uint8Array, offset: number): void | Promise<void> {
    const { byteLength } = bytes
    if (byteLength > SMALL_WRITE) {
      this.flush()
      this.#start(fd, bytes, offset)
      return this.#bytesUnderWay > MOST_UNDER_WAY ? this.#wait(MOST_UNDER_WAY / 2) : undefined
    }
    const follows = fd === this.#fd && offset === this.#offset + this.#length
    if (!follows || this.#length + byteLength > SMALL_WRITE) this.flush()
    if (this.#length === 0) {
      this.#fd = fd
      this.#offset = offset
    }
    this.#pieces.push(bytes)
    this.#length += byteLength
  }

  /** Writes the small pieces. @throws SYSTEM_CALL */
  flush(): void {
    if (this.#length === 0) return
    const [fd, offset, length, pieces] = [this.#fd, this.#offset, this.#length, this.#pieces]
    this.#pieces = []
    this.#length = 0
    const [first] = pieces as [Uint8Array]
    if (pieces.length === 1) {
      writeAt(fd, first, offset)
      return
    }
    let at = 0
    for (const piece of pieces) {
      this.#joined.set(piece, at)
      at += piece.byteLength
    }
    writeAt(fd, this.#joined.subarray(0, length), offset)
  }

  /** Until everything is written; a promise only where that takes time. @throws SYSTEM_CALL */
  settle(): void | Promise<void> {
    this.flush()
    if (this.#underWay.size > 0) return this.#wait(0)
    this.#check()
  }

  /** Gives up what was not begun; a promise where descriptors are in use until it resolves. */
  abandon(): void | Promise<void> {
    this.#pieces = []
    this.#length = 0
    if (this.#underWay.size > 0) return Promise.all(this.#underWay).then(() => this.abandon())
    this.#failure = undefined
  }

  #start(fd: number, bytes: Uint8Array, offset: number): void {
    const { byteLength } = bytes
    this.#bytesUnderWay += byteLength
    const writing = this.#writeLarge(fd, bytes, offset).finally(() => {
      this.#bytesUnderWay -= byteLength
      this.#underWay.delete(writing)
    })
    this.#underWay.add(writing)
  }

  /** It never rejects: the next call tells the error. */
  async #writeLarge(fd: number, bytes: Uint8Array, offset: number): Promise<void> {
    try {
      await writeAtAsync(fd, bytes, offset)
      const { byteLength } = bytes
      if (byteLength >= WRITTEN_BACK) await startWriteback(fd, offset, byteLength)
    } catch (error) {
      this.#failure ??= { error }
    }
  }

  async #wait(most: number): Promise<void> {
    for (const writing of this.#underWay) {
      if (this.#bytesUnderWay <= most) break
      await writing
    }
    this.#check()
  }

  #check(): void {
    if (this.#failure) throw this.#failure.error
  }
}
