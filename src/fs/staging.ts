import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type ErrorCode, ReftarError } from '../errors.js'
import { quotePath } from '../event.js'
import {
  AT_REMOVEDIR,
  mkdirat,
  readDirectory,
  renameExchange,
  renameNoReplace,
  unlinkat,
} from '../sys/directory.js'
import { EEXIST, ENOENT } from '../sys/errno.js'
import { changeMode, setModified, syncFilesystem } from '../sys/file.js'
import { isSameFile, S_IFDIR, type Status, statAt, statFd, typeOf } from '../sys/status.js'
import type { RestoredFile } from './clone-queue.js'
import { type Directory, DirectoryTree, pathOf } from './directory-tree.js'
import { PERMISSIONS } from './metadata.js'
import { removeTree } from './remove-tree.js'

/** What becomes of names that exist in the target: it fails, they stay, or they are replaced. */
export type Existing = 'refuse' | 'keep' | 'overwrite'

/** A directory of the archive, in the target. */
export interface Place {
  readonly directory: Directory
  /** It was there before this run, so what is new in it is staged. */
  readonly existing: boolean
}

/** A new name that waits in a staging directory. */
interface Publication {
  readonly staging: Directory
  readonly target: Directory
  readonly name: Uint8Array
  /** Set for a directory. */
  readonly directory?: Directory
}

export interface StagingRequest {
  readonly target: Uint8Array
  readonly existing: Existing
  readonly onNote: (message: string) => void
  readonly onProblem: (code: ErrorCode, path: Uint8Array, message: string) => void
}

const PREFIX = '.reftar-'
const PRIVATE = 0o700

/**
 * Everything new is made in private directories inside the existing ones that will receive it, because a rename out
 * of one can fail between subvolumes and projects; then published by renames that replace nothing, or that put what
 * was there in the place of what is new.
 */
export class Staging {
  readonly tree = new DirectoryTree('TARGET_CHANGED')
  readonly root: Place
  readonly #request: StagingRequest
  /** By the directory that will receive; until they are removed. */
  readonly #directories = new Map<Directory, Directory>()
  readonly #everStaging = new Set<Directory>()
  readonly #publications: Publication[] = []
  /** Names, by their identity, that stay in their staging directory until that goes. */
  readonly #dropped = new Set<Uint8Array>()
  #isPublished = false

  /** @throws SYSTEM_CALL when the target cannot be opened */
  constructor(request: StagingRequest) {
    this.#request = request
    this.root = { directory: this.tree.root(request.target), existing: true }
  }

  get isPublished(): boolean {
    return this.#isPublished
  }

  /** Where to make a new name that is no directory; {@link Staging.made} is told once it is there. @throws SYSTEM_CALL */
  directoryFor(place: Place): Directory {
    return place.existing ? this.#stagingIn(place.directory) : place.directory
  }

