import { constants } from 'node:fs'
import { ReftarError } from '../errors.js'
import type { Piece } from '../format/data-space.js'
import { latin1 } from '../format/latin1.js'
import type { EntryPath } from '../format/path.js'
import type { FilePlace } from '../format/places.js'
import type { Data, End, Entry, Hole, Missing, Origin, Reference } from '../record.js'
import { openat } from '../sys/directory.js'
import { EOPNOTSUPP } from '../sys/errno.js'
import { close, preallocate } from '../sys/file.js'
import { BTRFS, type Filesystem } from '../sys/filesystem.js'
import { errnoName } from '../sys/koffi.js'
import type { Bestowal } from './bestowal.js'
import { CloneLadder } from './clone-ladder.js'
import { CloneQueue, type OpenTarget } from './clone-queue.js'
import { DataCloner } from './data-cloner.js'
import { DataWriter, WRITTEN_BACK } from './data-writer.js'
import type { Directory, DirectoryTree } from './directory-tree.js'
import { FileEnd } from './file-end.js'
import type { MetadataWriter } from './metadata-writer.js'
import { RestoredFile } from './restored-file.js'
import { RestoredFiles } from './restored-files.js'
import type { WriteRequest } from './write-request.js'
import { Writeback } from './writeback.js'

interface OpenFile extends OpenTarget {
  readonly entry: Entry
  readonly end: FileEnd
  /** Its own data may have been written back, after which btrfs can flag it as not worth compressing. */
  isWrittenBack: boolean
}

/** A file that has all its data and metadata. */
export interface FinishedFile {
  readonly entry: Entry
  readonly path: EntryPath
  readonly file: RestoredFile
  readonly fd: number
  /** What it has had from the beginning; undefined where that may have changed. */
  readonly bestowal: Bestowal | undefined
}

const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
const DEFAULT_FILE_MODE = 0o666
const PERMISSIONS = 0o777
const OWNER_CAN_READ = 0o400
const OWNER_CAN_WRITE = 0o200
/** On btrfs a clone of any part of an extent keeps all of it, which is up to 128 MiB: a file is to be worth that. */
const SMALLEST_ON_BTRFS = 1024 * 1024

/** Extents to files: data and holes at once, references when the clone queue is flushed. */
export class FileWriter {
  readonly #tree: DirectoryTree
  readonly #request: WriteRequest
  readonly #metadata: MetadataWriter
  readonly #onFinish: (finished: FinishedFile) => void
  readonly #queue: CloneQueue
  readonly #writer = new DataWriter()
  readonly #writeback: Writeback
  readonly #cloner: DataCloner | undefined
  /** Without root, attributes can be set only of what may be written. */
  readonly #needed = process.geteuid?.() === 0 ? OWNER_CAN_READ : OWNER_CAN_READ | OWNER_CAN_WRITE
  readonly #restored = new RestoredFiles()
  #file: OpenFile | undefined

