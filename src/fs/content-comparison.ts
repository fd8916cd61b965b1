import type { Data, Reference } from '../record.js'
import { openat } from '../sys/directory.js'
import {
  close,
  closingOnError,
  OPEN_FILE,
  readAt,
  readAtAsync,
  SMALL_READ,
  seekData,
  seekHole,
} from '../sys/file.js'
import { inodeOf, isSameFile, statFd } from '../sys/status.js'
import { type ComparedFile, ComparedFiles } from './compared-files.js'
import type { Directory, DirectoryTree } from './directory-tree.js'
import { emptyRangesOf } from './file-map.js'
import { keptSharing } from './kept-sharing.js'
import { type Storage, Storages } from './storages.js'

/** The file in hand. */
export interface OpenFile extends ComparedFile {
  readonly fd: number
  /** Among the files that have data, once any of it came. */
  number: number | undefined
  isEqual: boolean
  readonly storage: Storage
  /** Where its next extent begins, in bytes. */
  offset: number
  /** Before this there is no hole from where it was last looked for, in bytes: to find one, the kernel goes through all extents. */
  fullUntil: number
}

export interface SharingTally {
  /** Bytes of the archive that shared storage at the source. */
  sharedBytes: number
  /** Those of them that share it in the tree. */
  keptBytes: number
  /** Bytes of the tree that were read. */
  comparedBytes: number
}

/** In words, what is not as the archive has it. */
export interface Difference {
  readonly message: string
  /** The bytes differ; otherwise only holes or sharing do. */
  readonly isContent: boolean
}

const COMPARE = 1024 * 1024

/** Compares the extents of files with those of a tree. What differs comes back in words, what is equal as undefined. */
export class ContentComparison {
  readonly #tree: DirectoryTree
  readonly #tally: SharingTally
  readonly #storages = new Storages()
  readonly #files = new ComparedFiles()

  constructor(tree: DirectoryTree, tally: SharingTally) {
    this.#tree = tree
    this.#tally = tally
  }

  /** The file must stay open while it is compared. @throws SYSTEM_CALL */
  open(fd: number, directory: Directory, name: Uint8Array): OpenFile {
    const status = statFd(fd)
    const file: ComparedFile = { directory, name, inode: inodeOf(status), isEqual: true }
    return { ...file, fd, number: undefined, storage: this.#storages.of(fd, status), offset: 0, fullUntil: 0 }
  }

  /** Some bytes of a file differ: nothing that refers to it can be compared. */
  differs(open: OpenFile): void {
    open.isEqual = false
    if (open.number !== undefined) this.#files.differs(open.number)
  }

  close(): void {
    this.#files.close()
  }

  /** Of no file where the tree has none. @throws SYSTEM_CALL */
  async data({ bytes }: Data, open: OpenFile | undefined): Promise<Difference | undefined> {
    if (open) open.number ??= this.#files.add(open)
    this.#files.append(open?.number, open?.offset ?? 0, bytes.byteLength)
    if (!open) return undefined
    const { fd, offset } = open
    const found = await this.#read(fd, offset, bytes.byteLength)
    const at = firstDifference(bytes, found)
    return at === undefined ? holeIn(open, bytes.byteLength) : content(`differs at byte ${offset + at}`)
  }

  /** @throws SYSTEM_CALL */
  hole(length: number, { fd, offset, storage }: OpenFile): Difference | undefined {
    const { blockSize } = storage
    const start = Math.ceil(offset / blockSize) * blockSize
    const end = offset + length
    const last = Math.floor(end / blockSize) * blockSize
    const data = start < last ? firstData(fd, storage, start, last) : undefined
    if (data !== undefined) {
      return shape(`has data at byte ${data}, expected a hole of ${length} bytes at ${offset}`)
    }
    return this.#isZero(fd, offset, length)
      ? undefined
      : content(`differs in a hole of ${length} bytes at ${offset}`)
  }

  /** @throws SYSTEM_CALL, DANGLING_REFERENCE */
  async reference(reference: Reference, open: OpenFile): Promise<Difference | undefined> {
    let done = 0
    for (const { place, skip, length } of this.#files.resolve(reference.address, reference.length)) {
      const range = { ...open, offset: open.offset + done }
      const difference = await this.#same(range, place.file, place.offset + skip, length, reference.origin)
      if (difference) return difference
      done += length
    }
    return holeIn(open, reference.length)
  }

  async #same(
    here: OpenFile,
    number: number,
    offset: number,
    length: number,
    origin: Reference['origin'],
  ): Promise<Difference | undefined> {
    const file = this.#files.get(number)
    if (!file?.isEqual) {
      const other = file ? 'a file that differs' : 'a file that is not there'
      return content(`cannot be compared at byte ${here.offset}: its content is that of ${other}`)
    }
    const isOwn = number === here.number
    const fd = isOwn ? here.fd : this.#reopen(file)
    if (fd === undefined)
      return content(`cannot be compared at byte ${here.offset}: an earlier file was replaced`)
    try {
      const { inode } = file
      const storage = this.#storages.of(fd, inode)
      const kept = keptSharing(here, { fd, inode, storage, offset }, length)
      if (origin === 'shared') {
        this.#tally.sharedBytes += length
        this.#tally.keptBytes += kept
      }
      if (!(kept === length && storage.proves)) {
        for (let at = 0; at < length; at += COMPARE) {
          const count = Math.min(COMPARE, length - at)
          const [a, b] = [
            await this.#read(here.fd, here.offset + at, count),
            await this.#read(fd, offset + at, count),
          ]
          const difference = firstDifference(b, a)
          if (difference !== undefined) return content(`differs at byte ${here.offset + at + difference}`)
        }
      }
      if (origin === 'dedup' || kept >= shareable(here, storage, offset, length)) return undefined
      return shape(`shares ${kept} of ${length} bytes at ${here.offset}, expected all`)
    } finally {
      if (!isOwn) close(fd)
    }
  }

