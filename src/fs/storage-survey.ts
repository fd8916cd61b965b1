import { latin1, latin1Bytes } from '../format/latin1.js'
import { seekData, seekHole, syncFilesystem } from '../sys/file.js'
import { type Directory, pathOf } from './directory-tree.js'
import type { WalkedFile } from './file-walk.js'
import { isUntold, physicalPlace, sharedExtents } from './shared-extents.js'
import { type StorageRange, StorageRows } from './storage-rows.js'
import { type Storage, Storages } from './storages.js'

/** A file whose storage is known; sizes in bytes. */
export interface SurveyedFile {
  /** Below the roots of the walk, as raw bytes. */
  readonly path: Uint8Array
  readonly size: number
  /** What is not hole. */
  readonly data: number
}

/** Storage that the filesystem calls shared, and the places that lie on it; numbers of bytes. */
export interface SurveyedRange extends StorageRange {
  /** Which storage: addresses of different spaces say nothing about each other. */
  readonly space: string
  /** On the device; of a compressed extent, where that begins. */
  readonly physical: number
  /** Of the filesystem, in bytes. */
  readonly blockSize: number
  readonly isCompressed: boolean
}

interface Space {
  readonly blockSize: number
  readonly rows: StorageRows
}

/** Learns of one file after the other where it lies, as far as the filesystem calls it shared. */
export class StorageSurvey {
  /** By the numbers that places know them by. */
  readonly files: SurveyedFile[] = []
  readonly #storages = new Storages()
  /** The ids of filesystems that were written back. */
  readonly #settled = new Set<string>()
  readonly #spaces = new Map<string, Space>()
  /** Compressed extents were left out, because only root may tell them apart. */
  hasUntold = false
  /** Some addresses come from a filesystem that is not known to tell them right, as an overlay. */
  hasUnproven = false

  /** A promise only where the filesystem is written back first. @throws SYSTEM_CALL */
  take(walked: WalkedFile): void | Promise<void> {
    const storage = this.#storages.of(walked.fd, walked.status)
    if (this.#settled.has(storage.id) || !storage.proves) return this.#map(walked, storage)
    this.#settled.add(storage.id)
    return this.#settle(walked, storage)
  }

  /** Until a clone that was changed is written back, the other files still look as if they shared with it. */
  async #settle(walked: WalkedFile, storage: Storage): Promise<void> {
    // It only makes the addresses newer: what goes wrong in it concerns whoever wrote.
    await syncFilesystem(walked.fd).catch(() => undefined)
    this.#map(walked, storage)
  }

  #map({ fd, status, directory, name }: WalkedFile, storage: Storage): void {
    const { size } = status
    const file = this.files.push(new FileOfDirectory(directory, name, size, dataOf(fd, size))) - 1
    for (const { space, offset, position, length } of sharedExtents(fd, status, storage, 0, size)) {
      this.hasUnproven ||= !storage.proves
      let known = this.#spaces.get(space)
      if (!known) {
        known = { blockSize: storage.blockSize, rows: new StorageRows() }
        this.#spaces.set(space, known)
      }
      known.rows.add(file, offset, position, length)
    }
    this.hasUntold ||= isUntold(storage)
  }

  /** All storage that was found, in the order of its addresses. */
  *ranges(): Generator<SurveyedRange, void, undefined> {
    for (const [space, { blockSize, rows }] of this.#spaces) {
      for (const range of rows.ranges()) {
        yield { ...range, space, blockSize, ...physicalPlace(space, range.position) }
      }
    }
  }
}

class FileOfDirectory implements SurveyedFile {
  readonly #directory: Directory
  /** A string of bytes takes far less memory than an array of them. */
  readonly #name: string
  readonly size: number
  readonly data: number

  constructor(directory: Directory, name: Uint8Array, size: number, data: number) {
    this.#directory = directory
    this.#name = latin1(name)
    this.size = size
    this.data = data
  }

  get path(): Uint8Array {
    return pathOf(this.#directory, latin1Bytes(this.#name))
  }
}

function dataOf(fd: number, size: number): number {
  let data = 0
  for (let at = 0; at < size; ) {
    const start = seekData(fd, at)
    if (start === undefined || start >= size) break
    at = Math.min(size, seekHole(fd, start) ?? size)
    data += at - start
  }
  return data
}
