import { caught, type ErrorCode, ReftarError } from '../errors.js'
import { quotePath } from '../event.js'
import { latin1, latin1Bytes } from '../format/latin1.js'
import { mkdirat, renameat, unlinkat } from '../sys/directory.js'
import { EEXIST } from '../sys/errno.js'
import { changeMode, setModified, syncFilesystem } from '../sys/file.js'
import { findAt, isSameFile, S_IFDIR, type Status, statAt, statFd, typeOf } from '../sys/status.js'
import { type Directory, DirectoryTree, pathOf } from './directory-tree.js'
import { PERMISSIONS } from './metadata.js'
import { exchange, type Rename, renameToFree } from './rename.js'
import type { RestoredFile } from './restored-file.js'
import { PRIVATE, StagingDirectories } from './staging-directories.js'

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
  /** As latin1 text, for there are many. */
  readonly name: string
  /** Set for a directory. */
  readonly directory?: Directory
}

export interface StagingRequest {
  readonly target: Uint8Array
  readonly existing: Existing
  readonly onNote: (message: string) => void
  readonly onProblem: (code: ErrorCode, path: Uint8Array, message: string) => void
}

/**
 * Everything new is made in private directories inside the existing ones that will receive it, because a rename out
 * of one can fail between subvolumes and projects; then published by renames that replace nothing, or that put what
 * was there in the place of what is new.
 */
export class Staging {
  readonly tree = new DirectoryTree('TARGET_CHANGED')
  readonly root: Place
  readonly #request: StagingRequest
  readonly #directories: StagingDirectories
  readonly #publications: Publication[] = []
  /** Names that stay in their staging directory until that goes. */
  readonly #dropped = new Map<Directory, Set<string>>()
  #isPublished = false

  /** @throws SYSTEM_CALL when the target cannot be opened */
  constructor(request: StagingRequest) {
    this.#request = request
    this.#directories = new StagingDirectories(this.tree, request.onNote)
    this.root = { directory: this.tree.root(request.target), existing: true }
  }

  get isPublished(): boolean {
    return this.#isPublished
  }

  /** Where to make a new name that is no directory; {@link Staging.made} is told once it is there. @throws SYSTEM_CALL */
  directoryFor(place: Place): Directory {
    return place.existing ? this.#directories.in(place.directory) : place.directory
  }

