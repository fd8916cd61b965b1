import { constants } from 'node:fs'
import { caught, type ErrorCode, ReftarError } from '../errors.js'
import { latin1, latin1Bytes } from '../format/latin1.js'
import type { EntryPath } from '../format/path.js'
import type { Entry, Metadata } from '../record.js'
import { openat } from '../sys/directory.js'
import { close } from '../sys/file.js'
import { isSameFile, statFd } from '../sys/status.js'
import type { FinishedFile } from './file-writer.js'
import type { LateMetadata, MetadataWriter } from './metadata-writer.js'
import type { RestoredFile } from './restored-file.js'
import type { Place, Staging } from './staging.js'

/** What is done once everything has its name. */
interface LateWork {
  /** A file, or a directory as one: where it is by then. */
  readonly file: Pick<RestoredFile, 'directory' | 'name' | 'dev' | 'ino'>
  readonly path: EntryPath
  readonly work: (fd: number) => void
}

type Later = (work: LateWork['work']) => void
type SetMetadata = (metadata: Metadata) => LateMetadata | undefined

const DEFAULT_DIRECTORY_MODE = 0o777
const OWNER_CAN_READ = 0o400
const OWNER_CAN_SEARCH = 0o500
const OPEN = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * Gives files and directories their metadata: at once, or late, where it would keep this very process from them, or from
 * giving them their names.
 */
export class EntryFinisher {
  readonly #staging: Staging
  readonly #metadata: MetadataWriter
  readonly #onProblem: (code: ErrorCode, path: Uint8Array, message: string) => void
  readonly #isRoot = process.geteuid?.() === 0
  readonly #files: LateWork[] = []
  /** Each after those in it. */
  readonly #directories: LateWork[] = []

  constructor(
    staging: Staging,
    metadata: MetadataWriter,
    onProblem: (code: ErrorCode, path: Uint8Array, message: string) => void,
  ) {
    this.#staging = staging
    this.#metadata = metadata
    this.#onProblem = onProblem
  }

  /** A file that has all its data. @throws SYSTEM_CALL */
  file({ entry, file, fd, bestowal, path }: FinishedFile): void {
    const later: Later = work => this.#files.push({ file, path, work })
    const set: SetMetadata = metadata => {
      const { status, late } = this.#metadata.finishFile(fd, bestowal, metadata, () => path.bytes)
      file.identify(status)
      return late
    }
    this.#finish(fd, entry.metadata, OWNER_CAN_READ, path, later, set)
  }

  /** A directory that has all its entries. @throws SYSTEM_CALL */
  directory({ metadata: captured }: Entry, { directory, existing }: Place, path: EntryPath): void {
    const metadata = captured.mode === undefined ? this.#implied(captured) : captured
    const later: Later = work =>
      this.#directories.push({
        file: { directory, name: latin1(directory.name), ...directory.inode },
        path,
        work,
      })
    const finish = (fd: number) => {
      const set: SetMetadata = wanted =>
        existing
          ? this.#metadata.finishExisting(fd, wanted, () => path.bytes)
          : this.#metadata.finish(fd, wanted, () => path.bytes)
      this.#finish(fd, metadata, OWNER_CAN_SEARCH, path, later, set)
    }
    // A directory that may not be written cannot be moved, and one that exists still gets new names.
    if (existing || this.#staging.isStaged(directory)) later(finish)
    else finish(this.#staging.tree.fd(directory))
  }

  /** All that had to wait, now that everything has its name: what goes wrong from here on is told. */
  finishLate(): void {
    for (const late of [...this.#files, ...this.#directories]) {
      if (this.#staging.isDropped(late.file)) continue
      try {
        this.#do(late)
      } catch (error) {
        const { code, message } = caught(error)
        this.#onProblem(code, late.path.bytes, `is not finished: ${message}`)
      }
    }
  }

  /** @param needed - the permissions that this process needs to come back */
  #finish(
    fd: number,
    metadata: Metadata,
    needed: number,
    path: EntryPath,
    later: Later,
    set: SetMetadata,
  ): void {
    const { isPublished } = this.#staging
    const { mode } = metadata
    const isModeLate = !isPublished && !this.#isRoot && mode !== undefined && (mode & needed) !== needed
    const late = set(isModeLate ? withoutMode(metadata) : metadata)
    if (late) {
      const finish: LateWork['work'] = fd => this.#metadata.finishLate(fd, late, () => path.bytes)
      // What comes after the publication is late already.
      if (isPublished) finish(fd)
      else later(finish)
    }
    if (!isModeLate) return
    later(fd => this.#metadata.finishMode(fd, metadata, () => path.bytes))
  }

  #do({ file, path, work }: LateWork): void {
    const { tree } = this.#staging
    const { directory, name } = file
    const isDirectory = isSameFile(directory.inode, file)
    const fd = isDirectory
      ? tree.fd(directory)
      : openat(tree.fd(this.#staging.placeOf(directory)), latin1Bytes(name), OPEN)
    try {
      if (!isSameFile(statFd(fd), file)) {
        throw new ReftarError('TARGET_CHANGED', 'it was replaced while it was published', {
          path: path.bytes,
        })
      }
      work(fd)
    } finally {
      if (!isDirectory) close(fd)
      else tree.leave(directory)
    }
  }

  /** An implied directory gets the mode that a new one has. */
  #implied(metadata: Metadata): Metadata {
    return { ...metadata, mode: this.#metadata.defaultMode(DEFAULT_DIRECTORY_MODE) }
  }
}

function withoutMode({ mode, ...rest }: Metadata): Metadata {
  return rest
}
