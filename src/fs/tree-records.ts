import { constants } from 'node:fs'
import { type ErrorCode, ReftarError, withPath } from '../errors.js'
import { quotePath } from '../event.js'
import { compareBytes } from '../format/bytes.js'
import type { ArchiveRecord, Entry, Metadata } from '../record.js'
import { O_PATH, openat, readDirectory } from '../sys/directory.js'
import { close, OPEN_FILE } from '../sys/file.js'
import { isSameFile, S_IFDIR, S_IFREG, type Status, statAt, statFd, typeOf } from '../sys/status.js'
import { type Directory, DirectoryTree, pathOf } from './directory-tree.js'
import { Exclusion, type ExclusionOptions, type IgnoreFiles } from './exclusion.js'
import type { OnFailure } from './extended-attributes.js'
import { type ExaminedFile, FileRecords } from './file-records.js'
import { captureMetadata, entryTypeOf, hasContent, plainMetadata } from './metadata.js'
import { type Selection, selectPaths } from './selection.js'
import { isUntold, Storages } from './shared-extents.js'
import { Sharing } from './sharing.js'

export interface TreeSummary {
  entries: number
  files: number
  /** Sum of the sizes of all files, in bytes. */
  logicalBytes: number
  /** Bytes of file content that were read. */
  bytesRead: number
  /** Bytes that were not read, because they are shared with some that were. */
  sharedBytes: number
  holeBytes: number
  missingBytes: number
  /** Files that changed while they were read. */
  changed: number
  /** Everything that is not in the archive as it is on disk. */
  problems: number
}

export interface TreeRequest {
  readonly directory: Uint8Array
  readonly shared: boolean
  readonly paranoid: boolean
  /** Store owners as numbers only. */
  readonly numericOwner: boolean
  /** Stay on the filesystem of each path that was given. */
  readonly oneFileSystem: boolean
  /** Read clones of files, which nobody writes to. */
  readonly snapshot: boolean
  readonly exclusion: ExclusionOptions
  readonly isSkipped: (status: Status) => boolean
  readonly summary: TreeSummary
  readonly onEntry: (path: Uint8Array, size: number) => void
  readonly onNote: (message: string) => void
  readonly onProblem: (code: ErrorCode, path: Uint8Array, message: string) => void
}

/** A directory in the middle of being walked. */
interface Frame {
  readonly directory: Directory
  readonly ordinal: number
  readonly names: readonly Uint8Array[]
  at: number
  /** Set for a directory of which only some children were asked for. */
  readonly selection: Selection | undefined
  readonly ignores: IgnoreFiles | undefined
  /** Of the path that was asked for. */
  readonly device: number | undefined
}

/** A name in a directory. */
interface Candidate {
  readonly frame: Frame
  /** Where it is looked up. */
  readonly directory: Directory
  readonly name: Uint8Array
  readonly path: Uint8Array
  readonly status: Status
  /** It was asked for by its name. */
  readonly isNamed: boolean
}

/** @throws INVALID_ARGUMENT at once, for paths that make no tree, and patterns that match nothing */
export function treeRecords(
  paths: readonly Uint8Array[],
  request: TreeRequest,
): () => AsyncGenerator<ArchiveRecord, void, undefined> {
  const selection = selectPaths(paths, () => request.onNote("leading '/' is left out of stored names"))
  const exclusion = new Exclusion(request.exclusion)
  return () => new TreeWalk(selection, exclusion, request).records()
}

const ROOT_PATH = new Uint8Array([0x2f])
const NO_NAME = new Uint8Array(0)

class TreeWalk {
  readonly #selection: Selection
  readonly #exclusion: Exclusion
  readonly #request: TreeRequest
  readonly #tree = new DirectoryTree('SOURCE_CHANGED')
  readonly #storages = new Storages()
  readonly #sharing: Sharing
  readonly #files: FileRecords
  /** Files with several names: the ordinal of the first, until all were seen. */
  readonly #links = new Map<string, { ordinal: number; left: number }>()
  readonly #noted = new Set<string>()
  #ordinal = 0
  readonly #roots = new Map<boolean, Directory>()