  /** @throws TARGET_EXISTS for a name that is in the way */
  check(place: Place, name: Uint8Array): void {
    if (!place.existing || this.#request.existing !== 'refuse') return
    if (this.#find(place, name)) throw exists(place, name)
  }

  /** A name was made where {@link Staging.directoryFor} says. @throws TARGET_EXISTS */
  made(place: Place, name: Uint8Array): void {
    if (!place.existing) return
    const found = this.#find(place, name)
    if (found && this.#isKept(place, name, found)) {
      this.#dropped.add(name)
      return
    }
    this.#publications.push({ staging: this.#stagingIn(place.directory), target: place.directory, name })
  }

  /**
   * Moves a file that is not to be published out of the directory that is, where others can still refer to it.
   *
   * @throws SYSTEM_CALL
   */
  setAside(file: RestoredFile, ordinal: number): void {
    let staging = file.directory
    while (staging.parent && !this.#isStagingDirectory(staging)) staging = staging.parent
    const name = Buffer.from(`${PREFIX}lost-${ordinal}`)
    renameNoReplace(this.tree.fd(file.directory), file.name, this.tree.fd(staging), name)
    file.directory = staging
    file.name = name
    this.#dropped.add(name)
  }

  /** Whether what was made under a name is not published. */
  isDropped(directory: Directory, name: Uint8Array): boolean {
    if (this.#dropped.has(name)) return true
    for (let at: Directory | undefined = directory; at; at = at.parent)
      if (this.#dropped.has(at.name)) return true
    return false
  }

  /** Takes back what was made; its directory, which may be finished, stays as it is. @throws SYSTEM_CALL */
  unmake(directory: Directory, name: Uint8Array): void {
    const fd = this.tree.fd(directory)
    const { mode, modified } = statFd(fd)
    changeMode(fd, PRIVATE)
    unlinkat(fd, name)
    changeMode(fd, mode & PERMISSIONS)
    setModified(fd, modified)
    const at = this.#publications.findIndex(made => made.staging === directory && made.name === name)
    if (at !== -1) this.#publications.splice(at, 1)
  }

  /** Makes a directory, or takes the one that is there. @throws TARGET_EXISTS, SYSTEM_CALL */
  makeDirectory(place: Place, name: Uint8Array): Place {
    if (!place.existing) return this.#make(place.directory, name)
    const found = this.#find(place, name)
    if (found && typeOf(found) === S_IFDIR)
      return { directory: this.tree.child(place.directory, name), existing: true }
    const isKept = found !== undefined && this.#isKept(place, name, found)
    const staging = this.#stagingIn(place.directory)
    const made = this.#make(staging, name)
    const { directory } = made
    if (isKept) this.#dropped.add(name)
    else this.#publications.push({ staging, target: place.directory, name, directory })
    return made
  }

  /** Whether a directory waits in a staging directory for its own place. */
  isStaged(directory: Directory): boolean {
    return this.#isStagingDirectory(directory.parent)
  }

  /** Where what was made in a directory is once everything is published. */
  placeOf(directory: Directory): Directory {
    return this.#isStagingDirectory(directory) ? (directory.parent as Directory) : directory
  }

  /** Gives every new name its place, or none of them. @throws TARGET_EXISTS, SYSTEM_CALL */
  publish(): void {
    const done: (() => void)[] = []
    try {
      for (const publication of this.#publications) done.push(this.#publish(publication))
    } catch (error) {
      for (const undo of done.reverse()) undo()
      throw error
    }
    this.#isPublished = true
    for (const { directory, target } of this.#publications) if (directory) directory.parent = target
    this.#removeStaging()
  }

  /** Writes back every filesystem that was written to. @throws SYSTEM_CALL */
  async sync(): Promise<void> {
    const synced = new Set<number>()
    for (const directory of [this.root.directory, ...this.#targets]) {
      if (synced.has(directory.inode.dev)) continue
      synced.add(directory.inode.dev)
      await syncFilesystem(this.tree.fd(directory))
    }
  }

  /** Removes what was not published, and lets go of everything. */
  close(): void {
    this.#removeStaging()
    this.tree.close()
  }

  get #targets(): Directory[] {
    return [...new Set(this.#publications.map(({ target }) => target))]
  }

  /** Returns what takes it back. */
  #publish({ staging, target, name }: Publication): () => void {
    const rename = (work: typeof renameNoReplace, from: Directory, to: Directory) => {
      const fromFd = this.tree.fd(from)
      work(fromFd, name, this.tree.fd(to), name)
    }
    try {
      rename(renameNoReplace, staging, target)
      return () => rename(renameNoReplace, target, staging)
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno !== EEXIST) throw error
    }
    const place: Place = { directory: target, existing: true }
    const found = this.#find(place, name)
    if (this.#request.existing !== 'overwrite' || (found && typeOf(found) === S_IFDIR)) {
      throw exists(place, name)
    }
    rename(renameExchange, staging, target)
    const replaced = this.#find({ directory: staging, existing: true }, name)
    if (!found || !replaced || !isSameFile(replaced, found)) {
      // Somebody else's, that would go with the staging directory.
      rename(renameExchange, target, staging)
      throw new ReftarError('TARGET_CHANGED', 'it was replaced while it was published', {
        path: pathOf(target, name),
      })
    }
    return () => rename(renameExchange, target, staging)
  }

  /** Of a name that is taken: whether what is new is dropped for it. @throws TARGET_EXISTS */
  #isKept(place: Place, name: Uint8Array, found: Status): boolean {
    const { existing, onProblem } = this.#request
    if (existing === 'overwrite' && typeOf(found) !== S_IFDIR) return false
    if (existing !== 'keep') throw exists(place, name)
    onProblem('TARGET_EXISTS', pathOf(place.directory, name), 'is already there, and is kept')
    return true
  }

  #removeStaging(): void {
    for (const staging of this.#directories.values()) {
      try {
        this.tree.leave(staging)
        if (!this.#tryRemove(staging)) removeTree(this.tree, staging)
      } catch (error) {
        const message = `${quotePath(pathOf(staging))} could not be removed: ${(error as Error).message}`
        this.#request.onNote(message)
      }
    }
    this.#directories.clear()
  }

  /** Whether it was empty, as it is when everything was published. */
  #tryRemove({ parent, name }: Directory): boolean {
    try {
      if (parent) unlinkat(this.tree.fd(parent), name, AT_REMOVEDIR)
      return true
    } catch {
      return false
    }
  }

  #find(place: Place, name: Uint8Array): Status | undefined {
    try {
      return statAt(this.tree.fd(place.directory), name)
    } catch (error) {
      if (error instanceof ReftarError && error.errno === ENOENT) return undefined
      throw error
    }
  }

  #make(parent: Directory, name: Uint8Array): Place {
    mkdirat(this.tree.fd(parent), name, PRIVATE)
    return { directory: this.tree.child(parent, name), existing: false }
  }

  #isStagingDirectory(directory: Directory | undefined): boolean {
    return directory !== undefined && this.#everStaging.has(directory)
  }

  #stagingIn(directory: Directory): Directory {
    const known = this.#directories.get(directory)
    if (known) return known
    const fd = this.tree.fd(directory)
    this.#reportLeftovers(readDirectory(fd), directory)
    // Not to be guessed: an archive may hold any name.
    const secret = randomBytes(6).toString('hex')
    const name = new TextEncoder().encode(`${PREFIX}${process.pid}-${startTime('self')}-${secret}`)
    mkdirat(fd, name, PRIVATE)
    try {
      const staging = this.tree.child(directory, name)
      this.#checkOwn(staging)
      this.#directories.set(directory, staging)
      this.#everStaging.add(staging)
      return staging
    } catch (error) {
      unlinkat(this.tree.fd(directory), name, AT_REMOVEDIR)
      throw error
    }
  }

  /** Whoever may write to the target can put a directory of his own in the place of a new one. @throws TARGET_CHANGED */
  #checkOwn(staging: Directory): void {
    if (statFd(this.tree.fd(staging)).uid === process.geteuid?.()) return
    throw new ReftarError('TARGET_CHANGED', 'a new directory is not the one that was made', {
      path: pathOf(staging),
    })
  }

  #reportLeftovers(names: readonly Uint8Array[], directory: Directory): void {
    for (const name of names) {
      const match = /^\.reftar-(\d+)-(\d+)-[\da-f]+$/.exec(Buffer.from(name).toString('latin1'))
      if (!match || startTime(match[1] ?? '') === match[2]) continue
      this.#request.onNote(
        `${quotePath(pathOf(directory, name))} is left over from a run that was killed, and can be removed`,
      )
    }
  }
}

/** When a process started, in clock ticks since boot: proc(5), field 22 of stat. Undefined when there is none. */
function startTime(pid: string): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

function exists(place: Place, name: Uint8Array): ReftarError {
  const path = pathOf(place.directory, name)
  return new ReftarError('TARGET_EXISTS', `${quotePath(path)} is already there, expected a free name`, {
    path,
  })
}
