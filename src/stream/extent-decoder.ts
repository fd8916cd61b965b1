import { loadChecksums } from '../crc/checksums.js'
import { sha256 } from '../crc/sha256.js'
import { ReftarError } from '../errors.js'
import { type Common, quotePath } from '../event.js'
import { ArchiveParser, type DecodedSegment } from '../format/archive-parser.js'
import { equalBytes } from '../format/bytes.js'
import { countExtent, type ExtentBytes } from '../format/extent-bytes.js'
import type { Limits } from '../format/limits.js'
import { SalvageParser } from '../format/salvage-parser.js'
import type { Totals } from '../format/trailer.js'
import { PagedStore } from '../fs/paged-store.js'
import type { ArchiveRecord, Source } from '../record.js'
import { type Items, type Steps, wait } from '../steps.js'
import { type ArchiveSummary, emptyArchiveSummary } from './archive-summary.js'
import { type Stage, type StageHooks, stage } from './stage.js'

/** What {@link extentDecoder} takes. */
export interface ExtentDecoderOptions extends Common {
  readonly limits?: Partial<Limits>
  /**
   * Read what is left of a damaged archive, and tell what is lost as problems: bytes that are lost are missing, and the
   * file ends as `lost`. Every block that comes out has the CRC32 that it had. False by default.
   */
  readonly salvage?: boolean
}

/** What an {@link extentDecoder} has done. */
export interface DecodeSummary extends ArchiveSummary {
  /** With `salvage`: what was told to be lost. */
  readonly losses: number
}

