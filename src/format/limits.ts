import { MAX_DEPTH } from './constants.js'

/** What a reader is willing to take from an archive: counted from the tables, before anything is done. */
export interface Limits {
  readonly entries: number
  readonly references: number
  /** Directories within each other. */
  readonly depth: number
  /** Sum of the sizes of all files, in bytes. */
  readonly logicalBytes: number
}

export const DEFAULT_LIMITS: Limits = {
  entries: 2 ** 31,
  references: 2 ** 31,
  depth: MAX_DEPTH,
  logicalBytes: Number.MAX_SAFE_INTEGER,
}
