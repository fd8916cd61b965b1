import { constants } from 'node:fs'
import { type ErrorCode, ReftarError } from '../errors.js'
import { quotePath } from '../event.js'
import { latin1, latin1Bytes } from '../format/latin1.js'
import { EntryPath, EntryPaths } from '../format/path.js'
import {
  type ArchiveRecord,
  type EndState,
  type Entry,
  type Extent,
  lengthOf,
  type Metadata,
} from '../record.js'
import { O_PATH, openat, readDirectory } from '../sys/directory.js'
import { ENOENT } from '../sys/errno.js'
import { close, closingOnError, OPEN_FILE } from '../sys/file.js'
import { errnoName } from '../sys/koffi.js'
import { type Inode, inodeOf, isSameFile, type Status, statAt, statFd } from '../sys/status.js'
import { ContentComparison, type Difference, type OpenFile, type SharingTally } from './content-comparison.js'
import { type Directory, DirectoryTree } from './directory-tree.js'
import { entryTypeOf, metadataDifferences } from './metadata.js'

/** What a {@link treeComparer} has done. */
export interface ComparisonSummary extends SharingTally {
  entries: number
  files: number
  /** Sum of the sizes of all files, in bytes. */
  logicalBytes: number
  /** Everything that is not in the tree as it is in the archive. */
  differences: number
}

export interface ComparisonRequest {
  readonly directory: Uint8Array
  readonly summary: ComparisonSummary
  readonly onEntry: (path: Uint8Array, size: number) => void
  readonly onDifference: (code: ErrorCode, path: Uint8Array, message: string) => void
}

/** A directory of the archive; without a directory of the tree, nothing in it is looked for. */
interface OpenDirectory {
  readonly ordinal: number
  readonly path: EntryPath
  readonly directory: Directory | undefined
  /** The names that the archive has, where it has all: of a directory that was captured. */
  readonly names: Set<string> | undefined
}

interface FileInHand {
  readonly path: EntryPath
  /** Of the extents so far, in bytes. */
  size: number
  /** In the tree. */
  open: OpenFile | undefined
  /** One difference of its content is told. */
  differs: boolean
}

/** Compares records with the tree below a directory: what is there, what it says, what it holds, and what it shares. */
export class TreeComparison {
  readonly #request: ComparisonRequest
  readonly #tree = new DirectoryTree('SOURCE_CHANGED')
  readonly #content: ContentComparison
  readonly #paths = new EntryPaths()
  /** Of entries that later ones may be hard links to: the inode that stands for them. */
  readonly #linked = new Map<number, { readonly inode: Inode; readonly path: EntryPath }>()
  readonly #stack: OpenDirectory[] = []
  #file: FileInHand | undefined

  /** @throws SYSTEM_CALL when the directory cannot be opened */
  constructor(request: ComparisonRequest) {
    this.#request = request
    this.#content = new ContentComparison(this.#tree, request.summary)
    const directory = this.#tree.root(request.directory)
    this.#stack.push({ ordinal: 0, path: new EntryPath(), directory, names: undefined })
  }

  /** @throws SYSTEM_CALL, SOURCE_CHANGED */
  write(record: ArchiveRecord): void | Promise<void> {
    if (record.kind === 'entry') return this.#entry(record)
    const file = this.#file
    if (!file) throw new ReftarError('BAD_STRUCTURE', `${record.kind} outside of a file`)
    if (record.kind === 'end') return this.#end(file, record.state)
    return this.#extent(file, record)
  }

