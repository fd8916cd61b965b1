import { constants } from 'node:fs'
import { ReftarError } from '../errors.js'
import { DataSpace } from '../format/data-space.js'
import { latin1 } from '../format/latin1.js'
import type { EntryPath } from '../format/path.js'
import type { Data, End, Entry, Hole, Missing, Reference } from '../record.js'
import { openat } from '../sys/directory.js'
import { EOPNOTSUPP } from '../sys/errno.js'
import {
  close,
  closingOnError,
  preallocate,
  punchHole,
  startWriteback,
  truncate,
  writeAt,
  writeAtAsync,
} from '../sys/file.js'
import { filesystemOf, XFS } from '../sys/filesystem.js'
import { errnoName } from '../sys/koffi.js'
import { type Status, statFd } from '../sys/status.js'
import { CloneLadder } from './clone-ladder.js'
import { CloneQueue, type OpenTarget, type RestoredFile } from './clone-queue.js'
import { DataCloner } from './data-cloner.js'
import type { Directory, DirectoryTree } from './directory-tree.js'
import type { MetadataWriter } from './metadata-writer.js'
import type { WriteRequest } from './write-request.js'

/** Where data went: a range of a restored file. */
interface FileRange {
  readonly file: RestoredFile
  readonly offset: number
}

interface OpenFile extends OpenTarget {
  readonly entry: Entry
  /** When it was new. */
  readonly status: Status
  /** The bytes of all its extents so far. */
  size: number
  /** Whether there is data or a clone in it. */
  hasData: boolean
  /** It ends in a hole, so far. */
  endsInGap: boolean
}

/** A file that has all its data and metadata. */
export interface FinishedFile {
  readonly entry: Entry
  readonly path: EntryPath
  readonly file: RestoredFile
  readonly fd: number
  readonly status: Status
}

const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
const DEFAULT_FILE_MODE = 0o666
const PERMISSIONS = 0o777
const OWNER_CAN_READ = 0o400
const OWNER_CAN_WRITE = 0o200
/** Up to this many bytes, to write them takes no longer than to clone them. */
const SMALLEST_CLONE = 16 * 1024
/** Below this a synchronous write is faster than the way to another thread and back. */
const SMALL_WRITE = 128 * 1024