  constructor(selection: Selection, exclusion: Exclusion, request: TreeRequest) {
    this.#selection = selection
    this.#exclusion = exclusion
    this.#request = request
    this.#sharing = new Sharing(this.#tree, this.#storages, request)
    this.#files = new FileRecords(this.#tree, this.#sharing)
  }

  async *records(): AsyncGenerator<ArchiveRecord, void, undefined> {
    try {
      const root = this.#rootFrame()
      if (this.#selection.whole) yield this.#rootEntry(root.directory)
      const stack = [root]
      for (let frame = stack.at(-1); frame; frame = stack.at(-1)) {
        const name = frame.names[frame.at++]
        if (!name) {
          stack.pop()
          this.#tree.leave(frame.directory)
          continue
        }
        const child = frame.selection?.children.get(Buffer.from(name).toString('latin1'))
        const parent = frame === root && child ? this.#root(child.absolute) : frame.directory
        if (child && !child.whole) {
          yield this.#entry(frame.ordinal, name, 'directory', {})
          stack.push(this.#selectedFrame(this.#tree.child(parent, name, true), child))
        } else {
          const below = yield* this.#visit(frame, parent, name, child !== undefined)
          if (below) stack.push(below)
        }
      }
      if (this.#storages.some(isUntold))
        this.#note(
          'what compressed extents share is stored once for each file: only root can tell them apart',
        )
    } finally {
      this.#sharing.close()
      this.#tree.close()
    }
  }

  #root(absolute: boolean): Directory {
    let root = this.#roots.get(absolute)
    if (!root) {
      root = this.#tree.root(absolute ? ROOT_PATH : this.#request.directory)
      this.#roots.set(absolute, root)
    }
    return root
  }

  #rootFrame(): Frame {
    const { whole, absolute, children } = this.#selection
    const directory = this.#root(whole ? absolute : [...children.values()].every(child => child.absolute))
    if (!whole) return this.#selectedFrame(directory, this.#selection)
    return { ...this.#wholeFrame(directory, NO_NAME, directory.inode.dev, undefined), ordinal: 1 }
  }

  #rootEntry(directory: Directory): Entry {
    const fd = this.#tree.fd(directory)
    return this.#entry(0, NO_NAME, 'directory', this.#capture(fd, statFd(fd), NO_NAME))
  }

