import { constants } from 'node:fs'
import { ReftarError, withPath } from '../errors.js'
import { quotePath } from '../event.js'
import { EntryPaths } from '../format/path.js'
import type { ArchiveRecord, End, Entry, Metadata } from '../record.js'
import { linkat, mknodat, O_PATH, openat, symlinkat, unlinkat } from '../sys/directory.js'
import { close } from '../sys/file.js'
import { type Inode, inodeOf, isSameFile, S_IFBLK, S_IFCHR, S_IFIFO, statAt, statFd } from '../sys/status.js'
import type { RestoredFile } from './clone-queue.js'
import { type Directory, pathOf } from './directory-tree.js'
import { FileWriter, type FinishedFile } from './file-writer.js'
import { MetadataWriter } from './metadata-writer.js'
import { type Place, Staging } from './staging.js'
import type { WriteRequest } from './write-request.js'

/** A directory that may still receive entries. */
interface OpenDirectory {
  readonly ordinal: number
  readonly entry: Entry | undefined
  readonly path: Uint8Array
  readonly place: Place
}

/** What is done once everything has its name. */
interface LateWork {
  readonly directory: Directory
  readonly name: Uint8Array
  readonly inode: Inode
  readonly path: Uint8Array
  readonly work: (fd: number) => void
}

const DEFAULT_FILE_MODE = 0o666
const DEFAULT_DIRECTORY_MODE = 0o777
const PERMISSIONS = 0o777
const STICKY = 0o1000
const OWNER_CAN_READ = 0o400
const OWNER_CAN_SEARCH = 0o500
const OPEN = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
const DEVICE_TYPES = { characterDevice: S_IFCHR, blockDevice: S_IFBLK, fifo: S_IFIFO } as const