  /** Undefined when it is not the file that was compared. */
  #reopen({ directory, name, inode }: ComparedFile): number | undefined {
    const fd = openat(this.#tree.fd(directory), name, OPEN_FILE)
    if (isSameFile(closingOnError(fd, statFd), inode)) return fd
    close(fd)
    return undefined
  }

  async #read(fd: number, offset: number, length: number): Promise<Uint8Array> {
    this.#tally.comparedBytes += length
    return length <= SMALL_READ ? readAt(fd, offset, length) : readAtAsync(fd, offset, length)
  }

  /** Reads only what is not a hole. */
  #isZero(fd: number, offset: number, length: number): boolean {
    const end = offset + length
    for (let at = offset; at < end; ) {
      const start = seekData(fd, at)
      if (start === undefined || start >= end) return true
      const count = Math.min(COMPARE, end - start)
      this.#tally.comparedBytes += count
      if (readAt(fd, start, count).some(byte => byte !== 0)) return false
      at = start + count
    }
    return true
  }
}

/** The first byte of a range that has data, on disk too where that can be told. */
function firstData(fd: number, storage: Storage, start: number, end: number): number | undefined {
  const data = seekData(fd, start)
  if (data === undefined || data >= end) return undefined
  let at = data
  for (const { offset, length } of emptyRangesOf(fd, storage, data, end)) {
    if (offset > at) return at
    at = offset + length
  }
  return at < end ? at : undefined
}

function content(message: string): Difference {
  return { message, isContent: true }
}

function shape(message: string): Difference {
  return { message, isContent: false }
}

/** A hole where data is expected, which only whole blocks can be. */
function holeIn(open: OpenFile, length: number): Difference | undefined {
  const { fd, offset, storage, fullUntil } = open
  const { blockSize } = storage
  const start = Math.ceil(offset / blockSize) * blockSize
  const end = Math.floor((offset + length) / blockSize) * blockSize
  if (start >= end || end <= fullUntil) return undefined
  const hole = seekHole(fd, start) ?? Number.POSITIVE_INFINITY
  open.fullUntil = hole
  return hole < end ? shape(`has a hole at byte ${hole}, expected data`) : undefined
}

/** How many bytes of two ranges the filesystem can keep together: whole blocks that lie alike in their files. */
function shareable(here: OpenFile, storage: Storage, offset: number, length: number): number {
  const { blockSize } = storage
  if (here.storage !== storage || !storage.proves || (here.offset - offset) % blockSize !== 0) return 0
  const start = Math.ceil(here.offset / blockSize) * blockSize
  const end = Math.floor((here.offset + length) / blockSize) * blockSize
  return Math.max(0, end - start)
}

function firstDifference(expected: Uint8Array, found: Uint8Array): number | undefined {
  if (Buffer.compare(expected, found) === 0) return undefined
  const at = expected.findIndex((byte, i) => byte !== found[i])
  return at === -1 ? expected.byteLength : at
}
