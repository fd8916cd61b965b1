import { readFileSync } from 'node:fs'
import { ReftarError } from '../errors.js'
import { quotePath } from '../event.js'
import type { Metadata } from '../record.js'
import { AT_REMOVEDIR, mkdirat, readDirectory, renameNoReplace, unlinkat } from '../sys/directory.js'
import { EEXIST, ENOENT } from '../sys/errno.js'
import { changeMode } from '../sys/file.js'
import { isSameFile, S_IFDIR, type Status, statAt, statFd, typeOf } from '../sys/status.js'
import { type Directory, DirectoryTree, pathOf } from './directory-tree.js'
import { applyMetadata } from './metadata.js'
import { removeTree } from './remove-tree.js'

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
  /** Of a directory: what it gets once it is in its place, for a directory that may not be written cannot be moved. */
  readonly finish?: { readonly directory: Directory; readonly metadata: Metadata }
}

interface LateMode {
  readonly directory: Directory
  readonly name: Uint8Array
  readonly mode: number
  readonly isDirectory: boolean
}

const PREFIX = '.reftar-'
const PRIVATE = 0o700

/**
 * Everything new is made in private directories inside the existing ones that will receive it, because a rename out
 * of one can fail between subvolumes and projects; then published by renames that replace nothing.
 */
export class Staging {
  readonly tree = new DirectoryTree('TARGET_CHANGED')
  readonly root: Place
  readonly #directories = new Map<Directory, Directory>()
  readonly #publications: Publication[] = []
  readonly #lateModes: LateMode[] = []
  readonly #onNote: (message: string) => void
  #isPublished = false

  /** @throws SYSTEM_CALL when the target cannot be opened */
  constructor(target: Uint8Array, onNote: (message: string) => void) {
    this.root = { directory: this.tree.root(target), existing: true }
    this.#onNote = onNote
  }

  /**
   * Where to make a new name.
   *
   * @throws TARGET_EXISTS
   */
  directoryFor(place: Place, name: Uint8Array): Directory {
    if (!place.existing) return place.directory
    if (this.#find(place, name)) throw exists(place, name)
    const staging = this.#stagingIn(place.directory)
    this.#publications.push({ staging, target: place.directory, name })
    return staging
  }

  /** Makes a directory, or takes the one that is there. @throws TARGET_EXISTS, SYSTEM_CALL */
  makeDirectory(place: Place, name: Uint8Array, metadata: Metadata): Place {
    if (!place.existing) return this.#make(place.directory, name)
    const found = this.#find(place, name)
    if (found && typeOf(found) !== S_IFDIR) throw exists(place, name)
    if (found) return { directory: this.tree.child(place.directory, name), existing: true }
    const staging = this.#stagingIn(place.directory)
    const made = this.#make(staging, name)
    this.#publications.push({
      staging,
      target: place.directory,
      name,
      finish: { directory: made.directory, metadata },
    })
    return made
  }

  /** Whether a directory gets its metadata only when it is published, or never because it was there. */
  isFinishedLater({ directory, existing }: Place): boolean {
    return existing || this.#isStagingDirectory(directory.parent)
  }

  /** Sets a mode that would lock out this very process when all the rest is done. */
  setModeLater(late: LateMode): void {
    this.#lateModes.push(late)
  }

  /** Gives every new name its place, or none of them. @throws TARGET_EXISTS, TARGET_CHANGED, SYSTEM_CALL */
  publish(openFile: (directory: Directory, name: Uint8Array) => { fd: number; done: () => void }): void {
    // A directory may close behind a file that was finished after it.
    const files = this.#lateModes.filter(late => !late.isDirectory)
    const directories = this.#lateModes.filter(late => late.isDirectory)
    for (const { directory, name, mode } of [...files, ...directories]) {
      const { fd, done } = openFile(directory, name)
      changeMode(fd, mode)
      done()
    }
    const done: Publication[] = []
    try {
      for (const publication of this.#publications) {
        this.#rename(publication, publication.staging, publication.target)
        done.push(publication)
      }
    } catch (error) {
      for (const publication of done.reverse())
        this.#rename(publication, publication.target, publication.staging)
      throw error
    }
    this.#isPublished = true
    for (const { target, name, finish } of this.#publications) {
      if (!finish) continue
      const directory = this.tree.child(target, name)
      const fd = this.tree.fd(directory)
      const status = statFd(fd)
      if (!isSameFile(status, finish.directory.inode)) {
        throw new ReftarError(
          'TARGET_CHANGED',
          `${quotePath(pathOf(directory))} was replaced while it was published`,
        )
      }
      applyMetadata(fd, status, finish.metadata)
      this.tree.leave(directory)
    }
    for (const staging of this.#directories.values()) {
      this.tree.leave(staging)
      if (staging.parent) unlinkat(this.tree.fd(staging.parent), staging.name, AT_REMOVEDIR)
    }
    this.#directories.clear()
  }

  /** Removes what was not published, and lets go of everything. */
  close(): void {
    for (const staging of this.#directories.values()) {
      try {
        removeTree(this.tree, staging)
      } catch (error) {
        this.#onNote(`${quotePath(pathOf(staging))} could not be removed: ${(error as Error).message}`)
      }
    }
    this.tree.close()
  }

  get isPublished(): boolean {
    return this.#isPublished
  }

  #rename({ name }: Publication, from: Directory, to: Directory): void {
    const fromFd = this.tree.fd(from)
    const toFd = this.tree.fd(to)
    try {
      renameNoReplace(fromFd, name, toFd, name)
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno !== EEXIST) throw error
      throw exists({ directory: to, existing: true }, name)
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
    return directory?.parent !== undefined && this.#directories.get(directory.parent) === directory
  }

  #stagingIn(directory: Directory): Directory {
    const known = this.#directories.get(directory)
    if (known) return known
    const fd = this.tree.fd(directory)
    this.#reportLeftovers(readDirectory(fd), directory)
    const name = new TextEncoder().encode(`${PREFIX}${process.pid}-${startTime('self')}-${++counter}`)
    mkdirat(fd, name, PRIVATE)
    const staging = this.tree.child(directory, name)
    this.#directories.set(directory, staging)
    return staging
  }

  #reportLeftovers(names: readonly Uint8Array[], directory: Directory): void {
    for (const name of names) {
      const match = /^\.reftar-(\d+)-(\d+)-\d+$/.exec(Buffer.from(name).toString('latin1'))
      if (!match || startTime(match[1] ?? '') === match[2]) continue
      this.#onNote(
        `${quotePath(pathOf(directory, name))} is left over from a run that was killed, and can be removed`,
      )
    }
  }
}

let counter = 0

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
