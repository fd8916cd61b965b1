import { caught, ReftarError } from '../errors.js'
import { FS_NOCOW_FL } from '../format/inode-flags.js'
import type { Origin } from '../record.js'
import { cloneRange } from '../sys/clone-range.js'
import { EINVAL } from '../sys/errno.js'
import { readAt, readAtAsync, truncate, writeAt, writeAtAsync } from '../sys/file.js'
import { BTRFS, filesystemOf } from '../sys/filesystem.js'
import { getInodeFlags } from '../sys/inode-attributes.js'
import { errnoName, systemError } from '../sys/koffi.js'
import { CANNOT, NEVER_CAN } from './clone-errors.js'

/** `auto` clones what was shared and what was found equal; `exact` only what was shared. */
export type Reflink = 'auto' | 'exact' | 'always' | 'never'

export interface CloneSummary {
  /** Calls that cloned a range of a reference. */
  clones: number
  /** Calls that the kernel refused, as something that it cannot do. */
  refusedClones: number
  /** Bytes of references that were cloned. */
  clonedBytes: number
  /** Bytes of references that were copied. */
  copiedBytes: number
  /** Why bytes were copied: an error name or a reason in words, and how many bytes. */
  copyReasons: Record<string, number>
  /** Bytes of references to what shared storage at the source. */
  sharedBytes: number
  /** Those of them that were cloned, and so share storage again. */
  keptBytes: number
  /** Why the others were copied, as in `copyReasons`. */
  lossReasons: Record<string, number>
}

export function emptyCloneSummary(): CloneSummary {
  return {
    clones: 0,
    refusedClones: 0,
    clonedBytes: 0,
    copiedBytes: 0,
    copyReasons: {},
    sharedBytes: 0,
    keptBytes: 0,
    lossReasons: {},
  }
}

/** A range to be made equal to a range of another file, or of the same; in bytes. */
export interface CloneRequest {
  readonly source: number
  readonly sourceDevice: number
  readonly sourceOffset: number
  /** Of the whole source. */
  readonly sourceSize: number
  readonly target: number
  readonly targetDevice: number
  readonly targetOffset: number
  readonly length: number
  readonly origin: Origin
  /** The target ends with the range. */
  readonly isEnd: boolean
}

