import { MAX_DEPTH } from './constants.js'

/** What a reader is willing to take from an archive: counted from the tables, before anything is done. */
export interface Limits {
  readonly entries: number
  readonly references: number
  /** Directories within each other. */
  readonly depth: number
  /** Sum of the sizes of all files and of what is reserved beyond their ends, in bytes. */
  readonly logicalBytes: number
  /**
   * Bytes of files, holes aside, for each byte of the archive so far: what a reader that cannot clone has to write. The
   * first 64 GiB are always allowed.
   */
  readonly expansion: number
}

/** In bytes. */
export const EXPANSION_ALLOWANCE = 64 * 1024 ** 3

export const DEFAULT_LIMITS: Limits = {
  entries: 2 ** 31,
  references: 2 ** 31,
  depth: MAX_DEPTH,
  logicalBytes: Number.MAX_SAFE_INTEGER,
  expansion: 65536,
}
