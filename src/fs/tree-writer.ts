import { constants } from 'node:fs'
import { ReftarError, withPath } from '../errors.js'
import { quotePath } from '../event.js'
import { EntryPath, EntryPaths } from '../format/path.js'
import type { ArchiveRecord, End, Entry } from '../record.js'
import { linkat, mknodat, O_PATH, openat, symlinkat, unlinkat } from '../sys/directory.js'
import { close } from '../sys/file.js'
import { inodeOf, isSameFile, S_IFBLK, S_IFCHR, S_IFIFO, statAt, statFd } from '../sys/status.js'
import type { RestoredFile } from './clone-queue.js'
import { type Directory, pathOf } from './directory-tree.js'
import { EntryFinisher } from './entry-finisher.js'
import { FileWriter } from './file-writer.js'
import { MetadataWriter } from './metadata-writer.js'
import { type Place, Staging } from './staging.js'
import type { WriteRequest } from './write-request.js'

/** A directory that may still receive entries. */
interface OpenDirectory {
  readonly ordinal: number
  readonly entry: Entry | undefined
  readonly path: EntryPath
  readonly place: Place
}

const DEFAULT_FILE_MODE = 0o666
const PERMISSIONS = 0o777
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
  readonly #finisher: EntryFinisher
  #stack: OpenDirectory[]
  /** The file in hand. */
  #open: { readonly entry: Entry; readonly place: Place; readonly file: RestoredFile } | undefined
  /** Of the entry in hand. */
  #path = new EntryPath()

  /** @throws SYSTEM_CALL when the target cannot be opened */
  constructor(request: WriteRequest) {
    const { directory: target, existing, onNote, onProblem } = request
    this.#request = request
    this.#metadata = new MetadataWriter(request.policy, request)
    this.#staging = new Staging({ target, existing, onNote, onProblem })
    const { root, tree } = this.#staging
    this.#finisher = new EntryFinisher(this.#staging, this.#metadata, onProblem)
    this.#files = new FileWriter(tree, request, this.#metadata, file => this.#finisher.file(file))
    this.#stack = [{ ordinal: 0, entry: undefined, path: this.#path, place: root }]
  }

  /** @throws TARGET_EXISTS, TARGET_CHANGED, CLONE_REFUSED, SYSTEM_CALL, BAD_STRUCTURE, UNSAFE_NAME, DANGLING_REFERENCE */
  write(record: ArchiveRecord): void | Promise<void> {
    try {
      const writing = this.#write(record)
      return writing?.catch(error => {
        throw withPath(error, this.#path.bytes)
      })
    } catch (error) {
      throw withPath(error, this.#path.bytes)
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
    this.#finisher.finishLate()
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
    const path = this.#paths.of(entry)
    this.#path = path
    summary.entries++
    if (entry.type === 'directory') {
      const isRoot = entry.name.byteLength === 0
      const made = isRoot ? place : this.#staging.makeDirectory(place, entry.name)
      this.#stack.push({ ordinal: entry.ordinal, entry, path, place: made })
      onEntry(path.bytes, 0)
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
    onEntry(path.bytes, 0)
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
    this.#request.onProblem('CHECKSUM_MISMATCH', this.#path.bytes, 'is left out: a part of it is lost')
  }

  /** Makes whatever has no content. Returns false where it is left out. */
  #make(entry: Entry, directory: Directory, path: EntryPath): boolean {
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
      this.#metadata.finishSpecial(special, fd, name, status, metadata, () => path.bytes)
    } finally {
      close(special)
    }
    return true
  }

  #makeNode(entry: Entry, directory: number, path: EntryPath): boolean {
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
      this.#request.onProblem(error.code, path.bytes, `is left out: ${error.message}`)
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

  #leave(): void {
    const left = this.#stack.pop()
    if (!left?.entry) return
    const { entry, path, place } = left
    const isNamed = entry.metadata.mode !== undefined && entry.name.byteLength > 0
    const isOurs = !place.existing || (this.#request.existing === 'overwrite' && isNamed)
    if (isOurs) this.#finisher.directory(entry, place, path)
    const { directory } = place
    if (directory !== this.#stack.at(-1)?.place.directory) this.#staging.tree.leave(directory)
  }
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
