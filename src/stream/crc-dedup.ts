import { loadChecksums } from '../crc/checksums.js'
import { ReftarError } from '../errors.js'
import type { Checksums } from '../format/checksums.js'
import { DEFAULT_BLOCK_SIZE } from '../format/constants.js'
import type { ArchiveRecord, Data } from '../record.js'
import { checkBlockSize } from './block-splitter.js'
import { type Stage, stage } from './stage.js'

export interface CrcDedupOptions {
  /** In bytes, the same as that of the blockSplitter before; 4096 by default. */
  readonly blockSize?: number
  readonly signal?: AbortSignal
}

export interface DedupSummary {
  /** Blocks whose CRC32 was computed. */
  blocks: number
}

/**
 * Gives every block of data its CRC32; takes what a blockSplitter puts out.
 *
 * @throws INVALID_ARGUMENT at once for a block size that the format does not allow, and through the stream for
 *   data that is neither whole blocks nor a part of one
 */
export function crcDedup(options: CrcDedupOptions = {}): Stage<ArchiveRecord, DedupSummary> {
  const { blockSize = DEFAULT_BLOCK_SIZE } = options
  checkBlockSize(blockSize)
  const summary: DedupSummary = { blocks: 0 }
  let checksums: Checksums

  function withCrcs(data: Data): Data {
    const length = data.bytes.byteLength
    const size = Math.min(length, blockSize)
    if (length === 0 || length % size !== 0) {
      throw new ReftarError(
        'INVALID_ARGUMENT',
        `data has ${length} bytes, expected blocks of ${blockSize} or a part of one`,
      )
    }
    const count = length / size
    summary.blocks += count
    const crcs = Uint32Array.from({ length: count }, (_, i) =>
      checksums.crc32(data.bytes.subarray(i * size, (i + 1) * size)),
    )
    return { ...data, crcs }
  }

  return stage<ArchiveRecord, ArchiveRecord, DedupSummary>(
    summary,
    {
      async open() {
        checksums = await loadChecksums()
      },
      transform: record => [record.kind === 'data' && !record.crcs ? withCrcs(record) : record],
    },
    options.signal,
  )
}
