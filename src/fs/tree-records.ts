import { type ErrorCode, ReftarError } from '../errors.js'
import { compareBytes } from '../format/bytes.js'
import { type ArchiveRecord, type Entry, lengthOf, type Metadata } from '../record.js'
import { openat, readDirectory } from '../sys/directory.js'
import { close, OPEN_FILE } from '../sys/file.js'
import { errnoName } from '../sys/koffi.js'
import { isSameFile, isUnchanged, S_IFREG, type Status, statAt, statFd, typeOf } from '../sys/status.js'
import { type Directory, DirectoryTree, pathOf } from './directory-tree.js'
import { fileExtents, type ReadTally } from './file-extents.js'
import { FileSource } from './file-source.js'
import { captureMetadata, entryTypeOf } from './metadata.js'
import { type Selection, selectPaths } from './selection.js'
import { type FileSharing, Sharing, settle } from './sharing.js'

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
  readonly isExcluded: (status: Status) => boolean
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
}

/** @throws INVALID_ARGUMENT at once, for paths that make no tree */
export function treeRecords(
  paths: readonly Uint8Array[],
  request: TreeRequest,
): () => AsyncGenerator<ArchiveRecord, void, undefined> {
  const selection = selectPaths(paths, () => request.onNote("leading '/' is left out of stored names"))
  return () => new TreeWalk(selection, request).records()
}

const ROOT_PATH = new Uint8Array([0x2f])
const NO_NAME = new Uint8Array(0)

class TreeWalk {
  readonly #selection: Selection
  readonly #request: TreeRequest
  readonly #tree = new DirectoryTree('SOURCE_CHANGED')
  readonly #sharing: Sharing
  readonly #tally: ReadTally = { address: 0, bytesRead: 0, holeBytes: 0, missingBytes: 0, sharedBytes: 0 }
  /** Files with several names: the ordinal of the first, until all were seen. */
  readonly #links = new Map<string, { ordinal: number; left: number }>()
  #ordinal = 0
  readonly #roots = new Map<boolean, Directory>()