/** Records to files, in staging directories; nothing shows until {@link TreeWriter.publish}. */
export class TreeWriter {
  readonly #request: WriteRequest
  readonly #staging: Staging
  readonly #metadata: MetadataWriter
  readonly #files: FileWriter
  readonly #paths = new EntryPaths()
  /** What hard links can name; undefined where that was left out. */
  readonly #linked = new Map<number, RestoredFile | undefined>()
  readonly #links: {
    readonly first: RestoredFile
    readonly directory: Directory
    readonly name: Uint8Array
  }[] = []
  readonly #lateFiles: LateWork[] = []
  /** Each after those in it. */
  readonly #lateDirectories: LateWork[] = []
  #stack: OpenDirectory[]
  /** The file in hand. */
  #open: { readonly entry: Entry; readonly place: Place; readonly file: RestoredFile } | undefined
  /** Of the entry in hand. */
  #path: Uint8Array = new Uint8Array(0)

  /** @throws SYSTEM_CALL when the target cannot be opened */
  constructor(request: WriteRequest) {
    const { directory: target, existing, onNote, onProblem } = request
    this.#request = request
    this.#metadata = new MetadataWriter(request.policy, request)
    this.#staging = new Staging({ target, existing, onNote, onProblem })
    const { root, tree } = this.#staging
    this.#files = new FileWriter(tree, request, this.#metadata, finished => this.#finishFile(finished))
    this.#stack = [{ ordinal: 0, entry: undefined, path: this.#path, place: root }]
  }

  /** @throws TARGET_EXISTS, TARGET_CHANGED, CLONE_REFUSED, SYSTEM_CALL, BAD_STRUCTURE, UNSAFE_NAME, DANGLING_REFERENCE */
  write(record: ArchiveRecord): void | Promise<void> {
    try {
      const writing = this.#write(record)
      return writing?.catch(error => {
        throw withPath(error, this.#path)
      })
    } catch (error) {
      throw withPath(error, this.#path)
    }
  }

  #write(record: ArchiveRecord): void | Promise<void> {
    if (record.kind === 'entry') return this.#entry(record)
    return record.kind === 'end' ? this.#end(record) : this.#files.write(record)
  }

  /** Makes all clones that wait, finishes every file, and gives everything its name. */
  async publish(): Promise<void> {
    if (this.#files.isOpen)
      throw new ReftarError('BAD_STRUCTURE', 'the records end before the last file does')
    await this.#files.flush()
    while (this.#stack.length > 1) this.#leave()
    if (this.#request.fsync) await this.#staging.sync()
    this.#staging.publish()
    for (const late of [...this.#lateFiles, ...this.#lateDirectories]) this.#finishLate(late)
    if (this.#request.fsync) await this.#staging.sync()
  }

  /** After an error: publishes the entries that are whole. */
  async publishPart(): Promise<void> {
    if (this.#staging.isPublished) return
    const dropped = new Set(await this.#files.discard())
    for (const { directory, name } of dropped) this.#staging.unmake(directory, name)
    for (const { first, directory, name } of this.#links) {
      if (dropped.has(first)) this.#staging.unmake(directory, name)
    }
    await this.publish()
  }

  /** Rolls back what was not published, and lets go of everything. */
  close(): void {
    this.#files.close()
    this.#staging.close()
  }

  #entry(entry: Entry): void {
    const { summary, onEntry } = this.#request
    if (this.#files.isOpen)
      throw new ReftarError('BAD_STRUCTURE', `entry ${entry.ordinal} begins before a file ends`)
    checkName(entry)
    while (this.#stack.length > 1 && this.#stack.at(-1)?.ordinal !== entry.parent) this.#leave()
    const { ordinal, place } = this.#stack.at(-1) as OpenDirectory
    if (ordinal !== entry.parent) {
      throw new ReftarError('BAD_STRUCTURE', `entry ${entry.ordinal} has a parent that is not open`)
    }
    const path = this.#paths.pathOf(entry)
    this.#path = path
    summary.entries++
    if (entry.type === 'directory') {
      const isRoot = entry.name.byteLength === 0
      const made = isRoot ? place : this.#staging.makeDirectory(place, entry.name)
      this.#stack.push({ ordinal: entry.ordinal, entry, path, place: made })
      onEntry(path, 0)
      return
    }
    const directory = this.#staging.directoryFor(place)
    if (entry.type === 'file') {
      const file = this.#files.create(entry, directory, path)
      if (entry.linked) this.#linked.set(entry.ordinal, file)
      this.#open = { entry, place, file }
      // Before its content comes: what is in the way is in the way of all of it.
      this.#staging.check(place, entry.name)
      return
    }
    if (!this.#make(entry, directory, path)) return
    onEntry(path, 0)
    this.#staging.made(place, entry.name)
  }

  #end(end: End): void {
    const open = this.#open
    this.#files.write(end)
    if (!open) return
    const { entry, place, file } = open
    this.#open = undefined
    if (end.state !== 'lost') {
      this.#staging.made(place, entry.name)
      return
    }
    this.#staging.setAside(file, entry.ordinal)
    if (entry.linked) this.#linked.set(entry.ordinal, undefined)
    this.#request.onProblem('CHECKSUM_MISMATCH', this.#path, 'is left out: a part of it is lost')
  }

  /** Makes whatever has no content. Returns false where it is left out. */
  #make(entry: Entry, directory: Directory, path: Uint8Array): boolean {
    const { name, type, metadata } = entry
    const { tree } = this.#staging
    if (type === 'hardlink') return this.#link(entry, directory)
    const fd = tree.fd(directory)
    if (type === 'symlink') symlinkat(metadata.linkTarget ?? new Uint8Array(0), fd, name)
    else if (!this.#makeNode(entry, fd, path)) return false
    const special = openat(fd, name, O_PATH | constants.O_NOFOLLOW)
    try {
      const status = statFd(special)
      if (entry.linked)
        this.#linked.set(entry.ordinal, { directory, name, inode: inodeOf(status), written: 0 })
      this.#metadata.finishSpecial(special, fd, name, status, metadata, () => path)
    } finally {
      close(special)
    }
    return true
  }

  #makeNode(entry: Entry, directory: number, path: Uint8Array): boolean {
    const { name, type, metadata, ordinal, linked } = entry
    if (type !== 'fifo' && type !== 'characterDevice' && type !== 'blockDevice') return false
    const leaveOut = () => {
      if (linked) this.#linked.set(ordinal, undefined)
      return false
    }
    if (type !== 'fifo' && !this.#request.devices) {
      this.#metadata.note('device nodes are left out')
      return leaveOut()
    }
    const { major = 0, minor = 0 } = metadata.device ?? {}
    const mode = this.#metadata.modeOf((metadata.mode ?? DEFAULT_FILE_MODE) & PERMISSIONS)
    try {
      mknodat(directory, name, DEVICE_TYPES[type] | mode, deviceNumber(major, minor))
      return true
    } catch (error) {
      if (!(error instanceof ReftarError)) throw error
      this.#request.onProblem(error.code, path, `is left out: ${error.message}`)
      return leaveOut()
    }
  }

  /** Returns false where what it links to was left out. */
  #link(entry: Entry, directory: Directory): boolean {
    const { linkTo = 0 } = entry.metadata
    const first = this.#linked.get(linkTo)
    if (!first && this.#linked.has(linkTo)) return false
    if (!first)
      throw new ReftarError('BAD_STRUCTURE', `entry ${entry.ordinal} is a hard link to an unknown entry`)
    const { tree } = this.#staging
    const from = tree.fd(first.directory)
    const to = tree.fd(directory)
    linkat(from, first.name, to, entry.name)
    if (isSameFile(statAt(to, entry.name), first.inode)) {
      this.#links.push({ first, directory, name: entry.name })
      return true
    }
    unlinkat(to, entry.name)
    throw new ReftarError('TARGET_CHANGED', `${quotePath(pathOf(first.directory, first.name))} was replaced`)
  }

  #finishFile({ entry, file, fd, status, path }: FinishedFile): void {
    const { directory, name, inode } = file
    this.#finish(entry, fd, status, path, OWNER_CAN_READ, work =>
      this.#lateFiles.push({ directory, name, inode, path, work }),
    )
  }

  #leave(): void {
    const left = this.#stack.pop()
    if (!left?.entry) return
    const { directory, existing } = left.place
    const { tree } = this.#staging
    const { entry, path } = left
    const isCaptured = entry.metadata.mode !== undefined
    const isOurs =
      !existing || (this.#request.existing === 'overwrite' && isCaptured && entry.name.byteLength > 0)
    if (isOurs) {
      const metadata = isCaptured ? entry.metadata : this.#newDirectory(entry.metadata)
      const { name, inode } = directory
      const later = (work: LateWork['work']) =>
        this.#lateDirectories.push({ directory, name, inode, path, work })
      const finish = (fd: number) =>
        this.#finish(
          { ...entry, metadata },
          fd,
          statFd(fd),
          path,
          OWNER_CAN_SEARCH,
          later,
          existing ? 'finishExisting' : 'finish',
        )
      // A directory that may not be written cannot be moved, and one that exists still gets new names.
      if (existing || this.#staging.isStaged(directory)) later(finish)
      else finish(tree.fd(directory))
    }
    if (directory !== this.#stack.at(-1)?.place.directory) tree.leave(directory)
  }

  /**
   * Sets the metadata of a file or directory; what has to wait goes to `later`.
   *
   * @param needed - the permissions that this very process needs to come back to it
   */
  #finish(
    entry: Entry,
    fd: number,
    status: ReturnType<typeof statFd>,
    path: Uint8Array,
    needed: number,
    later: (work: LateWork['work']) => void,
    finish: 'finish' | 'finishExisting' = 'finish',
  ): void {
    const { metadata } = entry
    const { mode } = metadata
    const isModeLate = mode !== undefined && (mode & needed) !== needed && process.geteuid?.() !== 0
    const now: Metadata = isModeLate && !this.#staging.isPublished ? withoutMode(metadata) : metadata
    const late = this.#metadata[finish](fd, status, now, () => path)
    if (late && this.#staging.isPublished) this.#metadata.finishLate(fd, late, () => path)
    else if (late) later(fd => this.#metadata.finishLate(fd, late, () => path))
    if (now !== metadata && mode !== undefined) {
      const last = this.#metadata.modeOf(mode & (PERMISSIONS | STICKY))
      later(fd => this.#metadata.finishMode(fd, last, () => path))
    }
  }

  /** What goes wrong from here on is told: everything has its name already. */
  #finishLate(late: LateWork): void {
    if (this.#staging.isDropped(late.directory, late.name)) return
    try {
      this.#tryFinishLate(late)
    } catch (error) {
      if (!(error instanceof ReftarError)) throw error
      this.#request.onProblem(error.code, late.path, `is not finished: ${error.message}`)
    }
  }

  #tryFinishLate({ directory, name, inode, path, work }: LateWork): void {
    const { tree } = this.#staging
    const isDirectory = isSameFile(directory.inode, inode)
    const fd = isDirectory
      ? tree.fd(directory)
      : openat(tree.fd(this.#staging.placeOf(directory)), name, OPEN)
    try {
      if (!isSameFile(statFd(fd), inode)) {
        throw new ReftarError('TARGET_CHANGED', 'it was replaced while it was published', { path })
      }
      work(fd)
    } finally {
      if (!isDirectory) close(fd)
      else tree.leave(directory)
    }
  }

  /** An implied directory gets the mode that a new one has. */
  #newDirectory(metadata: Metadata): Metadata {
    return { ...metadata, mode: this.#metadata.defaultMode(DEFAULT_DIRECTORY_MODE) }
  }
}

function withoutMode({ mode, ...rest }: Metadata): Metadata {
  return rest
}

/** Whatever the stages before have let through: only one component stays inside its directory. @throws UNSAFE_NAME */
function checkName({ ordinal, name, type }: Entry): void {
  const text = Buffer.from(name).toString('latin1')
  if (text === '' && ordinal === 1 && type === 'directory') return
  if (text !== '' && text !== '.' && text !== '..' && !/[/\0]/.test(text)) return
  throw new ReftarError('UNSAFE_NAME', `entry ${ordinal} is named ${quotePath(name)}`, { path: name })
}

/** As makedev(3) packs it. */
function deviceNumber(major: number, minor: number): number {
  const high = (BigInt(major) & 0xfffff000n) << 32n
  const low =
    ((BigInt(major) & 0xfffn) << 8n) | (BigInt(minor) & 0xffn) | ((BigInt(minor) & 0xffffff00n) << 12n)
  return Number(high | low)
}
