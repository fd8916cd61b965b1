import { ReftarError } from '../errors.js'
import type { From } from '../record.js'
import { SMALL_WRITE, truncate, writeAt, writeAtAsync } from '../sys/file.js'
import { statFd } from '../sys/status.js'
import type { DataCloner, LentRange } from './data-cloner.js'

/** A part of what is written that can be had from elsewhere, too. */
interface LentPart {
  /** In bytes, from where the writing begins. */
  readonly at: number
  /** In bytes. */
  readonly length: number
  readonly from: From
}

/** By how many bytes a file is extended at once. */
const STEP = 64 * 1024 * 1024

/** Writes to a file of its own, and clones where it need not write. */
export class CloningWriter {
  readonly #fd: number
  readonly #device: number
  readonly #cloner: DataCloner | undefined
  /** In bytes, where it was extended for clones. */
  #size = 0
  /** In bytes. */
  clonedBytes = 0

  /** @param fd - of an empty file @param cloner - undefined to write everything */
  constructor(fd: number, cloner: DataCloner | undefined) {
    this.#fd = fd
    this.#device = statFd(fd).dev
    this.#cloner = cloner
    this.#extend(1)
  }

  /**
   * Writes pieces one behind the other. All clones are made when this returns.
   *
   * @param parts - in order
   * @throws SYSTEM_CALL
   */
  async write(pieces: readonly Uint8Array[], offset: number, parts: readonly LentPart[] = []): Promise<void> {
    const length = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0)
    this.#extend(offset + length)
    const gaps: [start: number, end: number][] = []
    let at = 0
    for (const part of this.#cloned(parts, offset)) {
      if (part.at > at) gaps.push([at, part.at])
      at = part.at + part.length
    }
    if (at < length) gaps.push([at, length])
    for (const [start, end] of gaps) await this.#writePart(pieces, offset, start, end)
  }

  /** Gives the file its size, to be known before what lies in its last block is written. @throws SYSTEM_CALL */
  setSize(size: number): void {
    if (this.#size > size) truncate(this.#fd, size)
    this.#size = size
  }

  /**
   * Where a clone begins beyond the end of a file, or an end is moved that was not yet written back, the filesystem waits
   * until it is: so the end goes far ahead.
   */
  #extend(size: number): void {
    if (size <= this.#size || !this.#cloner) return
    try {
      truncate(this.#fd, size + STEP)
      this.#size = size + STEP
    } catch (error) {
      // It is only for speed: where the file may not be that large, a write says so.
      if (!(error instanceof ReftarError)) throw error
    }
  }

  /** Clones what can be cloned of what is to be written at `offset`. */
  #cloned(parts: readonly LentPart[], offset: number): LentPart[] {
    const cloner = this.#cloner
    if (!cloner) return []
    const cloned = parts.filter(part => cloner.clone(this.#rangeOf(part, offset)))
    for (const { length } of cloned) this.clonedBytes += length
    return cloned
  }

  #rangeOf({ at, length, from }: LentPart, offset: number): LentRange {
    return { from, length, target: this.#fd, targetDevice: this.#device, targetOffset: offset + at }
  }

  /** Bytes `start` to `end` of pieces that begin at `offset` of the file. */
  async #writePart(pieces: readonly Uint8Array[], offset: number, start: number, end: number): Promise<void> {
    let at = 0
    for (const piece of pieces) {
      const [from, to] = [Math.max(start, at), Math.min(end, at + piece.byteLength)]
      if (from < to) await this.#writeAt(piece.subarray(from - at, to - at), offset + from)
      at += piece.byteLength
    }
  }

  #writeAt(bytes: Uint8Array, offset: number): void | Promise<void> {
    if (bytes.byteLength > SMALL_WRITE) return writeAtAsync(this.#fd, bytes, offset)
    writeAt(this.#fd, bytes, offset)
  }
}
