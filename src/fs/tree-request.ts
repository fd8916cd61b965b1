import type { ErrorCode } from '../errors.js'
import type { Status } from '../sys/status.js'
import type { ExclusionOptions } from './exclusion.js'

/** What a {@link treeSource} has done. */
export interface TreeSummary {
  entries: number
  files: number
  /** Sum of the sizes of all files, in bytes. */
  logicalBytes: number
  /** Bytes of file content that were read. */
  bytesRead: number
  /** Bytes that were not read, because they are shared with some that were. */
  sharedBytes: number
  holeBytes: number
  missingBytes: number
  /** Files that changed while they were read. */
  changed: number
  /** Everything that is not in the archive as it is on disk. */
  problems: number
}

export interface TreeRequest {
  readonly directory: Uint8Array
  readonly shared: boolean
  readonly paranoid: boolean
  /** Store owners as numbers only. */
  readonly numericOwner: boolean
  /** Stay on the filesystem of each path that was given. */
  readonly oneFileSystem: boolean
  /** Read clones of files, which nobody writes to. */
  readonly snapshot: boolean
  readonly exclusion: ExclusionOptions
  readonly isSkipped: (status: Status) => boolean
  readonly summary: TreeSummary
  readonly onEntry: (path: Uint8Array, size: number) => void
  readonly onNote: (message: string) => void
  readonly onProblem: (code: ErrorCode, path: Uint8Array, message: string) => void
}
