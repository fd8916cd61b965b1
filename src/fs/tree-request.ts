import type { ErrorCode } from '../errors.js'
import type { Status } from '../sys/status.js'
import type { ExclusionOptions } from './exclusion.js'

/** What a {@link treeSource} has done. */
export interface TreeSummary {
  entries: number
  files: number
  /** Sum of the sizes of all files, of the one in hand up to where it was read: data, shared, holes and missing; in bytes. */
  readonly logicalBytes: number
  /** Bytes of file content that were read, some of them twice where storage is compared. */
  bytesRead: number
  /** Bytes of data that came out. */
  dataBytes: number
  /** Bytes that were not read, because they are shared with some that were. */
  sharedBytes: number
  holeBytes: number
  missingBytes: number
  /** Files that changed while they were read. */
  changed: number
  /** Everything that is not in the archive as it is on disk. */
  problems: number
}

export function emptyTreeSummary(): TreeSummary {
  return {
    entries: 0,
    files: 0,
    get logicalBytes() {
      return this.dataBytes + this.sharedBytes + this.holeBytes + this.missingBytes
    },
    bytesRead: 0,
    dataBytes: 0,
    sharedBytes: 0,
    holeBytes: 0,
    missingBytes: 0,
    changed: 0,
    problems: 0,
  }
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
