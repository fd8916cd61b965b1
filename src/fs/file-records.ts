import { constants } from 'node:fs'
import { ReftarError } from '../errors.js'
import { FS_NOCOW_FL } from '../format/inode-flags.js'
import type { ArchiveRecord, End, Metadata } from '../record.js'
import type { Steps } from '../steps.js'
import { cloneRange } from '../sys/clone-range.js'
import { openat } from '../sys/directory.js'
import { closingOnError, truncate } from '../sys/file.js'
import { getInodeFlags, setInodeFlags } from '../sys/inode-attributes.js'
import { systemError } from '../sys/koffi.js'
import { isUnchanged, type Status, statFd } from '../sys/status.js'
import type { Directory, DirectoryTree } from './directory-tree.js'
import type { ExaminedFile } from './examined-files.js'
import { fileExtents, type ReadTally } from './file-extents.js'
import type { FileSharing } from './file-sharing.js'
import { settle } from './settle.js'
import type { Sharing } from './sharing.js'

/** A file that is about to be read. */
export interface OpenFile {
  readonly fd: number
  /** As it was after it was mapped. */
  readonly status: Status
  /** Beyond its end, in bytes; undefined for none. */
  readonly reserved: number | undefined
  readonly sharing: FileSharing
}

/** A clone of a file, that nobody else can write to. */
export interface FileClone {
  readonly fd: number
  /** Of the file, when it was cloned. */
  readonly status: Status
  /** What was found out about the file holds for it. */
  readonly isMapped: boolean
}

export interface FileOutcome {
  /** In bytes. */
  readonly size: number
  readonly isWhole: boolean
  readonly missing: number
  /** Why it could not be read to its end. */
  readonly failure: ReftarError | undefined
}

const WHOLE: End = { kind: 'end', state: 'whole' }
const CURRENT = Buffer.from('.')
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY
const PRIVATE = 0o600
/** How often a file is cloned that changes meanwhile. */
const MOST_TRIES = 8

/** The extents of files, and their ends. */
export class FileRecords {
  readonly #tree: DirectoryTree
  readonly #sharing: Sharing
  readonly #tally: ReadTally

  /** @param tally - counted up as data comes */
  constructor(tree: DirectoryTree, sharing: Sharing, tally: ReadTally) {
    this.#tree = tree
    this.#sharing = sharing
    this.#tally = tally
  }

  /** Learns where a file lies, before it is read. @throws SYSTEM_CALL */
  *examine(fd: number, opened: Status, directory: Directory, name: Uint8Array): Steps<never, OpenFile> {
    const settling = settle(opened)
    if (settling) yield settling
    const sharing = this.#sharing.examine(fd, opened, directory, name)
    return { fd, status: sharing.status, reserved: sharing.reservedBeyond, sharing }
  }

  /**
   * The file as it is at one moment: a clone that has no name, to be closed by the caller.
   *
   * @param metadata - of the file: a clone of what is written in place has to be one, too
   * @throws SYSTEM_CALL where there can be no such clone
   */
  clone(file: OpenFile, directory: Directory, { flags = 0 }: Metadata): FileClone {
    const fd = openat(this.#tree.fd(directory), CURRENT, O_TMPFILE | constants.O_RDWR, PRIVATE)
    return closingOnError(fd, () => {
      storeAlike(fd, flags)
      let status = statFd(file.fd)
      for (let tries = 0; ; tries++) {
        truncate(fd, 0)
        const error = status.size === 0 ? 0 : cloneRange(file.fd, 0, 0, fd, 0)
        if (error !== 0) throw systemError('ioctl(FICLONERANGE)', error)
        // Its times are to be those of its content: of a file that is never left alone, nearly.
        const after = statFd(file.fd)
        const isStill = isUnchanged(after, status)
        status = after
        if (isStill || tries === MOST_TRIES) break
      }
      // Written to since it was mapped: the map is not that of the clone.
      const isMapped = isUnchanged(status, file.status)
      if (!isMapped) file.sharing.changed()
      return { fd, status, isMapped }
    })
  }

  /** The extents of a file that another thread looked at, and its end; undefined where more has to be known. */
  recordsOf(file: ExaminedFile, directory: Directory, name: Uint8Array): ArchiveRecord[] | undefined {
    const { size } = file.status
    const references = this.#sharing.references(file)
    if (references) {
      this.#tally.sharedBytes += size
      return [...references, WHOLE]
    }
    const data = this.#sharing.first(file, directory, name, this.#tally.dataBytes)
    if (!data) return undefined
    this.#tally.dataBytes += size
    this.#tally.bytesRead += size
    return [data, WHOLE]
  }

  /** The extents of a file, or of its clone, and its end. */
  *read(file: OpenFile, clone?: FileClone): Steps<ArchiveRecord, FileOutcome> {
    const { sharing } = file
    const fd = clone?.fd ?? file.fd
    const isUnsized = file.status.blocks === 0
    const tally = this.#tally
    const missingBefore = tally.missingBytes
    const sizeBefore = tally.logicalBytes
    let isWhole = false
    let failure: ReftarError | undefined
    try {
      const status = clone ? statFd(fd) : file.status
      const isMapped = clone?.isMapped ?? true
      const plan = isMapped ? { size: status.size, isUnsized, sharing } : unmapped(status.size)
      yield* fileExtents(fd, plan, tally)
      const isComplete = tally.logicalBytes - sizeBefore === status.size || isUnsized
      isWhole = isComplete && (clone !== undefined || isUnchanged(statFd(fd), status))
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      failure = error
      const length = file.status.size - (tally.logicalBytes - sizeBefore)
      if (length > 0) {
        tally.missingBytes += length
        yield { kind: 'missing', length, errno: error.errno }
      }
    }
    if (!isWhole) sharing.changed()
    yield { kind: 'end', state: isWhole ? 'whole' : 'changed' }
    const size = tally.logicalBytes - sizeBefore
    return { size, isWhole, missing: tally.missingBytes - missingBefore, failure }
  }
}

/** A new file takes from its directory how it is stored; only files that are stored alike can be clones. */
function storeAlike(fd: number, flags: number): void {
  const found = getInodeFlags(fd) ?? 0
  const wanted = flags & FS_NOCOW_FL
  if ((found & FS_NOCOW_FL) !== wanted) setInodeFlags(fd, ((found & ~FS_NOCOW_FL) | wanted) >>> 0)
}

/** Of a file that has changed since it was mapped. */
function unmapped(size: number) {
  return { size, isUnsized: false, sharing: undefined }
}
