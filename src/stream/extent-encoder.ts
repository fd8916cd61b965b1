import { loadChecksums } from '../crc/checksums.js'
import { sha256 } from '../crc/sha256.js'
import { ArchiveEncoder, type ClosedSegment } from '../format/archive-encoder.js'
import { DEFAULT_BLOCK_SIZE } from '../format/constants.js'
import { PagedStore } from '../fs/paged-store.js'
import type { ArchiveRecord } from '../record.js'
import { type Steps, wait } from '../steps.js'
import { type ArchiveSummary, emptyArchiveSummary } from './archive-summary.js'
import { checkBlockSize } from './block-splitter.js'
import { type Stage, stage } from './stage.js'

/** What {@link extentEncoder} takes. */
export interface ExtentEncoderOptions {
  /** In bytes, the same as that of the blockSplitter before; 4096 by default. */
  readonly blockSize?: number
  /** Entries come in the byte order of their names, directory by directory; true by default, and checked. */
  readonly sorted?: boolean
  /** Each segment carries the SHA-256 of its payload; true by default. */
  readonly digest?: boolean
  readonly signal?: AbortSignal
}

/** What an {@link extentEncoder} has done. */
export type EncodeSummary = ArchiveSummary

/** A segment whose digest is under way. */
interface Closed {
  readonly segment: ClosedSegment
  readonly digest: Promise<Uint8Array> | undefined
}

/**
 * Records to the bytes of an archive, docs/FORMAT.md; takes what a {@link blockSplitter} puts out.
 *
 * @throws INVALID_ARGUMENT at once for a block size that the format does not allow; through the stream
 *   INVALID_ARGUMENT, BAD_STRUCTURE, UNSAFE_NAME and DANGLING_REFERENCE for records that make no archive
 */
export function extentEncoder(options: ExtentEncoderOptions = {}): Stage<Uint8Array, EncodeSummary> {
  const { blockSize = DEFAULT_BLOCK_SIZE, sorted = true, digest: payloadDigest = true } = options
  checkBlockSize(blockSize)
  const summary = emptyArchiveSummary()
  const pages = new PagedStore()
  let encoder: ArchiveEncoder
  let begun = false
  let closed: Closed | undefined

  function* out(...parts: Uint8Array[]): Iterable<Uint8Array> {
    for (const part of parts) {
      if (part.byteLength === 0) continue
      summary.archiveBytes += part.byteLength
      yield part
    }
    Object.assign(summary, encoder.totals)
  }

  /** What can be written now. The digest of a segment is made while the next one fills. */
  function* next(segments: readonly ClosedSegment[]): Steps<Uint8Array> {
    if (!begun) yield* out(encoder.header())
    begun = true
    for (const segment of segments) {
      const digest = payloadDigest ? sha256(segment.payload) : undefined
      // Whoever waits for it hears of the error; a stream that was destroyed does not wait.
      digest?.catch(() => undefined)
      yield* release()
      closed = { segment, digest }
    }
  }

  function* release(): Steps<Uint8Array> {
    if (!closed) return
    const { segment, digest } = closed
    closed = undefined
    yield* out(encoder.seal(segment, digest && (yield* wait(digest))), ...segment.payload)
  }

  return stage<ArchiveRecord, Uint8Array, EncodeSummary>(
    summary,
    {
      async open() {
        encoder = new ArchiveEncoder({ blockSize, sorted, payloadDigest }, await loadChecksums(), pages)
      },
      transform(record) {
        const segments = encoder.add(record)
        return begun && segments.length === 0 ? [] : next(segments)
      },
      *flush() {
        yield* next(encoder.finish())
        yield* release()
        yield* out(encoder.trailer())
      },
      close() {
        pages.close()
      },
    },
    options.signal,
  )
}
