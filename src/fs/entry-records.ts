import { constants } from 'node:fs'
import { type ErrorCode, ReftarError } from '../errors.js'
import type { ArchiveRecord, Entry, Metadata } from '../record.js'
import type { Steps } from '../steps.js'
import { O_PATH, openat } from '../sys/directory.js'
import { ELOOP } from '../sys/errno.js'
import { close, OPEN_FILE } from '../sys/file.js'
import { isSameFile, S_IFDIR, S_IFREG, type Status, statFd, typeOf } from '../sys/status.js'
import type { Directory, DirectoryTree } from './directory-tree.js'
import type { ExaminedFile } from './examined-files.js'
import type { OnFailure } from './extended-attributes.js'
import { type FileClone, FileRecords, type OpenFile } from './file-records.js'
import {
  captureExtras,
  type Extras,
  entryTypeOf,
  fullMetadata,
  hasContent,
  plainMetadata,
} from './metadata.js'
import { isUntold } from './shared-extents.js'
import { Sharing } from './sharing.js'
import { Storages } from './storages.js'
import type { TreeRequest } from './tree-request.js'

/** A name in a directory. */
export interface Found {
  /** The ordinal of the directory. */
  readonly parent: number
  /** Where it is looked up. */
  readonly directory: Directory
  readonly name: Uint8Array
  readonly path: Uint8Array
}

/** Whose status was asked for. */
export interface FoundEntry extends Found {
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
    this.#files = new FileRecords(tree, this.#sharing, request.summary)
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
  directory({ parent, name, path, status }: FoundEntry, opened: Directory | undefined): Entry {
    const { numericOwner, onEntry } = this.#request
    const fd = opened && this.#tree.fd(opened)
    const metadata =
      fd === undefined ? plainMetadata(status, numericOwner) : this.#capture(fd, statFd(fd), path)
    onEntry(path, 0)
    return this.#entry(parent, name, 'directory', metadata)
  }

  /** A hard link, where the same inode came before; undefined for what is new. */
  link({ parent, name, path }: Found, status: Status): Entry | undefined {
    const linkTo = this.#linkTo(status)
    if (!linkTo) return undefined
    this.#request.onEntry(path, 0)
    return this.#entry(parent, name, 'hardlink', { linkTo })
  }