  /** Before a name is made that {@link Staging.made} is told of. @throws TARGET_EXISTS for one that is in the way */
  check(place: Place, name: Uint8Array): void {
    if (!place.existing || this.#request.existing !== 'refuse') return
    if (this.#find(place, name)) throw exists(place, name)
  }

  /** A name was made where {@link Staging.directoryFor} says. @throws TARGET_EXISTS */
  made(place: Place, name: Uint8Array): void {
    if (!place.existing) return
    // What has come since it was checked is found when this is published.
    const found = this.#request.existing === 'refuse' ? undefined : this.#find(place, name)
    const staging = this.#directories.in(place.directory)
    if (found && this.#isKept(place, name, found)) this.#drop(staging, latin1(name))
    else this.#publications.push({ staging, target: place.directory, name: latin1(name) })
  }

  /**
   * Moves a file that is not to be published out of the directory that is, where others can still refer to it.
   *
   * @throws SYSTEM_CALL
   */
  setAside(file: RestoredFile, ordinal: number): void {
    let staging = file.directory
    while (staging.parent && !this.#directories.has(staging)) staging = staging.parent
    // No entry can have that name: the one of the directory is a secret.
    const name = `${latin1(staging.name)}-${ordinal}`
    const from = this.tree.fd(file.directory)
    renameToFree(from, latin1Bytes(file.name), this.tree.fd(staging), latin1Bytes(name))
    file.directory = staging
    file.name = name
    this.#drop(staging, name)
  }

  /** Whether what was made under a name is not published. */
  isDropped({ directory, name }: Pick<RestoredFile, 'directory' | 'name'>): boolean {
    if (this.#dropped.get(directory)?.has(name)) return true
    for (let at = directory; at.parent; at = at.parent)
      if (this.#dropped.get(at.parent)?.has(latin1(at.name))) return true
    return false
  }

  /** Takes back what was made; its directory, which may be finished, stays as it is. @throws SYSTEM_CALL */
  unmake(directory: Directory, name: string): void {
    const fd = this.tree.fd(directory)
    const { mode, modified } = statFd(fd)
    changeMode(fd, PRIVATE)
    unlinkat(fd, latin1Bytes(name))
    changeMode(fd, mode & PERMISSIONS)
    setModified(fd, modified, 'kept')
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
    const staging = this.#directories.in(place.directory)
    const made = this.#make(staging, name)
    const { directory } = made
    if (isKept) this.#drop(staging, latin1(name))
    else this.#publications.push({ staging, target: place.directory, name: latin1(name), directory })
    return made
  }

  /** Whether a directory waits in a staging directory for its own place. */
  isStaged(directory: Directory): boolean {
    return this.#directories.has(directory.parent)
  }

  /** Where what was made in a directory is once everything is published. */
  placeOf(directory: Directory): Directory {
    return this.#directories.has(directory) ? (directory.parent as Directory) : directory
  }

  /** Gives every new name its place, or none of them. @throws TARGET_EXISTS, SYSTEM_CALL */
  publish(): void {
    const inodes: bigint[] = []
    const exchanged = new Set<Publication>()
    this.#directories.stay()
    try {
      for (const publication of this.#publications) {
        const { staging, name } = publication
        const { ino } = statAt(this.tree.fd(staging), latin1Bytes(name))
        if (this.#publish(publication, ino)) exchanged.add(publication)
        inodes.push(ino)
      }
    } catch (error) {
      for (let i = inodes.length - 1; i >= 0; i--) {
        const publication = this.#publications[i] as Publication
        this.#takeBack(publication, exchanged.has(publication), inodes[i] as bigint)
      }
      throw error
    }
    this.#isPublished = true
    for (const { directory, target } of this.#publications) if (directory) directory.parent = target
    this.#directories.remove()
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
    this.#directories.remove()
    this.tree.close()
  }

  get #targets(): Directory[] {
    return [...new Set(this.#publications.map(({ target }) => target))]
  }

  /** Returns whether it took the place of something. @throws TARGET_EXISTS, TARGET_CHANGED, SYSTEM_CALL */
  #publish(publication: Publication, ino: bigint): boolean {
    const { staging, target } = publication
    try {
      this.#rename(renameToFree, staging, target, publication.name)
      return false
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno !== EEXIST) throw error
    }
    const place: Place = { directory: target, existing: true }
    const name = latin1Bytes(publication.name)
    const found = this.#find(place, name)
    if (this.#request.existing !== 'overwrite' || (found && typeOf(found) === S_IFDIR)) {
      throw exists(place, name)
    }
    this.#exchange(publication)
    if (found && this.#is(staging, name, found.ino)) return true
    this.#takeBack(publication, true, ino)
    throw new ReftarError('TARGET_CHANGED', 'it was replaced while it was published', {
      path: pathOf(target, name),
    })
  }

  /** @throws TARGET_CHANGED, SYSTEM_CALL */
  #exchange({ staging, target, name }: Publication): void {
    try {
      this.#rename(exchange, staging, target, name)
    } catch (thrown) {
      const error = caught(thrown)
      if (error.code !== 'TARGET_CHANGED') throw error
      this.#directories.keep(staging)
      throw new ReftarError(error.code, `in ${quotePath(pathOf(staging))}, ${error.message}`)
    }
  }

  /**
   * What cannot be taken back does not keep the rest from it. What comes back may be somebody else's, who was there in
   * between, and what does not go back was replaced: neither must go with the staging directory.
   */
  #takeBack(publication: Publication, isExchanged: boolean, ino: bigint): void {
    const { staging, target, name: text } = publication
    const name = latin1Bytes(text)
    try {
      // In the staging directory, the name is free.
      if (isExchanged) this.#exchange(publication)
      else this.#rename(renameat, target, staging, text)
      if (this.#is(staging, name, ino)) return
      this.#directories.keep(staging)
      throw new ReftarError('TARGET_CHANGED', `${quotePath(pathOf(target, name))} was replaced`)
    } catch (error) {
      if (isExchanged) this.#directories.keep(staging)
      this.#request.onNote(`a name is not taken back: ${caught(error).message}`)
    }
  }

  #rename(rename: Rename, from: Directory, to: Directory, text: string): void {
    const name = latin1Bytes(text)
    const fromFd = this.tree.fd(from)
    rename(fromFd, name, this.tree.fd(to), name)
  }

  #is(directory: Directory, name: Uint8Array, ino: bigint): boolean {
    const found = this.#find({ directory, existing: true }, name)
    return found !== undefined && isSameFile(found, { dev: directory.inode.dev, ino })
  }

  #drop(directory: Directory, name: string): void {
    const names = this.#dropped.get(directory) ?? new Set()
    this.#dropped.set(directory, names.add(name))
  }

  /** Of a name that is taken: whether what is new is dropped for it. @throws TARGET_EXISTS */
  #isKept(place: Place, name: Uint8Array, found: Status): boolean {
    const { existing, onProblem } = this.#request
    if (existing === 'overwrite' && typeOf(found) !== S_IFDIR) return false
    if (existing !== 'keep') throw exists(place, name)
    onProblem('TARGET_EXISTS', pathOf(place.directory, name), 'is already there, and is kept')
    return true
  }

  #find(place: Place, name: Uint8Array): Status | undefined {
    return findAt(this.tree.fd(place.directory), name)
  }

  #make(parent: Directory, name: Uint8Array): Place {
    mkdirat(this.tree.fd(parent), name, PRIVATE)
    return { directory: this.tree.child(parent, name), existing: false }
  }
}

function exists(place: Place, name: Uint8Array): ReftarError {
  const path = pathOf(place.directory, name)
  return new ReftarError('TARGET_EXISTS', `${quotePath(path)} is already there, expected a free name`, {
    path,
  })
}
