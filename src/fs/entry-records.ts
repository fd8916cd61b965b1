import { constants } from 'node:fs'
import { type ErrorCode, ReftarError } from '../errors.js'
import type { ArchiveRecord, Entry, Metadata } from '../record.js'
import { O_PATH, openat } from '../sys/directory.js'
import { close, OPEN_FILE } from '../sys/file.js'
import { isSameFile, S_IFDIR, S_IFREG, type Status, statFd, typeOf } from '../sys/status.js'
import type { Directory, DirectoryTree } from './directory-tree.js'
import type { OnFailure } from './extended-attributes.js'
import { type ExaminedFile, type FileClone, FileRecords } from './file-records.js'
import { captureMetadata, entryTypeOf, hasContent, plainMetadata } from './metadata.js'
import { isUntold, Storages } from './shared-extents.js'
import { Sharing } from './sharing.js'
import type { TreeRequest } from './tree-request.js'

/** A name in a directory. */
export interface Found {
  /** The ordinal of the directory. */
  readonly parent: number
  /** Where it is looked up. */
  readonly directory: Directory
  readonly name: Uint8Array
  readonly path: Uint8Array
  readonly status: Status
}

const NO_NAME = new Uint8Array(0)

/** The records of one entry after the other, with their ordinals, links and metadata. */
export class EntryRecords {
  readonly #tree: DirectoryTree
  readonly #request: TreeRequest
  readonly #storages = new Storages()
  readonly #sharing: Sharing
  readonly #files: FileRecords
  /** Files with several names: the ordinal of the first, until all were seen. */
  readonly #links = new Map<string, { ordinal: number; left: number }>()
  readonly #noted = new Set<string>()
  #ordinal = 0

  constructor(tree: DirectoryTree, request: TreeRequest) {
    this.#tree = tree
    this.#request = request
    this.#sharing = new Sharing(tree, this.#storages, request)
    this.#files = new FileRecords(tree, this.#sharing)
  }

  /** Of the entry that came last. */
  get ordinal(): number {
    return this.#ordinal
  }

  close(): void {
    this.#sharing.close()
  }

  /** Says what could not be found out of the whole tree. */
  conclude(): void {
    if (this.#storages.some(isUntold))
      this.#note('what compressed extents share is stored once for each file: only root can tell them apart')
  }

  /** A directory that was not asked for, but something in it. */
  implied(parent: number, name: Uint8Array): Entry {
    return this.#entry(parent, name, 'directory', {})
  }

  /** The target directory itself. @throws SYSTEM_CALL */
  root(directory: Directory): Entry {
    const fd = this.#tree.fd(directory)
    return this.#entry(0, NO_NAME, 'directory', this.#capture(fd, statFd(fd), NO_NAME))
  }

  /** @param opened - the directory, where it can be opened @throws SYSTEM_CALL */
  directory({ parent, name, path, status }: Found, opened: Directory | undefined): Entry {
    const { numericOwner, onEntry } = this.#request
    const fd = opened && this.#tree.fd(opened)
    const metadata =
      fd === undefined ? plainMetadata(status, numericOwner) : this.#capture(fd, statFd(fd), path)
    onEntry(path, 0)
    return this.#entry(parent, name, 'directory', metadata)
  }

  /** A hard link, where the same inode came before; undefined for what is new. */
  link({ parent, name, path, status }: Found): Entry | undefined {
    const linkTo = this.#linkTo(status)
    if (!linkTo) return undefined
    this.#request.onEntry(path, 0)
    return this.#entry(parent, name, 'hardlink', { linkTo })
  }

  /** Whatever is neither file nor directory. @throws SYSTEM_CALL */
  *special({ parent, directory, name, path, status }: Found): Generator<ArchiveRecord, undefined, undefined> {
    const fd = openat(this.#tree.fd(directory), name, O_PATH | constants.O_NOFOLLOW)
    try {
      const opened = statFd(fd)
      const type = entryTypeOf(opened)
      if (!isSameFile(opened, status) || type !== entryTypeOf(status) || !type) return this.#replaced(path)
      const metadata = this.#capture(fd, opened, path)
      const entry = this.#entry(parent, name, type, metadata, opened.nlink > 1)
      this.#remember(opened, entry)
      yield entry
      this.#request.onEntry(path, 0)
    } finally {
      close(fd)
    }
    return undefined
  }

  /** A file with its extents and its end. @throws SYSTEM_CALL */
  async *file(found: Found): AsyncGenerator<ArchiveRecord, undefined, undefined> {
    const { parent, directory, name, path, status: seen } = found
    const fd = openat(this.#tree.fd(directory), name, OPEN_FILE)
    let clone: FileClone | undefined
    try {
      const opened = statFd(fd)
      if (!isSameFile(opened, seen) || typeOf(opened) !== S_IFREG) return this.#replaced(path)
      if (!Number.isSafeInteger(opened.size)) {
        const message = `left out: its size is ${opened.size} bytes, the limit is 2^53 - 1`
        return this.#problem('SOURCE_SKIPPED', path, message)
      }
      // First of all: for a file that the kernel makes up, it is a change.
      const captured = this.#capture(fd, opened, path)
      const file = await this.#files.examine(fd, opened, directory, name)
      const { reserved } = file
      clone = this.#snapshot(file, directory, captured)
      const status = clone?.status ?? file.status
      const metadata = {
        ...captured,
        ...plainMetadata(status, this.#request.numericOwner),
        ...(reserved !== undefined && { reserved }),
      }
      const entry = this.#entry(parent, name, 'file', metadata, status.nlink > 1)
      this.#remember(status, entry)
      yield entry
      yield* this.#content(this.#files.read(file, clone), path)
    } finally {
      if (clone) close(clone.fd)
      close(fd)
    }
    return undefined
  }

  #snapshot(file: ExaminedFile, directory: Directory, metadata: Metadata): FileClone | undefined {
    if (!this.#request.snapshot) return undefined
    try {
      return this.#files.clone(file, directory, metadata)
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      this.#note(`files are read as they are, without a snapshot: ${error.message}`)
      return undefined
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

  #entry(parent: number, name: Uint8Array, type: Entry['type'], metadata: Metadata, linked = false): Entry {
    this.#request.summary.entries++
    return { kind: 'entry', ordinal: ++this.#ordinal, parent, name, type, linked, metadata }
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
