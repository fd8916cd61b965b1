import { constants } from 'node:fs'
import { caught, ReftarError, withPath } from '../errors.js'
import { quotePath } from '../event.js'
import { latin1, latin1Bytes } from '../format/latin1.js'
import { EntryPath, EntryPaths } from '../format/path.js'
import type { ArchiveRecord, End, Entry, EntryType } from '../record.js'
import { linkat, makedev, mknodat, O_PATH, openat, symlinkat, unlinkat } from '../sys/directory.js'
import { close } from '../sys/file.js'
import { FUSE, filesystemOf } from '../sys/filesystem.js'
import { isSameFile, S_IFBLK, S_IFCHR, S_IFIFO, statAt, statFd } from '../sys/status.js'
import { type Directory, pathOf } from './directory-tree.js'
import { checkName, needed } from './entry-checks.js'
import { EntryFinisher } from './entry-finisher.js'
import { FileWriter } from './file-writer.js'
import { MetadataWriter } from './metadata-writer.js'
import { RestoredFile } from './restored-file.js'
import { type Place, Staging } from './staging.js'
import type { WriteRequest } from './write-request.js'

/** A directory that may still receive entries. */
interface OpenDirectory {
  readonly entry: Entry
  readonly path: EntryPath
  readonly place: Place
}

/** A file that has not yet ended. */
interface OpenFile {
  readonly entry: Entry
  readonly place: Place
  readonly file: RestoredFile
}

const DEFAULT_FILE_MODE = 0o666
const PERMISSIONS = 0o777
const NODE_TYPES = { characterDevice: S_IFCHR, blockDevice: S_IFBLK, fifo: S_IFIFO } as const
type NodeType = keyof typeof NODE_TYPES

