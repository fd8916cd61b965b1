import { ReftarError } from '../errors.js'
import type { Origin } from '../record.js'
import { cloneRange } from '../sys/clone-range.js'
import { EINVAL } from '../sys/errno.js'
import { readAt, readAtAsync, truncate, writeAt, writeAtAsync } from '../sys/file.js'
import { BTRFS, filesystemOf } from '../sys/filesystem.js'
import { errnoName, systemError } from '../sys/koffi.js'
import { statFd } from '../sys/status.js'
import { CANNOT, NEVER_CAN } from './clone-errors.js'

/** `auto` clones what was shared and what was found equal; `exact` only what was shared. */
export type Reflink = 'auto' | 'exact' | 'always' | 'never'

export interface CloneSummary {
  /** Bytes of references that were cloned. */
  clonedBytes: number
  /** Bytes of references that were copied. */
  copiedBytes: number
  /** Why bytes were copied: an error name or a reason in words, and how many bytes. */
  copyReasons: Record<string, number>
}

/** A range to be made equal to a range of another file, or of the same; in bytes. */
export interface CloneRequest {
  readonly source: number
  readonly sourceDevice: number
  readonly sourceOffset: number
  readonly target: number
  readonly targetDevice: number
  readonly targetOffset: number
  readonly length: number
  readonly origin: Origin
  /** The target ends with the range. */
  readonly isEnd: boolean
}

const COPY = 1024 * 1024
const SMALL_COPY = 128 * 1024

/** What is known of clones from one device to another: a target may have other filesystems mounted in it. */
interface Pair {
  /** What offsets must be multiples of: the block size of the filesystem, in bytes. */
  readonly unit: number
  /** A block of which only a part is in a file can share all of its storage: not so on XFS, which copies it. */
  readonly sharesTails: boolean
  /** The error that says that no clone can be. */
  impossible: number | undefined
}

/** Clones a range; else its aligned middle, and copies the edges; else copies it. */
export class CloneLadder {
  readonly #reflink: Reflink
  readonly #summary: CloneSummary
  readonly #pairs = new Map<string, Pair>()

  constructor(reflink: Reflink, summary: CloneSummary) {
    this.#reflink = reflink
    this.#summary = summary
  }

  /** Whether there is any hope of a clone from one device to another. */
  isPossible(sourceDevice: number, targetDevice: number): boolean {
    if (this.#reflink === 'never') return false
    return this.#pairs.get(`${sourceDevice} ${targetDevice}`)?.impossible === undefined
  }

  /** @throws CLONE_REFUSED when clones are asked for always, SYSTEM_CALL */
  async run(request: CloneRequest): Promise<void> {
    const { source, sourceOffset, target, targetOffset, length } = request
    const pair = this.#pairOf(request)
    const refusal = this.#refusal(request, pair)
    if (refusal) return this.#copy(request, 0, length, refusal)
    const { unit } = pair
    const start = (unit - (sourceOffset % unit)) % unit
    const overhang = (sourceOffset + length) % unit
    const clone = (end: number) =>
      cloneRange(source, sourceOffset + start, end - start, target, targetOffset + start)

    // A last block that is not full can be shared only where both files end: the kernel is the judge of that.
    let end = this.#cloneEnd(request, pair, overhang)
    if (end <= start) return this.#copy(request, 0, length, 'smaller than a block')
    let error = clone(end)
    if (error === 0 && end > length) {
      truncate(target, targetOffset + length)
      end = length
    }
    if (error === EINVAL && end >= length && overhang > 0 && length - overhang > start) {
      end = length - overhang
      error = clone(end)
    }
    if (error !== 0) {
      if (!CANNOT.has(error)) throw systemError('ioctl(FICLONERANGE)', error)
      if (NEVER_CAN.has(error)) pair.impossible = error
      return this.#copy(request, 0, length, errnoName(error))
    }
    this.#summary.clonedBytes += end - start
    await this.#copy(request, 0, start, 'not aligned')
    await this.#copy(request, end, length, 'not aligned')
  }

  /** Where the clone of a range ends: before its last bytes, with it, or with the last block of the source. */
  #cloneEnd({ source, sourceOffset, length, isEnd }: CloneRequest, pair: Pair, overhang: number): number {
    if (overhang === 0) return length
    const { size } = statFd(source)
    if (size === sourceOffset + length) return length
    if (!isEnd || !pair.sharesTails) return length - overhang
    return Math.min(length - overhang + pair.unit, size - sourceOffset)
  }

  #pairOf({ sourceDevice, target, targetDevice }: CloneRequest): Pair {
    const key = `${sourceDevice} ${targetDevice}`
    let pair = this.#pairs.get(key)
    if (!pair) {
      const { blockSize, type } = filesystemOf(target)
      pair = { unit: blockSize, sharesTails: type === BTRFS, impossible: undefined }
      this.#pairs.set(key, pair)
    }
    return pair
  }

  /** Why a range is to be copied without trying to clone it. */
  #refusal({ sourceOffset, targetOffset, origin }: CloneRequest, pair: Pair): string | undefined {
    if (this.#reflink === 'never') return 'not asked for'
    if (pair.impossible !== undefined) return errnoName(pair.impossible)
    if (origin === 'dedup' && this.#reflink === 'exact') return 'not shared at the source'
    return (sourceOffset - targetOffset) % pair.unit === 0 ? undefined : 'not aligned'
  }

  async #copy(request: CloneRequest, start: number, end: number, reason: string): Promise<void> {
    if (start === end) return
    if (this.#reflink === 'always') {
      throw new ReftarError('CLONE_REFUSED', `${end - start} bytes cannot be cloned: ${reason}`)
    }
    const { source, sourceOffset, target, targetOffset } = request
    for (let at = start; at < end; ) {
      const count = Math.min(COPY, end - at)
      const isSmall = count <= SMALL_COPY
      const reading = isSmall
        ? readAt(source, sourceOffset + at, count)
        : readAtAsync(source, sourceOffset + at, count)
      const bytes = await reading
      if (bytes.byteLength !== count) {
        throw new ReftarError(
          'TARGET_CHANGED',
          `read ${bytes.byteLength} bytes of a restored file, expected ${count}`,
        )
      }
      if (isSmall) writeAt(target, bytes, targetOffset + at)
      else await writeAtAsync(target, bytes, targetOffset + at)
      at += count
    }
    const { copyReasons } = this.#summary
    this.#summary.copiedBytes += end - start
    copyReasons[reason] = (copyReasons[reason] ?? 0) + end - start
  }
}
