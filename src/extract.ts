import type { Path } from './event.js'
import type { Limits } from './format/limits.js'
import type { Source } from './record.js'
import type { Timed } from './stream/clock.js'
import { composeSink } from './stream/compose.js'
import { type DecodeSummary, lastingDecoder, lendingDecoder } from './stream/extent-decoder.js'
import { recordSink, type WriteOptions, type WriteSummary } from './stream/reflink-writer.js'
import type { Sink } from './stream/stage.js'

/** What {@link extract} takes. */
export interface ExtractOptions extends WriteOptions {
  readonly limits?: Partial<Limits>
  /** Restore the files of a damaged archive that are whole, and tell what is lost as problems; false by default. */
  readonly salvage?: boolean
}

/** What {@link extract} has done, stage by stage. */
export interface ExtractSummary extends Timed {
  readonly archive: Readonly<DecodeSummary>
  readonly target: Readonly<WriteSummary>
}

/**
 * Restores the bytes of an archive below an existing directory: all of it, or nothing.
 *
 * @throws as {@link extentDecoder} and {@link reflinkWriter} do
 */
export function extract(directory: Path, options: ExtractOptions = {}): Sink<ExtractSummary> {
  return extractFrom(undefined, directory, options)
}

/** As extract, of all the bytes of a source in their order: what can be cloned from it is. */
export function extractFrom(
  source: Source | undefined,
  directory: Path,
  options: ExtractOptions,
): Sink<ExtractSummary> {
  const { signal, ...rest } = options
  const lender = () => source
  let failure: unknown
  // What was decoded before an error is to be kept, too.
  const decoder = rest.keepPartial
    ? lastingDecoder(rest, lender, error => {
        failure = error
      })
    : lendingDecoder(rest, lender)
  const writer = recordSink(directory, rest, () => failure)
  return composeSink([decoder, writer], { archive: decoder.summary, target: writer.summary }, signal)
}