/** Records to files, in staging directories; nothing shows until {@link TreeWriter.publish}. */
export class TreeWriter {
  readonly #request: WriteRequest
  readonly #staging: Staging
  readonly #metadata: MetadataWriter
  readonly #files: FileWriter
  readonly #paths = new EntryPaths()
  /** What hard links can name; undefined where that was left out. */
  readonly #linked = new Map<number, RestoredFile | undefined>()
  /** Of these, what was left out for it is damaged. */
  readonly #lost = new Set<number>()
  readonly #links: {
    readonly first: RestoredFile
    readonly directory: Directory
    readonly name: string
  }[] = []
  readonly #finisher: EntryFinisher
  readonly #stack: OpenDirectory[] = []
  /** The file in hand. */
  #open: OpenFile | undefined
  /** Of the entry in hand. */
  #path = new EntryPath()

  /** @throws SYSTEM_CALL when the target cannot be opened */
  constructor(request: WriteRequest) {
    const { directory: target, existing, onNote, onProblem } = request
    this.#request = request
    this.#metadata = new MetadataWriter(request.policy, request)
    this.#staging = new Staging({ target, existing, onNote, onProblem })
    this.#finisher = new EntryFinisher(this.#staging, this.#metadata, onProblem)
    const { tree, root } = this.#staging
    this.#files = new FileWriter(tree, root.directory, request, this.#metadata, file =>
      this.#finisher.file(file),
    )
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
    if (record.kind === 'entry') {
      const settling = this.#settleLinked(record)
      return settling ? settling.then(() => this.#entry(record)) : this.#entry(record)
    }
    return record.kind === 'end' ? this.#end(record) : this.#files.write(record)
  }

  /** Makes all clones that wait, finishes every file, and gives everything its name. */
  async publish(): Promise<void> {
    if (this.#files.isOpen)
      throw new ReftarError('BAD_STRUCTURE', 'the records end before the last file does')
    await this.#files.flush()
    // What is open while its name is removed stays under a hidden one, on NFS and FUSE.
    this.#files.close()
    this.#leaveFrom(0)
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
  close(): void | Promise<void> {
    const writing = this.#files.abandon()
    if (writing) return writing.then(() => this.#close())
    this.#close()
  }

  #close(): void {
    this.#files.close()
    this.#staging.close()
  }

  /** To FUSE, two names can be two files: the second keeps the size that the first has when it is made. */
  #settleLinked({ type, metadata }: Entry): Promise<void> | undefined {
    const first = type === 'hardlink' ? this.#linked.get(metadata.linkTo ?? 0) : undefined
    if (first?.fd === undefined || filesystemOf(first.fd).type !== FUSE) return undefined
    return this.#files.flush()
  }

  #entry(entry: Entry): void {
    const { summary, onEntry } = this.#request
    if (this.#files.isOpen)
      throw new ReftarError('BAD_STRUCTURE', `entry ${entry.ordinal} begins before a file ends`)
    checkName(entry)
    const place = this.#placeOf(entry)
    const { type } = entry
    const path = this.#paths.of(entry)
    this.#path = path
    summary.entries++
    if (type === 'directory') {
      const isRoot = entry.name.byteLength === 0
      const made = isRoot ? place : this.#staging.makeDirectory(place, entry.name)
      this.#stack.push({ entry, path, place: made })
      onEntry(path.bytes, 0)
      return
    }
    const directory = this.#staging.directoryFor(place)
    if (type === 'file') {
      const file = this.#files.create(entry, directory, path)
      if (entry.linked) this.#linked.set(entry.ordinal, file)
      this.#open = { entry, place, file }
      // Before its content comes: what is in the way is in the way of all of it.
      this.#staging.check(place, entry.name)
      return
    }
    if (!this.#make(entry, type, directory, path)) return
    onEntry(path.bytes, 0)
    this.#staging.check(place, entry.name)
    this.#staging.made(place, entry.name)
  }

  #end(end: End): void | Promise<void> {
    const open = this.#open
    if (!open) throw new ReftarError('BAD_STRUCTURE', 'an end outside of a file')
    this.#open = undefined
    const writing = this.#files.write(end)
    if (writing) return writing.then(() => this.#ended(open, end))
    this.#ended(open, end)
  }

  #ended({ entry, place, file }: OpenFile, end: End): void {
    if (end.state !== 'lost') {
      this.#staging.made(place, entry.name)
      return
    }
    this.#staging.setAside(file, entry.ordinal)
    this.#files.moved(file)
    if (entry.linked) {
      this.#linked.set(entry.ordinal, undefined)
      this.#lost.add(entry.ordinal)
    }
    this.#request.onProblem('CHECKSUM_MISMATCH', this.#path.bytes, 'is left out: a part of it is lost')
  }

  /** Makes whatever has no content. Returns false where it is left out. */
  #make(
    entry: Entry,
    type: Exclude<EntryType, 'file' | 'directory'>,
    directory: Directory,
    path: EntryPath,
  ): boolean {
    const { name, metadata } = entry
    const { tree } = this.#staging
    if (type === 'hardlink') return this.#link(entry, directory)
    const fd = tree.fd(directory)
    if (type === 'symlink') symlinkat(needed(entry, metadata.linkTarget), fd, name)
    else if (!this.#makeNode(entry, type, fd, path)) return false
    const special = openat(fd, name, O_PATH | constants.O_NOFOLLOW)
    try {
      const status = statFd(special)
      if (entry.linked) {
        const file = new RestoredFile(directory, latin1(name))
        file.identify(status)
        this.#linked.set(entry.ordinal, file)
      }
      this.#metadata.finishSpecial(special, fd, name, status, metadata, () => path.bytes)
    } finally {
      close(special)
    }
    return true
  }

  #makeNode(entry: Entry, type: NodeType, directory: number, path: EntryPath): boolean {
    const { name, metadata, ordinal, linked } = entry
    const leaveOut = () => {
      if (linked) this.#linked.set(ordinal, undefined)
      return false
    }
    if (type !== 'fifo' && !this.#request.devices) {
      this.#metadata.note('device nodes are left out')
      return leaveOut()
    }
    const device = type === 'fifo' ? 0 : makedev(needed(entry, metadata.device))
    const mode = this.#metadata.modeOf((metadata.mode ?? DEFAULT_FILE_MODE) & PERMISSIONS)
    try {
      mknodat(directory, name, NODE_TYPES[type] | mode, device)
      return true
    } catch (error) {
      const { code, message } = caught(error)
      this.#request.onProblem(code, path.bytes, `is left out: ${message}`)
      return leaveOut()
    }
  }

  /** Returns false where what it links to was left out. */
  #link(entry: Entry, directory: Directory): boolean {
    const linkTo = needed(entry, entry.metadata.linkTo)
    const first = this.#linked.get(linkTo)
    if (this.#lost.has(linkTo)) {
      const message = 'is left out: a part of the file that it is a name of is lost'
      this.#request.onProblem('CHECKSUM_MISMATCH', this.#path.bytes, message)
    }
    if (!first && this.#linked.has(linkTo)) return false
    if (!first)
      throw new ReftarError('BAD_STRUCTURE', `entry ${entry.ordinal} is a hard link to an unknown entry`)
    const { tree } = this.#staging
    const from = tree.fd(first.directory)
    const to = tree.fd(directory)
    const firstName = latin1Bytes(first.name)
    linkat(from, firstName, to, entry.name)
    if (isSameFile(statAt(to, entry.name), first)) {
      this.#links.push({ first, directory, name: latin1(entry.name) })
      return true
    }
    unlinkat(to, entry.name)
    throw new ReftarError('TARGET_CHANGED', `${quotePath(pathOf(first.directory, firstName))} was replaced`)
  }

  /** Where an entry goes; leaves the directories that it is not in. @throws BAD_STRUCTURE */
  #placeOf({ ordinal, parent }: Entry): Place {
    this.#leaveFrom(this.#stack.findLastIndex(({ entry }) => entry.ordinal === parent) + 1)
    const open = this.#stack.at(-1)
    if (open) return open.place
    if (parent === 0) return this.#staging.root
    throw new ReftarError('BAD_STRUCTURE', `entry ${ordinal} has a parent that is not open`)
  }

  /** Leaves the directories from a depth on, innermost first. */
  #leaveFrom(depth: number): void {
    for (const left of this.#stack.splice(depth).reverse()) this.#leave(left)
  }

  #leave({ entry, path, place }: OpenDirectory): void {
    const isNamed = entry.metadata.mode !== undefined && entry.name.byteLength > 0
    const isOurs = !place.existing || (this.#request.existing === 'overwrite' && isNamed)
    if (isOurs) this.#finisher.directory(entry, place, path)
    this.#staging.tree.leave(place.directory)
  }
}