/** Below this, in bytes, a copy costs less than a clone, and what is copied need not be on the disk before. */
const SMALL_CLONE = 16 * 1024
/** Why a clone was refused, where the error name alone does not tell. */
const NOCOW = 'EINVAL (NOCOW)'
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
  /** By the device of the source, and by that of the target. */
  readonly #pairs = new Map<number, Map<number, Pair>>()

  constructor(reflink: Reflink, summary: CloneSummary) {
    this.#reflink = reflink
    this.#summary = summary
  }

  /** Whether a clone from one device to another will be tried, and there is any hope of it. */
  isPossible(sourceDevice: number, targetDevice: number, origin: Origin, length: number): boolean {
    if (this.#reflink === 'never' || this.#isNotWorth(origin, length)) return false
    return this.#pairs.get(sourceDevice)?.get(targetDevice)?.impossible === undefined
  }

  /** @throws CLONE_REFUSED when clones are asked for always, SYSTEM_CALL */
  run(request: CloneRequest): void | Promise<void> {
    const { source, sourceOffset, target, targetOffset, length, origin } = request
    const summary = this.#summary
    if (origin === 'shared') summary.sharedBytes += length
    const pair = this.#pairOf(request)
    const refusal = this.#refusal(request, pair)
    if (refusal) return this.#copy(request, 0, length, refusal)
    const { unit } = pair
    const start = (unit - (sourceOffset % unit)) % unit
    const overhang = (sourceOffset + length) % unit
    const clone = (end: number) => {
      const error = cloneRange(source, sourceOffset + start, end - start, target, targetOffset + start)
      if (error === 0) summary.clones++
      else summary.refusedClones++
      return error
    }

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
      return this.#copy(request, 0, length, reasonOf(error, request))
    }
    summary.clonedBytes += end - start
    if (origin === 'shared') summary.keptBytes += end - start
    // Each of the two is less than a block.
    this.#copySmall(request, 0, start, 'not aligned')
    this.#copySmall(request, end, length, 'not aligned')
  }

  /** Where the clone of a range ends: before its last bytes, with it, or with the last block of the source. */
  #cloneEnd({ sourceOffset, sourceSize, length, isEnd }: CloneRequest, pair: Pair, overhang: number): number {
    if (overhang === 0 || sourceSize === sourceOffset + length) return length
    if (!isEnd || !pair.sharesTails) return length - overhang
    return Math.min(length - overhang + pair.unit, sourceSize - sourceOffset)
  }

  #pairOf({ sourceDevice, target, targetDevice }: CloneRequest): Pair {
    const ofSource = this.#pairs.get(sourceDevice) ?? new Map<number, Pair>()
    let pair = ofSource.get(targetDevice)
    if (!pair) {
      const { blockSize, type } = filesystemOf(target)
      pair = { unit: blockSize, sharesTails: type === BTRFS, impossible: undefined }
      this.#pairs.set(sourceDevice, ofSource.set(targetDevice, pair))
    }
    return pair
  }

  /** Why a range is to be copied without trying to clone it. */
  #refusal({ sourceOffset, targetOffset, origin, length }: CloneRequest, pair: Pair): string | undefined {
    if (this.#reflink === 'never') return 'not asked for'
    if (pair.impossible !== undefined) return errnoName(pair.impossible)
    if (origin === 'dedup' && this.#reflink === 'exact') return 'not shared at the source'
    if (this.#isNotWorth(origin, length)) return 'cheaper to copy'
    return (sourceOffset - targetOffset) % pair.unit === 0 ? undefined : 'not aligned'
  }

  /** What shared storage at the source is shared whatever it costs; the rest only where that gains something. */
  #isNotWorth(origin: Origin, length: number): boolean {
    return this.#reflink === 'auto' && origin === 'dedup' && length < SMALL_CLONE
  }

  #copy(request: CloneRequest, start: number, end: number, reason: string): void | Promise<void> {
    if (end - start > SMALL_COPY) return this.#copyLarge(request, start, end, reason)
    this.#copySmall(request, start, end, reason)
  }

  #copySmall(request: CloneRequest, start: number, end: number, reason: string): void {
    if (start === end) return
    this.#count(request, end - start, reason)
    const { source, sourceOffset, target, targetOffset } = request
    const bytes = readAt(source, sourceOffset + start, end - start)
    checkLength(bytes, end - start)
    writeAt(target, bytes, targetOffset + start)
  }

  async #copyLarge(request: CloneRequest, start: number, end: number, reason: string): Promise<void> {
    this.#count(request, end - start, reason)
    const { source, sourceOffset, target, targetOffset } = request
    for (let at = start; at < end; ) {
      const count = Math.min(COPY, end - at)
      const bytes = await readAtAsync(source, sourceOffset + at, count)
      checkLength(bytes, count)
      await writeAtAsync(target, bytes, targetOffset + at)
      at += count
    }
  }

  /** Bytes that are copied. @throws CLONE_REFUSED when they must not be */
  #count({ origin }: CloneRequest, bytes: number, reason: string): void {
    if (this.#reflink === 'always') {
      throw new ReftarError('CLONE_REFUSED', `${bytes} bytes cannot be cloned: ${reason}`)
    }
    const { copyReasons, lossReasons } = this.#summary
    this.#summary.copiedBytes += bytes
    copyReasons[reason] = (copyReasons[reason] ?? 0) + bytes
    if (origin === 'shared') lossReasons[reason] = (lossReasons[reason] ?? 0) + bytes
  }
}

/** btrfs says no more than EINVAL where one of two files is written in place, and the other is not. */
function reasonOf(error: number, { source, target }: CloneRequest): string {
  return error === EINVAL && isNoCow(source) !== isNoCow(target) ? NOCOW : errnoName(error)
}

function isNoCow(fd: number): boolean {
  try {
    return ((getInodeFlags(fd) ?? 0) & FS_NOCOW_FL) !== 0
  } catch (error) {
    // It is only for a better word.
    caught(error)
    return false
  }
}

/** @throws TARGET_CHANGED */
function checkLength({ byteLength }: Uint8Array, expected: number): void {
  if (byteLength === expected) return
  const message = `read ${byteLength} bytes of a restored file, expected ${expected}`
  throw new ReftarError('TARGET_CHANGED', message)
}