  /** Of a directory that was not asked for, but some of what is in it. */
  #selectedFrame(directory: Directory, selection: Selection): Frame {
    const names = Array.from(selection.children.values(), child => child.name).sort(compareBytes)
    return {
      directory,
      ordinal: this.#ordinal,
      names,
      at: 0,
      selection,
      ignores: undefined,
      device: undefined,
    }
  }

  #wholeFrame(directory: Directory, path: Uint8Array, device: number, outer: IgnoreFiles | undefined): Frame {
    const fd = this.#tree.fd(directory)
    const { names, isCache } = this.#exclusion.withoutCache(fd, readDirectory(fd))
    if (isCache) this.#request.onNote(`${quotePath(path)} is a cache, what is in it is left out`)
    const ignores = this.#exclusion.ignoreFiles(this.#tree.fd(directory), path, outer)
    const ordinal = this.#ordinal
    return {
      directory,
      ordinal,
      names: names.sort(compareBytes),
      at: 0,
      selection: undefined,
      ignores,
      device,
    }
  }

  #entry(parent: number, name: Uint8Array, type: Entry['type'], metadata: Metadata, linked = false): Entry {
    this.#request.summary.entries++
    return { kind: 'entry', ordinal: ++this.#ordinal, parent, name, type, linked, metadata }
  }

  /** One name and, of a directory, the frame of what is below. */
  async *#visit(
    frame: Frame,
    directory: Directory,
    name: Uint8Array,
    isNamed: boolean,
  ): AsyncGenerator<ArchiveRecord, Frame | undefined, undefined> {
    const path = pathOf(directory, name)
    try {
      const status = statAt(this.#tree.fd(directory), name)
      const candidate = { frame, directory, name, path, status, isNamed }
      if (this.#isLeftOut(candidate)) return undefined
      const link = this.#linkTo(status)
      if (link) {
        yield this.#entry(frame.ordinal, name, 'hardlink', { linkTo: link })
        this.#request.onEntry(path, 0)
        return undefined
      }
      switch (entryTypeOf(status)) {
        case 'file':
          return yield* this.#file(candidate)
        case 'directory':
          return yield* this.#directory(candidate)
        default:
          return yield* this.#special(candidate)
      }
    } catch (error) {
      if (!(error instanceof ReftarError)) throw error
      const isGone = error.code === 'SOURCE_CHANGED'
      if (isNamed || !(isGone || error.errno !== undefined)) throw withPath(error, path)
      this.#problem(isGone ? error.code : 'SOURCE_SKIPPED', path, `left out: ${error.message}`)
      return undefined
    }
  }

  #isLeftOut({ frame, status, path, isNamed }: Candidate): boolean {
    const { isSkipped, onNote } = this.#request
    if (isSkipped(status)) {
      onNote('the archive itself is left out')
      return true
    }
    const type = entryTypeOf(status)
    if (
      !isNamed &&
      this.#exclusion.isActive &&
      this.#exclusion.excludes(path, type === 'directory', frame.ignores)
    ) {
      return true
    }
    if (type) return false
    onNote(`${quotePath(path)}: a socket is not archived`)
    return true
  }

  /** Whatever is neither file nor directory. */
  *#special({
    frame,
    directory,
    name,
    path,
    status,
  }: Candidate): Generator<ArchiveRecord, undefined, undefined> {
    const fd = openat(this.#tree.fd(directory), name, O_PATH | constants.O_NOFOLLOW)
    try {
      const opened = statFd(fd)
      const type = entryTypeOf(opened)
      if (!isSameFile(opened, status) || type !== entryTypeOf(status) || !type) return this.#replaced(path)
      const metadata = this.#capture(fd, opened, path)
      const entry = this.#entry(frame.ordinal, name, type, metadata, opened.nlink > 1)
      this.#remember(opened, entry)
      yield entry
      this.#request.onEntry(path, 0)
    } finally {
      close(fd)
    }
    return undefined
  }

  *#directory(candidate: Candidate): Generator<ArchiveRecord, Frame | undefined, undefined> {
    const { frame, name, path, status, isNamed } = candidate
    const { oneFileSystem, numericOwner, onEntry } = this.#request
    const device = isNamed ? status.dev : (frame.device ?? status.dev)
    const isOther = oneFileSystem && status.dev !== device
    const child = this.#open(candidate)
    const metadata = child
      ? this.#capture(this.#tree.fd(child), statFd(this.#tree.fd(child)), path)
      : plainMetadata(status, numericOwner)
    const entry = this.#entry(frame.ordinal, name, 'directory', metadata)
    yield entry
    onEntry(path, 0)
    if (!child) return undefined
    if (!isOther) return this.#inside(path, () => this.#wholeFrame(child, path, device, frame.ignores))
    this.#request.onNote(`${quotePath(path)} is on another filesystem, what is in it is left out`)
    this.#tree.leave(child)
    return undefined
  }

  /** A directory, to look into it; undefined, and told, where it cannot be. */
  #open({ directory, name, path, status }: Candidate): Directory | undefined {
    const child = this.#inside(path, () => this.#tree.child(directory, name))
    if (!child || isSameFile(child.inode, status)) return child
    this.#tree.leave(child)
    this.#problem('SOURCE_CHANGED', path, 'replaced while it was archived, so what is in it is left out')
    return undefined
  }

  #inside<T>(path: Uint8Array, work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      this.#problem('SOURCE_SKIPPED', path, `what is in it is left out: ${error.message}`)
      return undefined
    }
  }

  async *#file(candidate: Candidate): AsyncGenerator<ArchiveRecord, undefined, undefined> {
    const { frame, directory, name, path, status: seen } = candidate
    const fd = openat(this.#tree.fd(directory), name, OPEN_FILE)
    try {
      const opened = statFd(fd)
      if (!isSameFile(opened, seen) || typeOf(opened) !== S_IFREG) return this.#replaced(path)
      if (!Number.isSafeInteger(opened.size)) {
        const message = `left out: its size is ${opened.size} bytes, the limit is 2^53 - 1`
        return this.#problem('SOURCE_SKIPPED', path, message)
      }
      const file = await this.#files.examine(fd, opened, directory, name)
      const { status, reserved } = file
      const metadata = { ...this.#capture(fd, status, path), ...(reserved !== undefined && { reserved }) }
      const reading = this.#reading(file, directory, metadata)
      const entry = this.#entry(frame.ordinal, name, 'file', metadata, status.nlink > 1)
      this.#remember(status, entry)
      yield entry
      yield* this.#content(reading, path)
    } finally {
      close(fd)
    }
    return undefined
  }

  #reading(file: ExaminedFile, directory: Directory, metadata: Metadata): ReturnType<FileRecords['read']> {
    if (!this.#request.snapshot) return this.#files.read(file)
    try {
      return this.#files.readSnapshot(file, directory, metadata)
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      this.#note(`files are read as they are, without a snapshot: ${error.message}`)
      return this.#files.read(file)
    }
  }

  async *#content(
    reading: ReturnType<FileRecords['read']>,
    path: Uint8Array,
  ): AsyncGenerator<ArchiveRecord, void, undefined> {
    const { summary, onEntry } = this.#request
    let step = await reading.next()
    try {
      for (; !step.done; step = await reading.next()) {
        this.#count()
        yield step.value
      }
    } finally {
      if (!step.done) await reading.return(undefined as never)
    }
    const { size, isWhole, missing, failure } = step.value
    if (failure) this.#problem(failure.code, path, `could not be read to its end: ${failure.message}`)
    if (!isWhole) {
      summary.changed++
      if (!failure) this.#problem('SOURCE_CHANGED', path, 'changed while it was read')
    }
    if (missing > 0) this.#problem('SYSTEM_CALL', path, `${missing} bytes could not be read and are missing`)
    summary.files++
    summary.logicalBytes += size
    this.#count()
    onEntry(path, size)
  }

  #count(): void {
    const { summary } = this.#request
    const { bytesRead, sharedBytes, holeBytes, missingBytes } = this.#files.tally
    summary.bytesRead = bytesRead + this.#sharing.bytesCompared
    Object.assign(summary, { sharedBytes, holeBytes, missingBytes })
  }

  #capture(fd: number, status: Status, path: Uint8Array): Metadata {
    const onFailure: OnFailure = (what, error) =>
      this.#problem(error.code, path, `${what} could not be read: ${error.message}`)
    // What is open with O_PATH only cannot tell which filesystem it is on.
    const filesystem = hasContent(status) ? this.#storages.of(fd, status).type : 0
    return captureMetadata(fd, status, filesystem, this.#request.numericOwner, onFailure)
  }

  /** The ordinal of the entry that is the same inode, if there was one. */
  #linkTo(status: Status): number | undefined {
    if (status.nlink < 2 || typeOf(status) === S_IFDIR) return undefined
    const key = `${status.dev}:${status.ino}`
    const link = this.#links.get(key)
    if (!link) return undefined
    if (--link.left === 0) this.#links.delete(key)
    return link.ordinal
  }

  #remember(status: Status, entry: Entry): void {
    if (!entry.linked) return
    this.#links.set(`${status.dev}:${status.ino}`, { ordinal: entry.ordinal, left: status.nlink - 1 })
  }

  #replaced(path: Uint8Array): undefined {
    this.#problem('SOURCE_CHANGED', path, 'replaced while it was archived, so it is left out')
  }

  #problem(code: ErrorCode, path: Uint8Array, message: string): undefined {
    this.#request.onProblem(code, path, message)
  }

  /** Says once what holds for many. */
  #note(message: string): void {
    if (this.#noted.has(message)) return
    this.#noted.add(message)
    this.#request.onNote(message)
  }
}
