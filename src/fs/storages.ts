import { BTRFS, btrfsId, filesystemOf, mayHaveRealtime, XFS } from '../sys/filesystem.js'
import type { Status } from '../sys/status.js'

/** How far the addresses of a filesystem can be believed. */
export interface Storage {
  readonly id: string
  readonly type: number
  /** The unit in which it numbers its blocks, in bytes. */
  readonly blockSize: number
  /** False where equal addresses are only a hint, as on an overlay of several filesystems. */
  readonly proves: boolean
  /** It may have files on another device, whose addresses are another space. */
  readonly hasRealtime: boolean
}

/** The storages of one run: after it, a device number may come to mean another. */
export class Storages {
  readonly #known = new Map<number, Storage>()

  /** Whether any that was come by is of a kind. */
  some(isKind: (storage: Storage) => boolean): boolean {
    return [...this.#known.values()].some(isKind)
  }

  /** Which storage the files of a device lie on, once one of them was asked for. */
  known(device: number): Storage | undefined {
    return this.#known.get(device)
  }

  /** Which storage an open file lies on. Subvolumes of one btrfs are one. @throws SYSTEM_CALL */
  of(fd: number, { dev }: Pick<Status, 'dev'>): Storage {
    let storage = this.#known.get(dev)
    if (!storage) {
      const { type, blockSize } = filesystemOf(fd)
      const btrfs = type === BTRFS ? btrfsId(fd) : undefined
      const hasRealtime = type === XFS && mayHaveRealtime(fd)
      const proves = type === BTRFS || type === XFS
      storage = { id: btrfs ?? `dev ${dev}`, type, blockSize, proves, hasRealtime }
      this.#known.set(dev, storage)
    }
    return storage
  }
}
