import { loadChecksums, payloadDigest } from '../crc/checksums.js'
import { ReftarError } from '../errors.js'
import { ArchiveParser, type DecodedSegment } from '../format/archive-parser.js'
import { equalBytes } from '../format/bytes.js'
import type { Limits } from '../format/limits.js'
import type { Totals } from '../format/trailer.js'
import type { ArchiveRecord } from '../record.js'
import { type Stage, type StageHooks, stage } from './stage.js'

export interface ExtentDecoderOptions {
  readonly limits?: Partial<Limits>
  readonly signal?: AbortSignal
}

export interface DecodeSummary extends Totals {
  /** Bytes of the archive that were taken in. */
  archiveBytes: number
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/**
 * The bytes of an archive to checked records. A record comes out only after the whole of its segment was found
 * good; the stream ends without an error only after the trailer proved that the archive is whole.
 *
 * @throws through the stream, every code of docs/FORMAT.md, "What readers refuse"
 */
export function extentDecoder(options: ExtentDecoderOptions = {}): Stage<ArchiveRecord, DecodeSummary> {
  const { summary, hooks } = decoding(options)
  return stage(summary, hooks, options.signal)
}

/** The work of an extentDecoder, for stages that go on with its records. */
export function decoding({ limits }: ExtentDecoderOptions): {
  readonly summary: DecodeSummary
  readonly hooks: StageHooks<Uint8Array, ArchiveRecord>
} {
  const summary: Writable<DecodeSummary> = {
    archiveBytes: 0,
    segments: 0,
    entries: 0,
    extents: 0,
    blocks: 0,
    dataBytes: 0,
    logicalBytes: 0,
  }
  let parser: ArchiveParser

  function checkDigest({ payload, payloadDigest: expected, offset }: DecodedSegment): void {
    if (!expected || equalBytes(expected, payloadDigest([payload]))) return
    const message = 'the payload of the segment has another SHA-256 than its header says'
    throw new ReftarError('CHECKSUM_MISMATCH', message, { offset })
  }

  return {
    summary,
    hooks: {
      async open() {
        parser = new ArchiveParser(await loadChecksums(), limits)
      },
      *transform(chunk) {
        if (!(chunk instanceof Uint8Array)) {
          throw new ReftarError('INVALID_ARGUMENT', `an archive is bytes, found a ${typeof chunk}`)
        }
        summary.archiveBytes += chunk.byteLength
        for (const segment of parser.push(chunk)) {
          checkDigest(segment)
          Object.assign(summary, parser.totals)
          yield* segment.records
        }
      },
      flush() {
        parser.end()
        return []
      },
    },
  }
}