  /** All records have come. @throws SYSTEM_CALL, SOURCE_CHANGED */
  finish(): void {
    while (this.#stack.length > 0) this.#leave()
  }

  close(): void {
    this.#closeFile()
    this.#content.close()
    this.#tree.close()
  }

  #entry(entry: Entry): void {
    const { summary, onEntry } = this.#request
    while (this.#stack.length > 1 && this.#stack.at(-1)?.ordinal !== entry.parent) this.#leave()
    const parent = this.#stack.at(-1) as OpenDirectory
    const path = this.#paths.of(entry)
    parent.names?.add(latin1(entry.name))
    summary.entries++
    const status = parent.directory && this.#find(parent.directory, entry, path)
    if (entry.type === 'directory') this.#enter(parent, entry, path, status)
    else if (entry.type === 'file') this.#open(parent, entry, path, status)
    if (entry.type !== 'file') onEntry(path.bytes, 0)
  }

  /** What stands for an entry in the tree; undefined, and told, where nothing can. */
  #find(directory: Directory, entry: Entry, path: EntryPath): Status | undefined {
    const { name, type, metadata } = entry
    const fd = this.#tree.fd(directory)
    // A directory that exists keeps its attributes when an archive is restored to it.
    if (name.byteLength === 0) return statFd(fd)
    const status = this.#status(fd, name, path)
    if (!status) return undefined
    if (type === 'hardlink') {
      const first = this.#linked.get(metadata.linkTo ?? 0)
      if (first && !isSameFile(status, first.inode)) {
        this.#differs(path, `is not a hard link to ${quotePath(first.path.bytes)}`)
      }
      return status
    }
    const found = entryTypeOf(status)
    if (found !== type) {
      this.#differs(path, `is a ${found ?? 'socket'}, expected a ${type}`)
      return undefined
    }
    if (entry.linked) this.#linked.set(entry.ordinal, { inode: inodeOf(status), path })
    if (type !== 'file' && type !== 'directory') {
      this.#readable(path, () => {
        const special = openat(fd, name, O_PATH | constants.O_NOFOLLOW)
        try {
          this.#compareMetadata(special, metadata, path)
        } finally {
          close(special)
        }
      })
    }
    return status
  }

  #status(fd: number, name: Uint8Array, path: EntryPath): Status | undefined {
    try {
      return statAt(fd, name)
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      this.#differs(
        path,
        error.errno === ENOENT ? 'is not there' : `cannot be looked at: ${errnoName(error.errno)}`,
      )
      return undefined
    }
  }

  #enter(parent: OpenDirectory, entry: Entry, path: EntryPath, status: Status | undefined): void {
    const { name, ordinal, metadata } = entry
    const names = metadata.mode === undefined ? undefined : new Set<string>()
    let directory: Directory | undefined
    const { directory: above } = parent
    if (above && status) {
      directory = name.byteLength === 0 ? above : this.#readable(path, () => this.#tree.child(above, name))
    }
    if (directory && directory !== above) this.#compareMetadata(this.#tree.fd(directory), metadata, path)
    this.#stack.push({ ordinal, path, directory, names })
  }

  #compareMetadata(fd: number, metadata: Metadata, path: EntryPath): void {
    this.#readable(path, () => {
      for (const difference of metadataDifferences(fd, statFd(fd), metadata)) this.#differs(path, difference)
    })
  }

  #open(parent: OpenDirectory, { name, metadata }: Entry, path: EntryPath, status: Status | undefined): void {
    this.#file = { path, size: 0, open: undefined, differs: false }
    const { directory } = parent
    if (!directory || !status) return
    const open = this.#readable(path, () => {
      const fd = openat(this.#tree.fd(directory), name, OPEN_FILE)
      return closingOnError(fd, () => this.#content.open(fd, directory, name))
    })
    this.#file.open = open
    if (open) this.#compareMetadata(open.fd, metadata, path)
  }

  /** What cannot be read differs. */
  #readable<T>(path: EntryPath, read: () => T): T | undefined {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      this.#differs(path, `cannot be read: ${errnoName(error.errno)}`)
      return undefined
    }
  }

  async #extent(file: FileInHand, extent: Extent): Promise<void> {
    const { open } = file
    const length = lengthOf(extent)
    if (extent.kind === 'missing')
      this.#differs(file.path, `has ${length} bytes at ${file.size} that the archive lacks`)
    const difference = await this.#compare(extent, open)
    file.size += length
    this.#request.summary.logicalBytes += length
    if (open) open.offset += length
    if (!difference) return
    if (open && difference.isContent) this.#content.differs(open)
    if (!file.differs) this.#differs(file.path, difference.message)
    file.differs = true
  }

  /** How an extent differs, as one does that cannot be read. */
  async #compare(extent: Extent, open: OpenFile | undefined): Promise<Difference | undefined> {
    try {
      if (extent.kind === 'data') return await this.#content.data(extent, open)
      if (open && extent.kind === 'hole') return this.#content.hole(extent.length, open)
      if (open && extent.kind === 'reference') return await this.#content.reference(extent, open)
      return undefined
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      const message = `cannot be read at byte ${open?.offset}: ${errnoName(error.errno)}`
      return { message, isContent: true }
    }
  }

  #end({ path, size, open }: FileInHand, state: EndState): void {
    const { summary, onEntry } = this.#request
    const found = open && this.#readable(path, () => statFd(open.fd).size)
    if (found !== undefined && found !== size) this.#differs(path, `has ${found} bytes, expected ${size}`)
    if (state === 'changed') this.#differs(path, 'changed while it was archived', 'SOURCE_CHANGED')
    this.#closeFile()
    summary.files++
    onEntry(path.bytes, size)
  }

  #closeFile(): void {
    if (this.#file?.open) close(this.#file.open.fd)
    this.#file = undefined
  }

  #leave(): void {
    const { directory, names, path } = this.#stack.pop() as OpenDirectory
    if (!directory) return
    if (names) this.#readable(path, () => this.#compareNames(directory, names, path))
    if (directory !== this.#stack.at(-1)?.directory) this.#readable(path, () => this.#tree.leave(directory))
  }

  #compareNames(directory: Directory, names: ReadonlySet<string>, path: EntryPath): void {
    const fd = this.#tree.fd(directory)
    for (const name of readDirectory(fd)) {
      if (names.has(name)) continue
      const extra = new EntryPath(path, latin1Bytes(name))
      if (this.#readable(extra, () => isSocket(fd, name)) === false)
        this.#differs(extra, 'is not in the archive')
    }
  }

  #differs(path: EntryPath, message: string, code: ErrorCode = 'DIFFERENT'): void {
    this.#request.summary.differences++
    this.#request.onDifference(code, path.bytes, message)
  }
}

/** What no archive has. */
function isSocket(directory: number, name: string): boolean {
  return entryTypeOf(statAt(directory, latin1Bytes(name))) === undefined
}
