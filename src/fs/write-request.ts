import type { ErrorCode } from '../errors.js'
import type { CloneSummary, Reflink } from './clone-ladder.js'
import type { MetadataPolicy } from './metadata-writer.js'
import type { Existing } from './staging.js'

/** What a {@link reflinkWriter} has done. */
export interface WriteSummary extends CloneSummary {
  entries: number
  files: number
  /**
   * Sum of the sizes of all files, of the one in hand up to where it has come, in bytes. In the end it is all of the
   * following: what was written, zero copied, cloned and copied, holes and missing.
   */
  logicalBytes: number
  /** Bytes of data that were written. */
  writtenBytes: number
  /** Bytes of data that were cloned from where they lay, and not written. */
  zeroCopyBytes: number
  holeBytes: number
  missingBytes: number
  /** Everything that is not in the target as it was at the source. */
  problems: number
}

export interface WriteRequest {
  readonly directory: Uint8Array
  readonly reflink: Reflink
  /** Clone data from where it says that it comes from. */
  readonly zeroCopy: boolean
  readonly existing: Existing
  readonly policy: MetadataPolicy
  /** Make device nodes. */
  readonly devices: boolean
  /** Write everything back before and after it is published. */
  readonly fsync: boolean
  readonly summary: WriteSummary
  readonly onEntry: (path: Uint8Array, size: number) => void
  readonly onNote: (message: string) => void
  readonly onProblem: (code: ErrorCode, path: Uint8Array, message: string) => void
}