  /** Whatever is neither file nor directory. @throws SYSTEM_CALL */
  *special({ parent, directory, name, path, status }: FoundEntry): Iterable<ArchiveRecord> {
    const fd = openat(this.#tree.fd(directory), name, O_PATH | constants.O_NOFOLLOW)
    try {
      const opened = statFd(fd)
      const type = entryTypeOf(opened)
      if (!isSameFile(opened, status) || type !== entryTypeOf(status) || !type) {
        this.replaced(path)
        return
      }
      const metadata = this.#capture(fd, opened, path)
      const entry = this.#entry(parent, name, type, metadata, opened.nlink > 1)
      this.#remember(opened, entry)
      yield entry
      this.#request.onEntry(path, 0)
    } finally {
      close(fd)
    }
  }

  /** As {@link file}, of what another thread found out about it; undefined where that is not enough. */
  examined({ parent, directory, name, path }: Found, file: ExaminedFile): ArchiveRecord[] | undefined {
    const { status, extras } = file
    const content = this.#files.recordsOf(file, directory, name)
    if (!content) return undefined
    const metadata = fullMetadata(status, extras, this.#request.numericOwner)
    const entry = this.#entry(parent, name, 'file', metadata)
    const { summary, onEntry } = this.#request
    summary.files++
    onEntry(path, status.size)
    return [entry, ...content]
  }

  /**
   * A file with its extents and its end, or a hard link to it. Returns false for what is no file.
   *
   * @param isWanted - asked when its status is known
   * @throws SYSTEM_CALL
   */
  *file(found: Found, isWanted: (status: Status) => boolean): Steps<ArchiveRecord, boolean> {
    const { parent, directory, name, path } = found
    const fd = openFile(this.#tree.fd(directory), name)
    if (fd === undefined) return false
    let clone: FileClone | undefined
    try {
      const opened = statFd(fd)
      if (typeOf(opened) !== S_IFREG) return false
      if (!isWanted(opened)) return true
      const link = this.link(found, opened)
      if (link) {
        yield link
        return true
      }
      if (!Number.isSafeInteger(opened.size)) {
        const message = `left out: its size is ${opened.size} bytes, the limit is 2^53 - 1`
        this.#problem('SOURCE_SKIPPED', path, message)
        return true
      }
      // First of all: for a file that the kernel makes up, it is a change.
      const extras = this.#extras(fd, opened, path)
      const file = yield* this.#files.examine(fd, opened, directory, name)
      clone = this.#snapshot(file, directory, extras)
      const status = clone?.status ?? file.status
      const metadata = fullMetadata(status, extras, this.#request.numericOwner)
      const { reserved } = file
      const whole = reserved === undefined ? metadata : { ...metadata, reserved }
      const entry = this.#entry(parent, name, 'file', whole, status.nlink > 1)
      this.#remember(status, entry)
      yield entry
      yield* this.#content(this.#files.read(file, clone), path)
      return true
    } finally {
      if (clone) close(clone.fd)
      close(fd)
    }
  }

  #snapshot(file: OpenFile, directory: Directory, extras: Extras): FileClone | undefined {
    if (!this.#request.snapshot) return undefined
    try {
      return this.#files.clone(file, directory, extras)
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      this.#note(`files are read as they are, without a snapshot: ${error.message}`)
      return undefined
    }
  }

  *#content(reading: ReturnType<FileRecords['read']>, path: Uint8Array): Steps<ArchiveRecord> {
    const { summary, onEntry } = this.#request
    const { size, isWhole, missing, failure } = yield* reading
    if (failure) this.#problem(failure.code, path, `could not be read to its end: ${failure.message}`)
    if (!isWhole) {
      summary.changed++
      if (!failure) this.#problem('SOURCE_CHANGED', path, 'changed while it was read')
    }
    if (missing > 0) this.#problem('SYSTEM_CALL', path, `${missing} bytes could not be read and are missing`)
    summary.files++
    onEntry(path, size)
  }

  #entry(parent: number, name: Uint8Array, type: Entry['type'], metadata: Metadata, linked = false): Entry {
    this.#request.summary.entries++
    return { kind: 'entry', ordinal: ++this.#ordinal, parent, name, type, linked, metadata }
  }

  #capture(fd: number, status: Status, path: Uint8Array): Metadata {
    const extras = this.#extras(fd, status, path)
    return fullMetadata(status, extras, this.#request.numericOwner)
  }

  #extras(fd: number, status: Status, path: Uint8Array): Extras {
    const onFailure: OnFailure = (what, error) =>
      this.#problem(error.code, path, `${what} could not be read: ${error.message}`)
    // What is open with O_PATH only cannot tell which filesystem it is on.
    const filesystem = hasContent(status) ? this.#storages.of(fd, status).type : 0
    return captureExtras(fd, status, filesystem, onFailure)
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

  replaced(path: Uint8Array): void {
    this.#problem('SOURCE_CHANGED', path, 'replaced while it was archived, so it is left out')
  }

  #problem(code: ErrorCode, path: Uint8Array, message: string): void {
    this.#request.onProblem(code, path, message)
  }

  /** Says once what holds for many. */
  #note(message: string): void {
    if (this.#noted.has(message)) return
    this.#noted.add(message)
    this.#request.onNote(message)
  }
}

/** Undefined for a symbolic link. @throws SYSTEM_CALL */
function openFile(directory: number, name: Uint8Array): number | undefined {
  try {
    return openat(directory, name, OPEN_FILE)
  } catch (error) {
    if (error instanceof ReftarError && error.errno === ELOOP) return undefined
    throw error
  }
}
