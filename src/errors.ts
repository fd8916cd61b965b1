/** Every code that a {@link ReftarError} can carry. Branch on these, never on messages. */
export type ErrorCode =
  /** The input does not begin as a reftar archive. */
  | 'BAD_MAGIC'
  | 'UNSUPPORTED_VERSION'
  | 'UNSUPPORTED_FEATURE'
  /** The input ends before the trailer does. */
  | 'TRUNCATED'
  /** Bytes follow the trailer. */
  | 'TRAILING_DATA'
  /** A field has a value that the format does not allow, or a second way to write an allowed one. */
  | 'BAD_FIELD'
  /** Each record is well formed, but their sequence is not an archive: ordinals, parents, order, tiling. */
  | 'BAD_STRUCTURE'
  /** A name that could name something else than one new entry of its directory. */
  | 'UNSAFE_NAME'
  /** A reference to bytes that no earlier data extent holds. */
  | 'DANGLING_REFERENCE'
  | 'CHECKSUM_MISMATCH'
  /** More than the reader is willing to take: see {@link Limits}. */
  | 'LIMIT_EXCEEDED'
  /** The caller broke a documented rule of an option or of a record stream. */
  | 'INVALID_ARGUMENT'
  /** A source could not give all that was asked of it, or gave two different answers. */
  | 'SOURCE_CHANGED'
  /** A source was skipped: its kind or its size cannot be archived. */
  | 'SOURCE_SKIPPED'
  /** The target already has that name. */
  | 'TARGET_EXISTS'
  /** Something other than this run changed the target while it was written. */
  | 'TARGET_CHANGED'
  /** A tree is not as the archive has it. */
  | 'DIFFERENT'
  /** The target has less room than it takes. */
  | 'NO_SPACE'
  /** `reflink: 'always'` was asked for, and a range could not be cloned. */
  | 'CLONE_REFUSED'
  /** A stream that feeds or drains this one died before it had ended. */
  | 'PREMATURE_CLOSE'
  /** A system call failed: see `errno` and `syscall`. */
  | 'SYSTEM_CALL'

/** What a {@link ReftarError} may tell besides its code and its message. */
export interface ErrorDetails {
  /** Where in the archive, in bytes from its start. */
  readonly offset?: number
  /** The entry or file concerned, as the raw bytes of its path. */
  readonly path?: Uint8Array
  /** The number of the system error, as in errno(3). */
  readonly errno?: number
  readonly syscall?: string
  /** The one of {@link Limits} that was reached. */
  readonly limit?: string
  readonly cause?: unknown
}

/** The one error class of this package. */
export class ReftarError extends Error {
  override readonly name = 'ReftarError'
  readonly code: ErrorCode
  readonly offset: number | undefined
  readonly path: Uint8Array | undefined
  readonly errno: number | undefined
  readonly syscall: string | undefined
  readonly limit: string | undefined

  /** @param message - in lower case, without a full stop; where in the archive it was is added */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    const at = details.offset === undefined ? '' : ` (at byte ${details.offset})`
    super(message + at, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.offset = details.offset
    this.path = details.path
    this.errno = details.errno
    this.syscall = details.syscall
    this.limit = details.limit
  }
}

/** What was caught, where it is one of these errors. Others come from a fault in the code, or from callers: they go on. */
export function caught(error: unknown): ReftarError {
  if (error instanceof ReftarError) return error
  throw error
}

/** An error as one of the entry at `path`: a system call names at most one component of it. Others are as they are. */
export function withPath(error: unknown, path: Uint8Array): unknown {
  if (!(error instanceof ReftarError) || error.offset !== undefined) return error
  const { code, message, errno, syscall, cause } = error
  if (error.path !== undefined && code !== 'SYSTEM_CALL') return error
  return new ReftarError(code, message, {
    path,
    ...(errno !== undefined && { errno }),
    ...(syscall !== undefined && { syscall }),
    ...(cause !== undefined && { cause }),
  })
}
