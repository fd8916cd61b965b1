import { type ErrorCode, ReftarError } from '../errors.js'
import { latin1, latin1Bytes } from '../format/latin1.js'
import { type DirectoryEntry, openat, readEntries } from '../sys/directory.js'
import { close, OPEN_FILE } from '../sys/file.js'
import { errnoName } from '../sys/koffi.js'
import { S_IFDIR, S_IFREG, type Status, statAt, statFd, typeOf } from '../sys/status.js'
import { byName, entriesOf, UNKNOWN } from './directory-entries.js'
import { type Directory, DirectoryTree, pathOf } from './directory-tree.js'
import type { Selection } from './selection.js'

/** A regular file that was come by. */
export interface WalkedFile {
  /** Open for reading until the walk goes on. */
  readonly fd: number
  readonly status: Status
  readonly directory: Directory
  readonly name: Uint8Array
}

export interface WalkRequest {
  /** Where relative paths begin. */
  readonly directory: Uint8Array
  /** Told of what is left out; the path is that of {@link shownPath}. */
  readonly onProblem: (code: ErrorCode, path: Uint8Array, message: string) => void
}

/** A directory in the middle of being walked. */
interface Frame {
  readonly directory: Directory
  readonly entries: readonly DirectoryEntry[]
  at: number
  /** Set for a directory of which only some children were asked for. */
  readonly selection: Selection | undefined
}

const SLASH = new Uint8Array([0x2f])

/**
 * The regular files that were asked for, each inode once, in the byte order of names; those of absolute paths come last.
 * Never follows a symbolic link below what was asked for, and opens nothing but regular files. What cannot be read is
 * told as a problem, and the walk goes on.
 *
 * @throws SYSTEM_CALL when a path that was given cannot be read
 */
export function walkFiles(
  selection: Selection,
  request: WalkRequest,
): Generator<WalkedFile, void, undefined> {
  return new FileWalk(selection, request).files()
}

/** A path below the roots of a selection, with the slash in front that the path had which was asked for. */
export function shownPath(selection: Selection, path: Uint8Array): Uint8Array {
  return isAbsolute(selection, path) ? Buffer.concat([SLASH, path]) : path
}

function isAbsolute({ whole, absolute, children }: Selection, path: Uint8Array): boolean {
  if (whole) return absolute
  const slash = path.indexOf(0x2f)
  return children.get(latin1(slash === -1 ? path : path.subarray(0, slash)))?.absolute === true
}

/** What is said of a file that an error keeps out. */
export function leftOut({ errno, syscall, message }: ReftarError): string {
  return `left out: ${errno === undefined ? message : `${syscall}: ${errnoName(errno)}`}`
}

class FileWalk {
  readonly #selection: Selection
  readonly #request: WalkRequest
  readonly #tree = new DirectoryTree('SOURCE_CHANGED')
  /** Files with several names that were come by. */
  readonly #linked = new Set<string>()

  constructor(selection: Selection, request: WalkRequest) {
    this.#selection = selection
    this.#request = request
  }

  *files(): Generator<WalkedFile, void, undefined> {
    try {
      const stack = this.#rootFrames()
      for (let frame = stack.at(-1); frame; frame = stack.at(-1)) {
        const entry = frame.entries[frame.at++]
        if (!entry) {
          stack.pop()
          this.#tree.leave(frame.directory)
          continue
        }
        const below = yield* this.#visit(frame.directory, entry, frame.selection?.children.get(entry.name))
        if (below) stack.push(below)
      }
    } finally {
      this.#tree.close()
    }
  }

  #rootFrames(): Frame[] {
    const { whole, absolute, children } = this.#selection
    if (whole) return [this.#frame(this.#root(absolute))]
    return [true, false].flatMap(absolute => {
      const entries = entriesOf(
        [...children].flatMap(([name, child]) => (child.absolute === absolute ? [name] : [])),
      )
      if (entries.length === 0) return []
      return [{ directory: this.#root(absolute), entries, at: 0, selection: this.#selection }]
    })
  }

  #root(absolute: boolean): Directory {
    return this.#tree.root(absolute ? SLASH : this.#request.directory)
  }

  #frame(directory: Directory): Frame {
    const entries = readEntries(this.#tree.fd(directory)).sort(byName)
    return { directory, entries, at: 0, selection: undefined }
  }

  /** One name: gives a file, or returns the frame of what is below a directory. */
  *#visit(
    parent: Directory,
    entry: DirectoryEntry,
    asked: Selection | undefined,
  ): Generator<WalkedFile, Frame | undefined, undefined> {
    const { type } = entry
    const name = latin1Bytes(entry.name)
    if (asked && !asked.whole) {
      const directory = this.#tree.child(parent, name, true)
      return { directory, entries: entriesOf(asked.children.keys()), at: 0, selection: asked }
    }
    try {
      const known = type === UNKNOWN ? typeOf(statAt(this.#tree.fd(parent), name)) : type
      if (known === S_IFDIR) return this.#frame(this.#tree.child(parent, name))
      if (known === S_IFREG) yield* this.#open(parent, name)
      else if (asked) this.#problem('SOURCE_SKIPPED', parent, name, 'neither a regular file nor a directory')
    } catch (error) {
      if (asked || !(error instanceof ReftarError)) throw error
      this.#problem(error.errno === undefined ? error.code : 'SOURCE_SKIPPED', parent, name, leftOut(error))
    }
    return undefined
  }

  *#open(directory: Directory, name: Uint8Array): Generator<WalkedFile, void, undefined> {
    const fd = openat(this.#tree.fd(directory), name, OPEN_FILE)
    try {
      const status = statFd(fd)
      const { size } = status
      if (typeOf(status) !== S_IFREG)
        this.#problem('SOURCE_CHANGED', directory, name, 'left out: replaced in the meantime')
      else if (!Number.isSafeInteger(size))
        this.#problem(
          'SOURCE_SKIPPED',
          directory,
          name,
          `left out: its size is ${size} bytes, the limit is 2^53 - 1`,
        )
      else if (this.#isFirst(status)) yield { fd, status, directory, name }
    } finally {
      close(fd)
    }
  }

  #isFirst({ nlink, dev, ino }: Status): boolean {
    if (nlink < 2) return true
    const key = `${dev}:${ino}`
    if (this.#linked.has(key)) return false
    this.#linked.add(key)
    return true
  }

  #problem(code: ErrorCode, directory: Directory, name: Uint8Array, message: string): void {
    this.#request.onProblem(code, shownPath(this.#selection, pathOf(directory, name)), message)
  }
}
