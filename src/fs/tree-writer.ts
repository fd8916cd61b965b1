import { constants } from 'node:fs'
import { type ErrorCode, ReftarError } from '../errors.js'
import { quotePath } from '../event.js'
import { DataSpace } from '../format/data-space.js'
import { EntryPaths } from '../format/path.js'
import type { ArchiveRecord, Data, End, Entry, Hole, Missing, Reference } from '../record.js'
import { linkat, mknodat, openat, symlinkat } from '../sys/directory.js'
import { close, preallocate, startWriteback, truncate, writeAt, writeAtAsync } from '../sys/file.js'
import { errnoName } from '../sys/koffi.js'
import { inodeOf, isSameFile, S_IFBLK, S_IFCHR, S_IFIFO, type Status, statAt, statFd } from '../sys/status.js'
import { CloneLadder, type CloneSummary, type Reflink } from './clone-ladder.js'
import { CloneQueue, type OpenTarget, type RestoredFile } from './clone-queue.js'
import { type Directory, pathOf } from './directory-tree.js'
import { applyMetadata, applyMetadataAt, needsLateMode } from './metadata.js'
import { type Place, Staging } from './staging.js'

export interface WriteSummary extends CloneSummary {
  entries: number
  files: number
  /** Sum of the sizes of all files, in bytes. */
  logicalBytes: number
  /** Bytes of data that were written. */
  writtenBytes: number
  holeBytes: number
  missingBytes: number
  /** Everything that is not in the target as it was at the source. */
  problems: number
}

export interface WriteRequest {
  readonly directory: Uint8Array
  readonly reflink: Reflink
  readonly summary: WriteSummary
  readonly onEntry: (path: Uint8Array, size: number) => void
  readonly onNote: (message: string) => void
  readonly onProblem: (code: ErrorCode, path: Uint8Array, message: string) => void
}

/** A directory that may still receive entries. */
interface OpenDirectory {
  readonly ordinal: number
  readonly entry: Entry | undefined
  readonly place: Place
}

/** Where data went: a range of a restored file. */
interface FileRange {
  readonly file: RestoredFile
  readonly offset: number
}

interface OpenFile extends OpenTarget {
  readonly entry: Entry
  /** When it was new. */
  readonly status: Status
  readonly path: Uint8Array
  /** The bytes of all its extents so far. */
  size: number
  /** Where its last data or clone ends. */
  filled: number
}

const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
const DEFAULT_FILE_MODE = 0o666
const DEFAULT_DIRECTORY_MODE = 0o777
const PERMISSIONS = 0o777
const OWNER_CAN_READ = 0o400
const OWNER_CAN_SEARCH = 0o500
/** Below this a synchronous write is faster than the way to another thread and back. */
const SMALL_WRITE = 128 * 1024
const DEVICE_TYPES = { characterDevice: S_IFCHR, blockDevice: S_IFBLK, fifo: S_IFIFO } as const