/** Extents to files: data and holes at once, references when the clone queue is flushed. */
export class FileWriter {
  readonly #tree: DirectoryTree
  readonly #request: WriteRequest
  readonly #metadata: MetadataWriter
  readonly #onFinish: (finished: FinishedFile) => void
  readonly #queue: CloneQueue
  readonly #cloner: DataCloner | undefined
  readonly #space = new DataSpace<FileRange>(
    1,
    (place, length, next) => place.file === next.file && place.offset + length === next.offset,
  )
  #file: OpenFile | undefined

  /** @param onFinish - sets the metadata of a file that has all its data */
  constructor(
    tree: DirectoryTree,
    request: WriteRequest,
    metadata: MetadataWriter,
    onFinish: (finished: FinishedFile) => void,
  ) {
    this.#tree = tree
    this.#request = request
    this.#metadata = metadata
    this.#onFinish = onFinish
    const ladder = new CloneLadder(request.reflink, request.summary)
    this.#cloner = request.zeroCopy ? new DataCloner(SMALLEST_CLONE) : undefined
    this.#queue = new CloneQueue(tree, ladder, target => this.#finish(target as OpenFile))
  }

  /** A file has begun and has not ended. */
  get isOpen(): boolean {
    return this.#file !== undefined
  }

  /** @throws SYSTEM_CALL */
  create(entry: Entry, directory: Directory, path: EntryPath): RestoredFile {
    const { name, metadata } = entry
    // Without root, attributes can be set only of what may be written.
    const needed = process.geteuid?.() === 0 ? OWNER_CAN_READ : OWNER_CAN_READ | OWNER_CAN_WRITE
    const mode = this.#metadata.modeOf((metadata.mode ?? DEFAULT_FILE_MODE) & PERMISSIONS) | needed
    const fd = openat(this.#tree.fd(directory), name, CREATE, mode)
    const status = closingOnError(fd, statFd)
    const { dev, ino } = status
    const file = { directory, name: latin1(name), dev, ino, written: 0 }
    this.#file = {
      fd,
      file,
      entry,
      status,
      path,
      waiting: 0,
      ended: undefined,
      size: 0,
      hasData: false,
      endsInGap: false,
    }
    this.#metadata.begin(fd, metadata)
    return file
  }

  /** @throws BAD_STRUCTURE, CLONE_REFUSED, DANGLING_REFERENCE, TARGET_CHANGED, SYSTEM_CALL */
  write(record: Data | Hole | Missing | Reference | End): void | Promise<void> {
    const open = this.#file
    if (!open) throw new ReftarError('BAD_STRUCTURE', `${record.kind} outside of a file`)
    switch (record.kind) {
      case 'data':
        return this.#data(open, record)
      case 'reference':
        return this.#reference(open, record)
      case 'end':
        return this.#end(open, record)
      default:
        return this.#gap(open, record)
    }
  }

  /** Makes all clones that wait, and finishes their files. @throws CLONE_REFUSED, TARGET_CHANGED, SYSTEM_CALL */
  flush(): Promise<void> {
    return this.#queue.flush()
  }

  /** After an error: gives up the files that do not become whole, and returns them to be removed. */
  async discard(): Promise<RestoredFile[]> {
    const open = this.#file
    this.#file = undefined
    try {
      await this.#queue.flush()
    } catch {
      // Whatever it was, the files that it kept from becoming whole still wait.
    }
    const given = new Set([...this.#queue.close(), ...(open ? [open] : [])])
    for (const { fd } of given) close(fd)
    return Array.from(given, ({ file }) => file)
  }

  close(): void {
    const waiting = new Set([...this.#queue.close(), ...(this.#file ? [this.#file] : [])])
    for (const { fd } of waiting) close(fd)
    this.#file = undefined
  }

  #data(open: OpenFile, { bytes, from, mayBeShared }: Data): void | Promise<void> {
    const { summary } = this.#request
    const { fd, file, size } = open
    const length = bytes.byteLength
    this.#space.append(0, length, { file, offset: size })
    open.size += length
    open.hasData = true
    open.endsInGap = false
    if (
      from &&
      this.#cloner?.clone({ from, length, target: fd, targetDevice: file.dev, targetOffset: size })
    ) {
      summary.zeroCopyBytes += length
      return
    }
    this.#queue.wrote(file)
    summary.writtenBytes += length
    if (length <= SMALL_WRITE) return writeAt(fd, bytes, size)
    return writeAtAsync(fd, bytes, size).then(() => {
      if (mayBeShared) startWriteback(fd, size, length)
    })
  }

  async #reference(open: OpenFile, { address, length, origin }: Reference): Promise<void> {
    for (const piece of this.#space.resolve(address, length)) {
      const { file, offset } = piece.place
      const targetOffset = open.size
      open.size += piece.length
      open.hasData = true
      open.endsInGap = false
      await this.#queue.add({
        source: file,
        sourceOffset: offset + piece.skip,
        target: open,
        targetOffset,
        length: piece.length,
        origin,
      })
    }
  }

  #gap(open: OpenFile, gap: Hole | Missing): void {
    const { summary, onProblem } = this.#request
    const { fd, size } = open
    open.size += gap.length
    open.endsInGap = true
    // Before the size is set: btrfs writes the block in which a file ends when more is reserved behind it.
    if (gap.kind === 'hole' && gap.preallocated) this.#reserve(fd, size, gap.length)
    truncate(fd, open.size)
    if (gap.kind !== 'hole' || !gap.preallocated) giveBack(open, size)
    if (gap.kind === 'hole') {
      summary.holeBytes += gap.length
    } else {
      summary.missingBytes += gap.length
      const where = `${gap.length} bytes at ${size}`
      onProblem(
        'SYSTEM_CALL',
        open.path.bytes,
        `${where} are missing, the source gave ${errnoName(gap.errno)}`,
      )
    }
  }

  #reserveBeyond({ fd, size, endsInGap }: OpenFile, length: number): void {
    const { blockSize } = filesystemOf(fd)
    const start = Math.floor(size / blockSize) * blockSize
    if (!endsInGap || start === size) {
      this.#reserve(fd, size, length)
      return
    }
    truncate(fd, start)
    this.#reserve(fd, start, size - start + length)
    truncate(fd, size)
  }

  /** Reserved storage changes no content: where it cannot be had, that is worth a note. */
  #reserve(fd: number, offset: number, length: number): void {
    try {
      preallocate(fd, offset, length)
    } catch (error) {
      if (!(error instanceof ReftarError && error.errno === EOPNOTSUPP)) throw error
      this.#metadata.note(`no storage is reserved: ${error.message}`)
    }
  }

  #end(open: OpenFile, { state }: End): void {
    const { summary, onEntry, onProblem } = this.#request
    this.#file = undefined
    if (state === 'changed') onProblem('SOURCE_CHANGED', open.path.bytes, 'changed while it was archived')
    summary.files++
    summary.logicalBytes += open.size
    this.#queue.end(open, open.size)
    onEntry(open.path.bytes, open.size)
  }

  #finish(open: OpenFile): void {
    const { fd, entry } = open
    try {
      const { reserved } = entry.metadata
      if (reserved !== undefined) this.#reserveBeyond(open, reserved)
      this.#onFinish(open)
    } finally {
      close(fd)
    }
  }
}

/**
 * XFS reserves storage behind what is written, and would keep it where more is written beyond: fs/xfs/xfs_iomap.c, speculative
 * preallocation.
 */
function giveBack({ fd, size, hasData }: OpenFile, start: number): void {
  if (!hasData) return
  const { type, blockSize } = filesystemOf(fd)
  if (type === XFS) punchHole(fd, start, Math.ceil(size / blockSize) * blockSize - start)
}
