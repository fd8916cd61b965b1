import type { Common, Path } from './event.js'
import type { Limits } from './format/limits.js'
import type { Timed } from './stream/clock.js'
import { composeSink } from './stream/compose.js'
import { type DecodeSummary, extentDecoder } from './stream/extent-decoder.js'
import { type Sink, sink } from './stream/stage.js'
import { type ComparisonSummary, treeComparer } from './stream/tree-comparer.js'

/** What {@link verify} takes. */
export interface VerifyOptions extends Common {
  readonly limits?: Partial<Limits>
  /** The directory that the archive was made from, or restored to: each difference is told as a problem. */
  readonly against?: Path
}

/** What {@link verify} has done, stage by stage. */
export interface VerifySummary extends Timed {
  readonly archive: Readonly<DecodeSummary>
  /** Absent where the archive is compared with nothing. */
  readonly tree?: Readonly<ComparisonSummary>
}

/**
 * Reads the bytes of an archive and checks all that an extraction would, writing nothing.
 *
 * @throws as {@link extentDecoder} and {@link treeComparer} do
 */
export function verify(options: VerifyOptions = {}): Sink<VerifySummary> {
  const { signal, against, ...rest } = options
  const decoder = extentDecoder(rest)
  const archive = decoder.summary
  if (against === undefined) {
    return composeSink([decoder, sink({}, { write: () => undefined })], { archive }, signal)
  }
  const comparer = treeComparer(against, rest)
  return composeSink([decoder, comparer], { archive, tree: comparer.summary }, signal)
}