/** Records to files, in staging directories; nothing shows until {@link TreeWriter.publish}. */
export class TreeWriter {
  readonly #request: WriteRequest
  readonly #staging: Staging
  readonly #queue: CloneQueue
  readonly #space = new DataSpace<FileRange>(
    1,
    (place, length, next) => place.file === next.file && place.offset + length === next.offset,
  )
  readonly #paths = new EntryPaths()
  readonly #linked = new Map<number, RestoredFile>()
  #stack: OpenDirectory[]
  #file: OpenFile | undefined

  /** @throws SYSTEM_CALL when the target cannot be opened */
  constructor(request: WriteRequest) {
    this.#request = request
    this.#staging = new Staging(request.directory, request.onNote)
    const { root, tree } = this.#staging
    const ladder = new CloneLadder(request.reflink, request.summary)
    this.#queue = new CloneQueue(tree, ladder, target => this.#finish(target as OpenFile))
    this.#stack = [{ ordinal: 0, entry: undefined, place: root }]
  }

  /** @throws TARGET_EXISTS, TARGET_CHANGED, CLONE_REFUSED, SYSTEM_CALL, BAD_STRUCTURE, UNSAFE_NAME, DANGLING_REFERENCE */
  write(record: ArchiveRecord): void | Promise<void> {
    switch (record.kind) {
      case 'entry':
        return this.#entry(record)
      case 'data':
        return this.#data(this.#opened(record.kind), record)
      case 'reference':
        return this.#reference(this.#opened(record.kind), record)
      case 'hole':
      case 'missing':
        return this.#gap(this.#opened(record.kind), record)
      case 'end':
        return this.#end(this.#opened(record.kind), record)
      default:
        return record satisfies never
    }
  }

  /** Makes all clones that wait, finishes every file, and gives everything its name. */
  async publish(): Promise<void> {
    if (this.#file) throw new ReftarError('BAD_STRUCTURE', 'the records end before the last file does')
    await this.#queue.flush()
    while (this.#stack.length > 1) this.#leave()
    this.#staging.publish((directory, name) => {
      const fd = openat(this.#staging.tree.fd(directory), name, constants.O_RDONLY | constants.O_NOFOLLOW)
      return { fd, done: () => close(fd) }
    })
  }

  /** Rolls back what was not published, and lets go of everything. */
  close(): void {
    const waiting = new Set([...this.#queue.close(), ...(this.#file ? [this.#file] : [])])
    for (const { fd } of waiting) close(fd)
    this.#staging.close()
  }

  #entry(entry: Entry): void {
    const { summary, onEntry } = this.#request
    if (this.#file) throw new ReftarError('BAD_STRUCTURE', `entry ${entry.ordinal} begins before a file ends`)
    checkName(entry)
    while (this.#stack.length > 1 && this.#stack.at(-1)?.ordinal !== entry.parent) this.#leave()
    const { ordinal, place } = this.#stack.at(-1) as OpenDirectory
    if (ordinal !== entry.parent) {
      throw new ReftarError('BAD_STRUCTURE', `entry ${entry.ordinal} has a parent that is not open`)
    }
    const path = this.#paths.pathOf(entry)
    summary.entries++
    if (entry.type === 'directory') {
      const isRoot = entry.name.byteLength === 0
      const made = isRoot ? place : this.#staging.makeDirectory(place, entry.name, metadataOf(entry))
      this.#stack.push({ ordinal: entry.ordinal, entry, place: made })
      onEntry(path, 0)
      return
    }
    const directory = this.#staging.directoryFor(place, entry.name)
    if (entry.type === 'file') {
      this.#file = this.#create(entry, directory, path)
      return
    }
    this.#make(entry, directory, path)
    onEntry(path, 0)
  }

  #create(entry: Entry, directory: Directory, path: Uint8Array): OpenFile {
    const mode = ((entry.metadata.mode ?? DEFAULT_FILE_MODE) & PERMISSIONS) | OWNER_CAN_READ
    const fd = openat(this.#staging.tree.fd(directory), entry.name, CREATE, mode)
    const status = statFd(fd)
    const file = { directory, name: entry.name, inode: inodeOf(status), written: 0 }
    if (entry.linked) this.#linked.set(entry.ordinal, file)
    return { fd, file, entry, status, path, waiting: 0, ended: false, size: 0, filled: 0 }
  }

  /** Makes whatever has no content. */
  #make(entry: Entry, directory: Directory, path: Uint8Array): void {
    const { name, type, metadata } = entry
    const { tree } = this.#staging
    if (type === 'hardlink') {
      this.#link(entry, directory)
      return
    }
    const fd = tree.fd(directory)
    if (type === 'symlink') {
      symlinkat(metadata.linkTarget ?? new Uint8Array(0), fd, name)
    } else if (type === 'fifo' || type === 'characterDevice' || type === 'blockDevice') {
      const { major = 0, minor = 0 } = metadata.device ?? {}
      mknodat(
        fd,
        name,
        DEVICE_TYPES[type] | ((metadata.mode ?? DEFAULT_FILE_MODE) & PERMISSIONS),
        deviceNumber(major, minor),
      )
    }
    const status = statAt(fd, name)
    if (entry.linked) this.#linked.set(entry.ordinal, { directory, name, inode: inodeOf(status), written: 0 })
    try {
      applyMetadataAt(fd, name, status, metadata)
    } catch (error) {
      if (!(error instanceof ReftarError)) throw error
      this.#request.onProblem('SYSTEM_CALL', path, `metadata is not set: ${error.message}`)
    }
  }

  #link(entry: Entry, directory: Directory): void {
    const first = this.#linked.get(entry.metadata.linkTo ?? 0)
    if (!first)
      throw new ReftarError('BAD_STRUCTURE', `entry ${entry.ordinal} is a hard link to an unknown entry`)
    const { tree } = this.#staging
    const from = tree.fd(first.directory)
    const to = tree.fd(directory)
    linkat(from, first.name, to, entry.name)
    if (!isSameFile(statAt(to, entry.name), first.inode)) {
      throw new ReftarError(
        'TARGET_CHANGED',
        `${quotePath(pathOf(first.directory, first.name))} was replaced`,
      )
    }
  }

  #opened(kind: string): OpenFile {
    if (!this.#file) throw new ReftarError('BAD_STRUCTURE', `${kind} outside of a file`)
    return this.#file
  }

  #data(open: OpenFile, { bytes, mayBeShared }: Data): void | Promise<void> {
    const { fd, file, size } = open
    const length = bytes.byteLength
    this.#space.append(0, length, { file, offset: size })
    this.#queue.wrote(file)
    this.#request.summary.writtenBytes += length
    open.size += length
    open.filled = open.size
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
      open.filled = open.size
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
    if (gap.kind === 'hole') {
      summary.holeBytes += gap.length
      if (gap.preallocated) preallocate(open.fd, open.size, gap.length)
    } else {
      summary.missingBytes += gap.length
      const where = `${gap.length} bytes at ${open.size}`
      onProblem('SYSTEM_CALL', open.path, `${where} are missing, the source gave ${errnoName(gap.errno)}`)
    }
    open.size += gap.length
  }

  #end(open: OpenFile, { state }: End): void {
    const { summary, onEntry, onProblem } = this.#request
    this.#file = undefined
    if (state === 'changed') onProblem('SOURCE_CHANGED', open.path, 'changed while it was archived')
    summary.files++
    summary.logicalBytes += open.size
    this.#queue.end(open)
    onEntry(open.path, open.size)
  }

  #finish({ fd, file, entry, status, size, filled }: OpenFile): void {
    try {
      if (size > filled) truncate(fd, size)
      this.#apply(entry, file.directory, fd, status)
    } finally {
      close(fd)
    }
  }

  #apply(entry: Entry, directory: Directory, fd: number, status: Status): void {
    if (!needsLateMode(entry, entry.type === 'directory' ? OWNER_CAN_SEARCH : OWNER_CAN_READ)) {
      applyMetadata(fd, status, entry.metadata)
      return
    }
    const { mode = 0, ...rest } = entry.metadata
    applyMetadata(fd, status, rest)
    this.#staging.setModeLater({
      directory,
      name: entry.name,
      mode: mode & PERMISSIONS,
      isDirectory: entry.type === 'directory',
    })
  }

  #leave(): void {
    const left = this.#stack.pop()
    if (!left?.entry) return
    const { directory } = left.place
    const { tree } = this.#staging
    if (!this.#staging.isFinishedLater(left.place) && directory.parent) {
      const fd = tree.fd(directory)
      const entry = { ...left.entry, metadata: metadataOf(left.entry) }
      this.#apply(entry, directory.parent, fd, statFd(fd))
    }
    if (directory !== this.#stack.at(-1)?.place.directory) tree.leave(directory)
  }
}

/** Whatever the stages before have let through: only one component stays inside its directory. @throws UNSAFE_NAME */
function checkName({ ordinal, name, type }: Entry): void {
  const text = Buffer.from(name).toString('latin1')
  if (text === '' && ordinal === 1 && type === 'directory') return
  if (text !== '' && text !== '.' && text !== '..' && !/[/\0]/.test(text)) return
  throw new ReftarError('UNSAFE_NAME', `entry ${ordinal} is named ${quotePath(name)}`, { path: name })
}

/** An implied directory gets the mode that a new one has. */
function metadataOf({ metadata }: Entry): Entry['metadata'] {
  return metadata.mode === undefined ? { ...metadata, mode: DEFAULT_DIRECTORY_MODE & ~UMASK } : metadata
}

const UMASK = process.umask()

/** As makedev(3) packs it. */
function deviceNumber(major: number, minor: number): number {
  const high = (BigInt(major) & 0xfffff000n) << 32n
  const low =
    ((BigInt(major) & 0xfffn) << 8n) | (BigInt(minor) & 0xffn) | ((BigInt(minor) & 0xffffff00n) << 12n)
  return Number(high | low)
}
