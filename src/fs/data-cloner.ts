import { ReftarError } from '../errors.js'
import type { From } from '../record.js'
import { cloneRange } from '../sys/clone-range.js'
import { type Filesystem, filesystemOf } from '../sys/filesystem.js'
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

/** What can be cloned to a filesystem; in bytes. */
interface Rule {
  /** What offsets and lengths must be multiples of. */
  readonly unit: number
  readonly smallestFile: number
}

/** To write fewer bytes takes no longer than to clone them. */
const SMALLEST = 16 * 1024

/** Makes data by clones of what it came from, where that is proven to be the same still. */
export class DataCloner {
  readonly #smallestFile: (filesystem: Filesystem) => number
  /** By the device of the target. */
  readonly #rules = new Map<number, Rule>()
  /** Pairs of devices between which no clone can be. */
  readonly #impossible = new Set<string>()

  /** @param smallestFile - what ends before this many bytes of a file is not worth a clone */
  constructor(smallestFile: (filesystem: Filesystem) => number = () => 0) {
    this.#smallestFile = smallestFile
  }

  /**
   * Returns whether the range was cloned; else it has to be written, whatever is in it now.
   *
   * @throws SYSTEM_CALL
   */
  clone(range: LentRange): boolean {
    if (!this.#isPossible(range)) return false
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

  #isPossible({ from, length, target, targetDevice, targetOffset }: LentRange): boolean {
    const { source, offset } = from
    if (length < SMALLEST || !source.withFd) return false
    const { unit, smallestFile } = this.#ruleOf(target, targetDevice)
    if (targetOffset + length < smallestFile) return false
    if (length % unit !== 0 || offset % unit !== 0 || targetOffset % unit !== 0) return false
    return !this.#impossible.has(pairOf(source.device, targetDevice))
  }

  #ruleOf(target: number, device: number): Rule {
    let rule = this.#rules.get(device)
    if (!rule) {
      const filesystem = filesystemOf(target)
      rule = { unit: filesystem.blockSize, smallestFile: this.#smallestFile(filesystem) }
      this.#rules.set(device, rule)
    }
    return rule
  }
}

function pairOf(source: number | undefined, target: number): string {
  return `${source} ${target}`
}
