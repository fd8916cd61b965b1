import { ReftarError } from '../errors.js'
import { quotePath } from '../event.js'
import { latin1Bytes } from '../format/latin1.js'
import { AT_REMOVEDIR, mkdirat, readDirectory, unlinkat } from '../sys/directory.js'
import { IS_LEFT_OVER, isLeftover, privateName } from '../sys/private-name.js'
import { statAt, statFd } from '../sys/status.js'
import { atExit } from './at-exit.js'
import { type Directory, type DirectoryTree, pathOf } from './directory-tree.js'
import { removeTree } from './remove-tree.js'

export const PRIVATE = 0o700
const OTHERS_CAN_WRITE = 0o022

/** Private directories inside of those that will receive what is made in them; one each. */
export class StagingDirectories {
  readonly #tree: DirectoryTree
  readonly #onNote: (message: string) => void
  /** By the directory that will receive; until they are removed. */
  readonly #directories = new Map<Directory, Directory>()
  readonly #ever = new Set<Directory>()
  readonly #kept = new Set<Directory>()
  /** Undefined while there are none. */
  #stay: (() => void) | undefined

  constructor(tree: DirectoryTree, onNote: (message: string) => void) {
    this.#tree = tree
    this.#onNote = onNote
  }

  /** Whether a directory is one of these, or was until it was removed. */
  has(directory: Directory | undefined): boolean {
    return directory !== undefined && this.#ever.has(directory)
  }

  /** The one in a directory, which is made when it is first asked for. @throws TARGET_CHANGED, SYSTEM_CALL */
  in(directory: Directory): Directory {
    const known = this.#directories.get(directory)
    if (known) return known
    const fd = this.#tree.fd(directory)
    this.#reportLeftovers(readDirectory(fd), directory)
    const name = Buffer.from(privateName())
    mkdirat(fd, name, PRIVATE)
    const staging = this.#openNew(directory, name)
    this.#stay ??= atExit(this.remove.bind(this))
    this.#directories.set(directory, staging)
    this.#ever.add(staging)
    return staging
  }

  /** Something lies in it that this run did not make, so it stays. */
  keep(staging: Directory): void {
    this.#kept.add(staging)
  }

  /** From now on they hold what is replaced, and outlast this process where it ends before it has removed them. */
  stay(): void {
    this.#stay?.()
  }

  /** Removes them, with all that is still in them. */
  remove(): void {
    this.#stay?.()
    this.#stay = undefined
    for (const [directory, staging] of this.#directories) {
      try {
        this.#tree.leave(staging)
        if (this.#kept.has(staging))
          this.#onNote(`${quotePath(pathOf(staging))} holds what was replaced, or what others have put there`)
        else if (!this.#removeEmpty(directory, staging.name)) removeTree(this.#tree, directory, staging)
      } catch (error) {
        const message = `${quotePath(pathOf(staging))} could not be removed: ${(error as Error).message}`
        this.#onNote(message)
      }
    }
    this.#directories.clear()
  }

  /** @throws TARGET_CHANGED, SYSTEM_CALL */
  #openNew(directory: Directory, name: Uint8Array): Directory {
    try {
      const staging = this.#tree.child(directory, name)
      this.#checkNew(staging)
      return staging
    } catch (error) {
      const isOurs = !(error instanceof ReftarError && error.code === 'TARGET_CHANGED')
      if (isOurs && !this.#removeEmpty(directory, name))
        this.#onNote(`${quotePath(pathOf(directory, name))} could not be removed`)
      throw error
    }
  }

  /** Whoever may write to the target can put a directory in the place of a new one. @throws TARGET_CHANGED */
  #checkNew(staging: Directory): void {
    const fd = this.#tree.fd(staging)
    const { uid, mode } = statFd(fd)
    const isPrivate = uid === process.geteuid?.() && (mode & OTHERS_CAN_WRITE) === 0
    if ((isPrivate || isAsGiven(fd, uid, mode)) && readDirectory(fd).length === 0) return
    throw new ReftarError('TARGET_CHANGED', 'a new directory is not the one that was made', {
      path: pathOf(staging),
    })
  }

  /** Whether it was empty, as it is when it is new and when everything was published. */
  #removeEmpty(directory: Directory, name: Uint8Array): boolean {
    try {
      unlinkat(this.#tree.fd(directory), name, AT_REMOVEDIR)
      return true
    } catch {
      return false
    }
  }

  #reportLeftovers(names: readonly string[], directory: Directory): void {
    for (const name of names) {
      if (!isLeftover(name)) continue
      this.#onNote(`${quotePath(pathOf(directory, latin1Bytes(name)))} ${IS_LEFT_OVER}`)
    }
  }
}

/**
 * Whether the filesystem gives what this process makes such an owner and mode, as VFAT, CIFS, NFS and FUSE may, whatever
 * is asked for. @throws SYSTEM_CALL
 */
function isAsGiven(directory: number, uid: number, mode: number): boolean {
  const name = Buffer.from(privateName())
  mkdirat(directory, name, PRIVATE)
  try {
    const given = statAt(directory, name)
    return uid === given.uid && (mode & ~given.mode & OTHERS_CAN_WRITE) === 0
  } finally {
    unlinkat(directory, name, AT_REMOVEDIR)
  }
}
