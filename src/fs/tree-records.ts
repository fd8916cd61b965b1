import { constants } from 'node:fs'
import { ReftarError, withPath } from '../errors.js'
import { quotePath } from '../event.js'
import { latin1, latin1Bytes } from '../format/latin1.js'
import type { ArchiveRecord } from '../record.js'
import type { Steps } from '../steps.js'
import { type DirectoryEntry, openat, readEntries } from '../sys/directory.js'
import { isSameFile, S_IFREG, type Status, statAt } from '../sys/status.js'
import { byName, entriesOf } from './directory-entries.js'
import { type Directory, DirectoryTree, pathOf } from './directory-tree.js'
import { EntryRecords, type Found, type FoundEntry } from './entry-records.js'
import { CACHEDIR_TAG, Exclusion, type IgnoreFiles } from './exclusion.js'
import { entryTypeOf } from './metadata.js'
import { ReadAhead } from './read-ahead.js'
import { type Selection, selectPaths } from './selection.js'
import type { TreeRequest } from './tree-request.js'

/** A directory in the middle of being walked. */
interface Frame {
  readonly directory: Directory
  readonly ordinal: number
  /** In the order of their names. */
  readonly entries: readonly DirectoryEntry[]
  at: number
  /** What was asked for by its name in it. */
  readonly selection: Selection | undefined
  /** All that is in it is wanted, not only that. */
  readonly isWhole: boolean
  readonly ignores: IgnoreFiles | undefined
  /** Of the path that was asked for; undefined above it. */
  readonly device: number | undefined
}

/** A name in a directory that is walked. */
interface Candidate extends Found {
  readonly frame: Frame
  /** Set where it was asked for by its name, or something below it was. */
  readonly selection: Selection | undefined
}

/** @throws INVALID_ARGUMENT at once, for paths that make no tree, and for an empty pattern */
export function treeRecords(paths: readonly Uint8Array[], request: TreeRequest): () => Steps<ArchiveRecord> {
  const selection = selectPaths(paths, () => request.onNote("leading '/' is left out of stored names"))
  const exclusion = new Exclusion(request.exclusion)
  return () => new TreeWalk(selection, exclusion, request).records()
}

const ROOT_PATH = new Uint8Array([0x2f])
const NO_NAME = new Uint8Array(0)
const CURRENT = Buffer.from('.')
const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY

/** Walks directories in the byte order of names, and decides what is left out. */
class TreeWalk {
  readonly #selection: Selection
  readonly #exclusion: Exclusion
  readonly #request: TreeRequest
  readonly #tree = new DirectoryTree('SOURCE_CHANGED')
  readonly #entries: EntryRecords
  readonly #roots = new Map<boolean, Directory>()
  /** Where nothing is left out or read in a way of its own: the other thread does not know of that. */
  readonly #readAhead: ReadAhead | undefined

  constructor(selection: Selection, exclusion: Exclusion, request: TreeRequest) {
    this.#selection = selection
    this.#exclusion = exclusion
    this.#request = request
    this.#entries = new EntryRecords(this.#tree, request)
    const { oneFileSystem, snapshot, paranoid } = request
    const isPlain = !(exclusion.isActive || request.exclusion.caches || oneFileSystem || snapshot || paranoid)
    if (isPlain) this.#readAhead = new ReadAhead()
  }

  *records(): Steps<ArchiveRecord> {
    try {
      const root = this.#rootFrame()
      if (this.#selection.whole) yield this.#entries.root(root.directory)
      const stack = [root]
      for (let frame = stack.at(-1); frame; frame = stack.at(-1)) {
        const entry = frame.entries[frame.at++]
        if (!entry) {
          stack.pop()
          this.#tree.leave(frame.directory)
          continue
        }
        const child = frame.selection?.children.get(entry.name)
        const parent = frame === root && child ? this.#root(child.absolute) : frame.directory
        const name = latin1Bytes(entry.name)
        const below =
          child && !child.whole && !frame.isWhole
            ? yield* this.#implied(frame, parent, name, child)
            : yield* this.#visit(frame, parent, entry, name, child)
        if (below) stack.push(below)
      }
      this.#entries.conclude()
    } finally {
      this.#entries.close()
      this.#tree.close()
      if (this.#readAhead) yield this.#readAhead.close()
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
    this.#lookAhead(directory)
    const frame = this.#wholeFrame(directory, NO_NAME, this.#selection, directory.inode.dev, undefined)
    return { ...frame, ordinal: 1 }
  }

  #lookAhead(directory: Directory): void {
    this.#readAhead?.begin(() => openat(this.#tree.fd(directory), CURRENT, OPEN_DIRECTORY))
  }

  /** A directory that was not asked for, or is left out, but for something below it. */
  *#implied(
    frame: Frame,
    directory: Directory,
    name: Uint8Array,
    selection: Selection,
  ): Steps<ArchiveRecord, Frame> {
    yield this.#entries.implied(frame.ordinal, name)
    return this.#selectedFrame(this.#tree.child(directory, name, true), selection)
  }

  /** Of a directory that was not asked for, but some of what is in it. */
  #selectedFrame(directory: Directory, selection: Selection): Frame {
    const entries = entriesOf(selection.children.keys())
    const { ordinal } = this.#entries
    return {
      directory,
      ordinal,
      entries,
      at: 0,
      selection,
      isWhole: false,
      ignores: undefined,
      device: undefined,
    }
  }