  constructor(selection: Selection, request: TreeRequest) {
    this.#selection = selection
    this.#request = request
    this.#sharing = new Sharing(this.#tree, request)
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
          stack.push(this.#frame(this.#tree.child(parent, name, true), sorted(child), child))
        } else {
          const below = yield* this.#visit(parent, frame.ordinal, name, child !== undefined)
          if (below) stack.push(below)
        }
      }
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
    if (!whole)
      return { directory, ordinal: 0, names: sorted(this.#selection), at: 0, selection: this.#selection }
    return { directory, ordinal: 1, names: this.#list(directory), at: 0, selection: undefined }
  }

  #rootEntry(directory: Directory): Entry {
    const fd = this.#tree.fd(directory)
    const metadata = captureMetadata(fd, NO_NAME, statFd(fd))
    return this.#entry(0, NO_NAME, 'directory', metadata)
  }

  #frame(directory: Directory, names: readonly Uint8Array[], selection?: Selection): Frame {
    return { directory, ordinal: this.#ordinal, names, at: 0, selection }
  }

  #list(directory: Directory): Uint8Array[] {
    return readDirectory(this.#tree.fd(directory)).sort(compareBytes)
  }

  #entry(parent: number, name: Uint8Array, type: Entry['type'], metadata: Metadata, linked = false): Entry {
    this.#request.summary.entries++
    return { kind: 'entry', ordinal: ++this.#ordinal, parent, name, type, linked, metadata }
  }

  /** One name and, of a directory, the frame of what is below. */
  async *#visit(
    directory: Directory,
    parent: number,
    name: Uint8Array,
    isNamed: boolean,
  ): AsyncGenerator<ArchiveRecord, Frame | undefined, undefined> {
    const path = pathOf(directory, name)
    try {
      const fd = this.#tree.fd(directory)
      const status = statAt(fd, name)
      if (this.#request.isExcluded(status)) {
        this.#request.onNote('the archive itself is left out')
        return undefined
      }
      const type = entryTypeOf(status)
      if (!type) {
        this.#problem('SOURCE_SKIPPED', path, 'a socket is not archived')
        return undefined
      }
      if (type === 'file') {
        yield* this.#file(directory, parent, name, status, path)
        return undefined
      }
      const link = this.#linkTo(status)
      const entry = link
        ? this.#entry(parent, name, 'hardlink', { linkTo: link })
        : this.#entry(
            parent,
            name,
            type,
            captureMetadata(fd, name, status),
            type !== 'directory' && status.nlink > 1,
          )
      if (!link) this.#remember(status, entry)
      yield entry
      this.#request.onEntry(path, 0)
      return type === 'directory' ? this.#enter(directory, name, status, path) : undefined
    } catch (error) {
      if (isNamed || !(error instanceof ReftarError) || error.errno === undefined) throw error
      this.#problem('SOURCE_SKIPPED', path, `left out: ${error.syscall}: ${errnoName(error.errno)}`)
      return undefined
    }
  }

  #enter(directory: Directory, name: Uint8Array, status: Status, path: Uint8Array): Frame | undefined {
    try {
      const child = this.#tree.child(directory, name)
      if (!isSameFile(child.inode, status)) {
        this.#problem('SOURCE_CHANGED', path, 'replaced while it was archived, so what is in it is left out')
        return undefined
      }
      return this.#frame(child, this.#list(child))
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      this.#problem(
        'SOURCE_SKIPPED',
        path,
        `what is in it is left out: ${error.syscall}: ${errnoName(error.errno)}`,
      )
      return undefined
    }
  }

  async *#file(
    directory: Directory,
    parent: number,
    name: Uint8Array,
    seen: Status,
    path: Uint8Array,
  ): AsyncGenerator<ArchiveRecord, void, undefined> {
    const link = this.#linkTo(seen)
    if (link) {
      yield this.#entry(parent, name, 'hardlink', { linkTo: link })
      this.#request.onEntry(path, 0)
      return
    }
    const fd = openat(this.#tree.fd(directory), name, OPEN_FILE)
    try {
      const opened = statFd(fd)
      if (!isSameFile(opened, seen) || typeOf(opened) !== S_IFREG) {
        this.#problem('SOURCE_CHANGED', path, 'replaced while it was archived, so it is left out')
        return
      }
      if (!Number.isSafeInteger(opened.size)) {
        this.#problem(
          'SOURCE_SKIPPED',
          path,
          `left out: its size is ${opened.size} bytes, the limit is 2^53 - 1`,
        )
        return
      }
      await settle(opened)
      const sharing = this.#sharing.examine(fd, opened, directory, name)
      const { status } = sharing
      const entry = this.#entry(parent, name, 'file', captureMetadata(fd, name, status), status.nlink > 1)
      this.#remember(status, entry)
      yield entry
      const source = sharing.canReread ? new FileSource(this.#tree, directory, name, status) : undefined
      yield* this.#content(fd, sharing, source, path)
    } finally {
      close(fd)
    }
  }

  async *#content(
    fd: number,
    sharing: FileSharing,
    source: FileSource | undefined,
    path: Uint8Array,
  ): AsyncGenerator<ArchiveRecord, void, undefined> {
    const { summary } = this.#request
    const { status } = sharing
    const missingBefore = this.#tally.missingBytes
    let size = 0
    for await (const extent of fileExtents(fd, status.size, sharing, source, this.#tally)) {
      size += lengthOf(extent)
      this.#count()
      yield extent
    }
    const isWhole = size === status.size && isUnchanged(statFd(fd), status)
    if (!isWhole) {
      sharing.changed()
      summary.changed++
      this.#problem('SOURCE_CHANGED', path, 'changed while it was read')
    }
    const missing = this.#tally.missingBytes - missingBefore
    if (missing > 0) this.#problem('SYSTEM_CALL', path, `${missing} bytes could not be read and are missing`)
    summary.files++
    summary.logicalBytes += size
    this.#count()
    yield { kind: 'end', state: isWhole ? 'whole' : 'changed' }
    this.#request.onEntry(path, size)
  }

  #count(): void {
    const { summary } = this.#request
    const { bytesRead, sharedBytes, holeBytes, missingBytes } = this.#tally
    summary.bytesRead = bytesRead + this.#sharing.bytesCompared
    Object.assign(summary, { sharedBytes, holeBytes, missingBytes })
  }

  /** The ordinal of the entry that is the same inode, if there was one. */
  #linkTo(status: Status): number | undefined {
    if (status.nlink < 2) return undefined
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

  #problem(code: ErrorCode, path: Uint8Array, message: string): void {
    this.#request.onProblem(code, path, message)
  }
}

function sorted(selection: Selection): Uint8Array[] {
  return Array.from(selection.children.values(), child => child.name).sort(compareBytes)
}
