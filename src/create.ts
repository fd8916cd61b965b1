import type { Path } from './event.js'
import { blockSplitter } from './stream/block-splitter.js'
import { crcDedup } from './stream/crc-dedup.js'
import { type EncodeSummary, extentEncoder } from './stream/extent-encoder.js'
import { composeOrigin, type Origin } from './stream/stage.js'
import { type TreeOptions, type TreeSummary, treeSource } from './stream/tree-source.js'

export interface CreateOptions extends TreeOptions {
  /** In bytes: a power of two from 512 to 65536; 4096 by default. */
  readonly blockSize?: number
}

export interface CreateSummary {
  readonly tree: Readonly<TreeSummary>
  readonly archive: Readonly<EncodeSummary>
}

/**
 * The bytes of an archive of files and directories, with what shares storage among them.
 *
 * @throws as treeSource and blockSplitter do
 */
export function create(
  paths: Iterable<Path>,
  options: CreateOptions = {},
): Origin<Uint8Array, CreateSummary> {
  const { signal, ...rest } = options
  const tree = treeSource(paths, rest)
  const splitter = blockSplitter(rest)
  const dedup = crcDedup(rest)
  const encoder = extentEncoder(rest)
  const summary = { tree: tree.summary, archive: encoder.summary }
  return composeOrigin([tree, splitter, dedup, encoder], summary, signal)
}