  #wholeFrame(
    directory: Directory,
    path: Uint8Array,
    selection: Selection | undefined,
    device: number,
    outer: IgnoreFiles | undefined,
  ): Frame {
    const fd = this.#tree.fd(directory)
    let entries = readEntries(fd)
    if (this.#exclusion.isCache(fd)) {
      const shown = path.byteLength === 0 ? 'the directory' : quotePath(path)
      this.#request.onNote(`${shown} is a cache, what is in it is left out`)
      const wanted = new Set([latin1(CACHEDIR_TAG), ...(selection?.children.keys() ?? [])])
      entries = entriesOf(wanted)
    }
    const ignores = this.#exclusion.ignoreFiles(fd, path, outer)
    const { ordinal } = this.#entries
    return {
      directory,
      ordinal,
      entries: entries.sort(byName),
      at: 0,
      selection,
      isWhole: true,
      ignores,
      device,
    }
  }

  /** One name and, of a directory, the frame of what is below. */
  *#visit(
    frame: Frame,
    directory: Directory,
    { name: text, type }: DirectoryEntry,
    name: Uint8Array,
    selection: Selection | undefined,
  ): Steps<ArchiveRecord, Frame | undefined> {
    const path = pathOf(directory, name)
    const found = { frame, parent: frame.ordinal, directory, name, path, selection }
    try {
      if (type === S_IFREG && (this.#isExcluded(found, false) || (yield* this.#knownFile(found, text))))
        return undefined
      const status = statAt(this.#tree.fd(directory), name)
      return yield* this.#entry({ ...found, status })
    } catch (error) {
      if (!(error instanceof ReftarError)) throw error
      const isGone = error.code === 'SOURCE_CHANGED'
      if (selection?.whole || !(isGone || error.errno !== undefined)) throw withPath(error, path)
      this.#request.onProblem(isGone ? error.code : 'SOURCE_SKIPPED', path, `left out: ${error.message}`)
    }
    return undefined
  }

  /** A file by its type in the directory; another thread may know it already. */
  *#knownFile(found: Candidate, name: string): Steps<ArchiveRecord, boolean> {
    const file = this.#readAhead?.take(found.directory, name)
    if (file && this.#isSkipped(file.status)) return true
    const records = file && this.#entries.examined(found, file)
    if (!records) return yield* this.#file(found)
    yield* records
    return true
  }

  #file(found: Candidate): Steps<ArchiveRecord, boolean> {
    return this.#entries.file(found, status => !this.#isSkipped(status))
  }

  #isSkipped(status: Status): boolean {
    const isSkipped = this.#request.isSkipped(status)
    if (isSkipped) this.#request.onNote('the archive itself is left out')
    return isSkipped
  }

  /** Of a name whose type only its status tells, or that is no file. */
  *#entry(found: Candidate & FoundEntry): Steps<ArchiveRecord, Frame | undefined> {
    const { frame, directory, name, path, status, selection } = found
    const type = entryTypeOf(status)
    if (this.#isExcluded(found, type === 'directory')) {
      return selection && !selection.whole
        ? yield* this.#implied(frame, directory, name, selection)
        : undefined
    }
    if (type === 'file') {
      if (!(yield* this.#file(found))) this.#entries.replaced(path)
      return undefined
    }
    if (!type) {
      this.#request.onNote(`${quotePath(path)}: a socket is not archived`)
      return undefined
    }
    if (type === 'directory') return yield* this.#directory(found)
    const link = this.#entries.link(found, status)
    if (link) yield link
    else yield* this.#entries.special(found)
    return undefined
  }

  #isExcluded({ frame, path, selection }: Candidate, isDirectory: boolean): boolean {
    const mayExclude = !selection?.whole && this.#exclusion.isActive
    return mayExclude && this.#exclusion.excludes(path, isDirectory, frame.ignores)
  }

  *#directory(found: Candidate & FoundEntry): Steps<ArchiveRecord, Frame | undefined> {
    const { frame, path, status, selection } = found
    const child = this.#open(found)
    yield this.#entries.directory(found, child)
    if (!child) return undefined
    const device = (selection?.whole ? undefined : frame.device) ?? status.dev
    if (!frame.isWhole) this.#lookAhead(child)
    if (!this.#request.oneFileSystem || status.dev === device)
      return this.#inside(path, () => this.#wholeFrame(child, path, selection, device, frame.ignores))
    this.#request.onNote(`${quotePath(path)} is on another filesystem, what is in it is left out`)
    if (selection && selection.children.size > 0) return this.#selectedFrame(child, selection)
    this.#tree.leave(child)
    return undefined
  }

  /** A directory, to look into it; undefined, and told, where it cannot be. */
  #open({ directory, name, path, status }: Candidate & FoundEntry): Directory | undefined {
    const child = this.#inside(path, () => this.#tree.child(directory, name))
    if (!child || isSameFile(child.inode, status)) return child
    this.#tree.leave(child)
    const message = 'replaced while it was archived, so what is in it is left out'
    this.#request.onProblem('SOURCE_CHANGED', path, message)
    return undefined
  }

  #inside<T>(path: Uint8Array, work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      this.#request.onProblem('SOURCE_SKIPPED', path, `what is in it is left out: ${error.message}`)
      return undefined
    }
  }
}
