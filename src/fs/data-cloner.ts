import { ReftarError } from '../errors.js'
import type { From } from '../record.js'
import { cloneRange } from '../sys/clone-range.js'
import { filesystemOf } from '../sys/filesystem.js'
import { systemError } from '../sys/koffi.js'
import { CANNOT, NEVER_CAN } from './clone-errors.js'

/** A range of a file that is written, to be made equal to data that lies elsewhere; in bytes. */
export interface LentRange {
  readonly from: From
  readonly length: number
  readonly target: number
  readonly targetDevice: number
  readonly targetOffset: number
}

/** Makes data by clones of what it came from, where that is proven to be the same still. */
export class DataCloner {
  readonly #smallest: number
  /** What offsets must be multiples of, by the device of the target: the block size of its filesystem, in bytes. */
  readonly #units = new Map<number, number>()
  /** Pairs of devices between which no clone can be. */
  readonly #impossible = new Set<string>()

  /** @param smallest - fewer bytes are not worth a clone */
  constructor(smallest: number) {
    this.#smallest = smallest
  }

  /** Whether it is worth a try. @throws SYSTEM_CALL */
  isPossible({ from, length, target, targetDevice, targetOffset }: LentRange): boolean {
    const { source, offset } = from
    if (
      length < this.#smallest ||
      !source.withFd ||
      this.#impossible.has(pairOf(source.device, targetDevice))
    ) {
      return false
    }
    const unit = this.#unitOf(target, targetDevice)
    return targetOffset % unit === 0 && offset % unit === 0 && length % unit === 0
  }

  /**
   * Returns whether the range was cloned; else it has to be written, whatever is in it now.
   *
   * @throws SYSTEM_CALL
   */
  clone(range: LentRange): boolean {
    if (!this.isPossible(range)) return false
    const { from, length, target, targetDevice, targetOffset } = range
    const { source, offset } = from
    let error: number | undefined
    try {
      error = source.withFd?.(fd => cloneRange(fd, offset, length, target, targetOffset))
    } catch (unproven) {
      if (unproven instanceof ReftarError) return false
      throw unproven
    }
    if (error === undefined) return false
    if (error === 0) return true
    if (!CANNOT.has(error)) throw systemError('ioctl(FICLONERANGE)', error)
    if (NEVER_CAN.has(error)) this.#impossible.add(pairOf(source.device, targetDevice))
    return false
  }

  #unitOf(target: number, device: number): number {
    let unit = this.#units.get(device)
    if (unit === undefined) {
      unit = filesystemOf(target).blockSize
      this.#units.set(device, unit)
    }
    return unit
  }
}

function pairOf(source: number | undefined, target: number): string {
  return `${source} ${target}`
}