/** A segment that was found good but for its digest, which is under way. */
interface Decoded {
  readonly segment: DecodedSegment
  readonly digest: Promise<Uint8Array> | undefined
  readonly totals: Totals & Readonly<ExtentBytes>
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/**
 * The bytes of an archive to checked records. A record comes out only after the whole of its segment was found
 * good; the stream ends without an error only after the trailer proved that the archive is whole.
 *
 * @throws through the stream, every code of docs/FORMAT.md, "What readers refuse"
 */
export function extentDecoder(options: ExtentDecoderOptions = {}): Stage<ArchiveRecord, DecodeSummary> {
  return lendingDecoder(options, noSource)
}

/** As an extentDecoder, of all the bytes of a source in their order: each data says where in it it comes from. */
export function lendingDecoder(
  options: ExtentDecoderOptions,
  source: () => Source | undefined,
): Stage<ArchiveRecord, DecodeSummary> {
  const { summary, hooks } = decoding(options, records => records, source)
  return stage(summary, hooks, options.signal)
}

function noSource(): undefined {
  return undefined
}

/**
 * As a lendingDecoder, but where the archive is not sound its records merely end: the error goes to `onError`, once
 * everything that comes after this stage has had what came before.
 */
export function lastingDecoder(
  options: ExtentDecoderOptions,
  source: () => Source | undefined,
  onError: (error: unknown) => void,
): Stage<ArchiveRecord, DecodeSummary> {
  const { summary, hooks } = decoding(options, records => records, source)
  const { transform, flush } = hooks
  let hasFailed = false
  function* lasting(work: (() => Items<ArchiveRecord>) | undefined): Steps<ArchiveRecord> {
    if (hasFailed || !work) return
    try {
      yield* work()
    } catch (error) {
      hasFailed = true
      onError(error)
    }
  }
  return stage<Uint8Array, ArchiveRecord, DecodeSummary>(summary, {
    ...hooks,
    transform: chunk => lasting(() => transform(chunk)),
    flush: () => lasting(flush),
  })
}

/** The work of an extentDecoder, for stages that put out something else for its records. */
export function decoding<Out>(
  { limits = {}, salvage = false, onEvent = () => undefined }: ExtentDecoderOptions,
  put: (records: readonly ArchiveRecord[]) => Iterable<Out>,
  source: () => Source | undefined = noSource,
): {
  readonly summary: DecodeSummary
  readonly hooks: StageHooks<Uint8Array, Out>
} {
  const summary = Object.assign(emptyArchiveSummary(), { losses: 0 })
  if (salvage) return { summary, hooks: salvaging(limits, summary, onEvent, put) }
  const pages = new PagedStore()
  let parser: ArchiveParser
  let decoded: Decoded | undefined

  /** Takes in bytes. The digest of a segment is made while the next one arrives. */
  function* next(chunk: Uint8Array): Steps<Out> {
    try {
      for (const segment of parser.push(chunk)) {
        const digest = segment.payloadDigest && sha256([segment.payload])
        // Whoever waits for it hears of the error; a stream that was destroyed does not wait.
        digest?.catch(() => undefined)
        const { totals } = parser
        yield* release()
        decoded = { segment, digest, totals }
      }
    } catch (error) {
      yield* release()
      throw error
    }
  }

  function* release(): Steps<Out> {
    if (!decoded) return
    const { segment, digest, totals } = decoded
    decoded = undefined
    const found = digest && (yield* wait(digest))
    if (found && segment.payloadDigest && !equalBytes(segment.payloadDigest, found)) {
      const message = 'the payload of the segment has another SHA-256 than its header says'
      throw new ReftarError('CHECKSUM_MISMATCH', message, { offset: segment.offset })
    }
    Object.assign(summary, totals)
    const lender = source()
    yield* put(lender ? lentRecords(segment, lender) : segment.records)
  }

  return {
    summary,
    hooks: {
      async open() {
        parser = new ArchiveParser(await loadChecksums(), limits, pages)
      },
      transform(chunk) {
        checkBytes(chunk)
        summary.archiveBytes += chunk.byteLength
        return next(chunk)
      },
      *flush() {
        yield* release()
        parser.end()
      },
      close() {
        pages.close()
      },
    },
  }
}

/** The records of a segment of a source. */
function lentRecords({ records, payload, payloadOffset }: DecodedSegment, source: Source): ArchiveRecord[] {
  return records.map(record => {
    if (record.kind !== 'data') return record
    // Data is a view of the payload that it came in.
    const offset = payloadOffset + record.bytes.byteOffset - payload.byteOffset
    return { ...record, from: { source, offset } }
  })
}

/** The work of an extentDecoder that makes the best of what it gets. */
function salvaging<Out>(
  limits: Partial<Limits>,
  summary: Writable<DecodeSummary>,
  onEvent: NonNullable<Common['onEvent']>,
  put: (records: readonly ArchiveRecord[]) => Iterable<Out>,
): StageHooks<Uint8Array, Out> {
  let parser: SalvageParser
  const onLoss = (text: string, offset: number, path?: Uint8Array) => {
    summary.losses++
    const message = `${path ? `${quotePath(path)}: ` : ''}${text} (at byte ${offset})`
    onEvent({ type: 'problem', code: 'CHECKSUM_MISMATCH', path: path ?? new Uint8Array(0), message })
  }
  function* out(parts: Iterable<readonly ArchiveRecord[]>): Generator<Out, void, undefined> {
    for (const records of parts) {
      for (const record of records) {
        if (record.kind === 'entry') summary.entries++
        else if (record.kind !== 'end') countExtent(summary, record)
      }
      yield* put(records)
    }
  }
  return {
    async open() {
      parser = new SalvageParser(await loadChecksums(), limits, onLoss)
    },
    transform(chunk) {
      checkBytes(chunk)
      summary.archiveBytes += chunk.byteLength
      return out(parser.push(chunk))
    },
    flush: () => out(parser.end()),
  }
}

/** @throws INVALID_ARGUMENT */
function checkBytes(chunk: unknown): void {
  if (chunk instanceof Uint8Array) return
  throw new ReftarError('INVALID_ARGUMENT', `an archive is bytes, found a ${typeof chunk}`)
}
