import { ReftarError } from './errors.js'
import type { Path } from './event.js'
import type { ArchiveRecord } from './record.js'
import { blockSplitter } from './stream/block-splitter.js'
import type { Timed } from './stream/clock.js'
import { composeOrigin } from './stream/compose.js'
import { crcDedup, type DedupSummary } from './stream/crc-dedup.js'
import { type EncodeSummary, extentEncoder } from './stream/extent-encoder.js'
import type { Origin } from './stream/stage.js'
import { type TreeOptions, type TreeSummary, treeSource } from './stream/tree-source.js'

/** What {@link create} takes. */
export interface CreateOptions extends TreeOptions {
  /** In bytes: a power of two from 512 to 65536; 4096 by default. */
  readonly blockSize?: number
  /**
   * `content`, the default, stores equal data once; `shared` only what shares storage on disk; `none` stores all data
   * of every file.
   */
  readonly dedup?: Dedup
  /** Each segment carries the SHA-256 of its payload; true by default. */
  readonly digest?: boolean
}

/** What is stored once: equal content, only what shares storage on disk, or nothing. */
export type Dedup = 'content' | 'shared' | 'none'

const DEDUPS: readonly Dedup[] = ['content', 'shared', 'none']

/** What {@link create} has done, stage by stage. */
export interface CreateSummary extends Timed {
  readonly tree: Readonly<TreeSummary>
  readonly dedup: Readonly<DedupSummary>
  readonly archive: Readonly<EncodeSummary>
}

/**
 * The bytes of an archive of files and directories, with what shares storage among them.
 *
 * @throws INVALID_ARGUMENT at once for an unknown way to dedup; else as {@link treeSource} and {@link blockSplitter} do
 */
export function create(
  paths: Iterable<Path>,
  options: CreateOptions = {},
): Origin<Uint8Array, CreateSummary> {
  const { signal, ...rest } = options
  const { stages, summary } = recordStages(paths, rest)
  const encoder = extentEncoder(rest)
  return composeOrigin([...stages, encoder], { ...summary, archive: encoder.summary }, signal)
}

/** As create, but the records that an archiveFile takes. */
export function createRecords(
  paths: Iterable<Path>,
  options: CreateOptions = {},
): Origin<ArchiveRecord, Omit<CreateSummary, 'archive'>> {
  const { signal, ...rest } = options
  const { stages, summary } = recordStages(paths, rest)
  return composeOrigin(stages, summary, signal)
}

function recordStages(paths: Iterable<Path>, { dedup = 'content', ...rest }: CreateOptions) {
  if (!DEDUPS.includes(dedup)) {
    const message = `dedup is ${String(dedup)}, expected one of ${DEDUPS.join(', ')}`
    throw new ReftarError('INVALID_ARGUMENT', message)
  }
  const tree = treeSource(paths, { ...rest, shared: dedup !== 'none' })
  const splitter = blockSplitter(rest)
  const finder = crcDedup({ ...rest, content: dedup === 'content' })
  return { stages: [tree, splitter, finder] as const, summary: { tree: tree.summary, dedup: finder.summary } }
}
