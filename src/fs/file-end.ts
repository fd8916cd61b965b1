import { truncate } from '../sys/file.js'
import { endAhead, giveBack, reserveBeyond } from './reserved-storage.js'

/** Where a file ends that is being written. Its size may be set ahead of that; then all that is written is within. */
export class FileEnd {
  readonly #fd: number
  #size = 0
  #isInGap = false
  /** Whether anything was written to it, or may be in place of a clone. */
  #isWritten = false
  #isAhead = false
  #hasReference = false

  constructor(fd: number) {
    this.#fd = fd
  }

  /** The bytes of all extents so far. */
  get size(): number {
    return this.#size
  }

  /** Data comes, or a clone. */
  grow(length: number): void {
    this.#size += length
    this.#isInGap = false
  }

  /** What came is written, not cloned. */
  wrote(): void {
    this.#isWritten = true
  }

  /** A reference comes: a clone can only end within a block where the file does. @throws SYSTEM_CALL */
  beforeReference(): void {
    this.settle()
    this.#hasReference = true
    this.#isWritten = true
  }

  /** A gap comes, after all that came before was written. @param isReserved - storage is to stay there @throws SYSTEM_CALL */
  gap(length: number, isReserved: boolean): void {
    const start = this.#size
    this.#size += length
    this.#isInGap = true
    if (this.#isWritten && !this.#isAhead && !isReserved) {
      giveBack(this.#fd, start)
      this.#isAhead = !this.#hasReference && endAhead(this.#fd, this.#size)
    }
    if (!this.#isAhead) truncate(this.#fd, this.#size)
  }

  /** Sets the size to what it is. @throws SYSTEM_CALL */
  settle(): void {
    if (this.#isAhead) truncate(this.#fd, this.#size)
    this.#isAhead = false
  }

  /** Reserves storage behind it, once all of the file is there. @throws SYSTEM_CALL */
  reserve(length: number): void {
    reserveBeyond({ fd: this.#fd, size: this.#size, endsInGap: this.#isInGap }, length)
  }
}