  /**
   * @param root - of the tree, on the filesystem of everything or almost
   * @param onFinish - sets the metadata of a file that has all its data
   */
  constructor(
    tree: DirectoryTree,
    root: Directory,
    request: WriteRequest,
    metadata: MetadataWriter,
    onFinish: (finished: FinishedFile) => void,
  ) {
    this.#tree = tree
    this.#request = request
    this.#metadata = metadata
    this.#onFinish = onFinish
    this.#writeback = new Writeback(() => tree.fd(root))
    const ladder = new CloneLadder(request.reflink, request.summary)
    this.#cloner = request.zeroCopy ? new DataCloner(smallestFile) : undefined
    this.#queue = new CloneQueue(tree, this.#restored, this.#writeback, ladder, target =>
      this.#finish(target as OpenFile),
    )
  }

  /** A file has begun and has not ended. */
  get isOpen(): boolean {
    return this.#file !== undefined
  }

  /** @throws SYSTEM_CALL */
  create(entry: Entry, directory: Directory, path: EntryPath): RestoredFile {
    const { name, metadata } = entry
    const mode = this.#metadata.modeOf((metadata.mode ?? DEFAULT_FILE_MODE) & PERMISSIONS) | this.#needed
    const fd = openat(this.#tree.fd(directory), name, CREATE, mode)
    const file = new RestoredFile(directory, latin1(name), fd)
    this.#file = {
      fd,
      file,
      entry,
      path,
      waiting: 0,
      ended: undefined,
      end: new FileEnd(fd),
      isWrittenBack: false,
    }
    this.#metadata.begin(fd, directory, metadata)
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
  async flush(): Promise<void> {
    // What is cloned may be on its way.
    await this.#writer.settle()
    await this.#queue.flush()
    await this.#writeback.settle()
  }

  /** After an error: gives up the files that do not become whole, and returns them to be removed. */
  async discard(): Promise<RestoredFile[]> {
    // What has ended was written.
    await this.abandon()
    try {
      await this.#queue.flush()
    } catch {
      // Whatever it was, the files that it kept from becoming whole still wait.
    }
    return this.close()
  }

  /** Gives up what is not yet written; to be waited for before anything is closed. */
  abandon(): void | Promise<void> {
    const writing = this.#writer.abandon()
    const resting = this.#writeback.rest()
    return writing && resting ? writing.then(() => resting) : (writing ?? resting)
  }

  /** Lets go of everything, and returns the files that were not finished. */
  close(): RestoredFile[] {
    const open = this.#file
    this.#file = undefined
    const given = new Set([...this.#queue.close(), ...(open ? [open] : [])])
    for (const { fd, file } of given) {
      file.fd = undefined
      close(fd)
    }
    this.#restored.close()
    return Array.from(given, ({ file }) => file)
  }

  /** A finished file has another name or directory than it had. */
  moved(file: RestoredFile): void {
    this.#restored.moved(file)
  }

  #data(open: OpenFile, { bytes, from }: Data): void | Promise<void> {
    const { summary } = this.#request
    const { fd, file, end } = open
    const { size } = end
    const length = bytes.byteLength
    this.#restored.append(file, size, length)
    end.grow(length)
    summary.logicalBytes += length
    open.isWrittenBack ||= open.waiting > 0 || end.size >= WRITTEN_BACK || this.#writeback.isUnderWay
    const targetDevice = file.directory.inode.dev
    if (from && this.#cloner?.clone({ from, length, target: fd, targetDevice, targetOffset: size })) {
      summary.zeroCopyBytes += length
      return
    }
    end.wrote()
    this.#writeback.wrote(file)
    summary.writtenBytes += length
    return this.#writer.write(fd, bytes, size)
  }

  #reference(open: OpenFile, { address, length, origin }: Reference): void | Promise<void> {
    open.isWrittenBack ||= open.file.written > 0
    this.#writer.flush()
    open.end.beforeReference()
    return this.#refer(open, this.#restored.resolve(address, length), origin)
  }

  /** Goes on with the pieces of a reference, of which there may be many. */
  #refer(open: OpenFile, pieces: Iterator<Piece<FilePlace>, void>, origin: Origin): void | Promise<void> {
    for (let next = pieces.next(); !next.done; next = pieces.next()) {
      const { place, skip, length } = next.value
      const targetOffset = open.end.size
      open.end.grow(length)
      this.#request.summary.logicalBytes += length
      const { file: source, offset } = place
      this.#queue.add({ source, sourceOffset: offset + skip, target: open, targetOffset, length, origin })
      if (this.#queue.isFull) return this.#flushAndRefer(open, pieces, origin)
    }
  }

  async #flushAndRefer(
    open: OpenFile,
    pieces: Iterator<Piece<FilePlace>, void>,
    origin: Origin,
  ): Promise<void> {
    await this.flush()
    await this.#refer(open, pieces, origin)
  }

  #gap(open: OpenFile, gap: Hole | Missing): void | Promise<void> {
    // What is written later would reserve more behind it.
    const writing = this.#writer.settle()
    if (writing) return writing.then(() => this.#makeGap(open, gap))
    this.#makeGap(open, gap)
  }

  #makeGap(open: OpenFile, gap: Hole | Missing): void {
    const { summary, onProblem } = this.#request
    const { fd, end } = open
    const { size } = end
    const isReserved = gap.kind === 'hole' && gap.preallocated
    // Before the size is set: btrfs writes the block in which a file ends when more is reserved behind it.
    if (isReserved) this.#reserved(() => preallocate(fd, size, gap.length))
    end.gap(gap.length, isReserved)
    summary.logicalBytes += gap.length
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

  /** Reserved storage changes no content: where it cannot be had, that is worth a note. */
  #reserved(work: () => void): void {
    try {
      work()
    } catch (error) {
      if (!(error instanceof ReftarError && error.errno === EOPNOTSUPP)) throw error
      this.#metadata.note(`no storage is reserved: ${error.message}`)
    }
  }

  #end(open: OpenFile, end: End): void | Promise<void> {
    const writing = this.#writer.settle()
    if (writing) return writing.then(() => this.#ended(open, end))
    this.#ended(open, end)
  }

  #ended(open: OpenFile, { state }: End): void {
    const { summary, onEntry, onProblem } = this.#request
    this.#file = undefined
    open.end.settle()
    if (state === 'changed') onProblem('SOURCE_CHANGED', open.path.bytes, 'changed while it was archived')
    summary.files++
    this.#queue.end(open, open.end.size)
    this.#writeback.ended(open.file)
    onEntry(open.path.bytes, open.end.size)
  }

  #finish(open: OpenFile): void {
    const { fd, entry, file, path, isWrittenBack } = open
    try {
      const { reserved } = entry.metadata
      if (reserved !== undefined) this.#reserved(() => open.end.reserve(reserved))
      const bestowal = isWrittenBack ? undefined : file.directory.bestowal
      this.#onFinish({ entry, path, file, fd, bestowal })
      this.#restored.finished(file)
    } finally {
      file.fd = undefined
      close(fd)
    }
  }
}

function smallestFile({ type }: Filesystem): number {
  return type === BTRFS ? SMALLEST_ON_BTRFS : 0
}
