import { type BlockKernel, loadBlockKernel } from '../crc/block-kernel.js'
import { DuplicateFinder, type FinderTotals } from '../dedup/duplicate-finder.js'
import type { Spool } from '../dedup/sent-data.js'
import { ReftarError } from '../errors.js'
import { DEFAULT_BLOCK_SIZE } from '../format/constants.js'
import { PagedStore } from '../fs/paged-store.js'
import type { ArchiveRecord, Data } from '../record.js'
import type { Items } from '../steps.js'
import { checkBlockSize } from './block-splitter.js'
import { type Stage, stage } from './stage.js'

export type { Spool }

/** What {@link crcDedup} takes. */
export interface CrcDedupOptions {
  /** In bytes, the same as that of the blockSplitter before; 4096 by default. */
  readonly blockSize?: number
  /** Find data that equals earlier data and put out references for it; true by default. */
  readonly content?: boolean
  /**
   * The bound of the table of hints, in bytes; 64 MiB by default, enough for 4 million blocks. A table that is full
   * goes on with a sample of the blocks, and then misses short duplicates.
   */
  readonly memory?: number
  /** Keeps a copy of the data that goes out, for data that cannot be read again from where it came. */
  readonly spool?: Spool
  readonly signal?: AbortSignal
}

/** What a {@link crcDedup} has done. */
export interface DedupSummary extends FinderTotals {
  /** Blocks whose CRC32 was computed. */
  blocks: number
}

const DEFAULT_MEMORY = 64 * 1024 * 1024

/**
 * Gives every block of data its CRC32, and replaces data that equals earlier data by references to it; takes what a
 * {@link blockSplitter} puts out. Hashes only say where to look: what is referred to was compared byte by byte, with data that
 * went out just now, with a `spool`, or with what can be read `from` a source that is unchanged. Where none of them
 * can prove it, the data stays data; so does data that may be shared, and duplicates inside of one record.
 *
 * @throws INVALID_ARGUMENT at once for a block size that the format does not allow, and through the stream for
 *   data that is neither whole blocks nor a part of one; DANGLING_REFERENCE for a reference to no earlier data
 */
export function crcDedup(options: CrcDedupOptions = {}): Stage<ArchiveRecord, DedupSummary> {
  const { blockSize = DEFAULT_BLOCK_SIZE, content = true, memory = DEFAULT_MEMORY, spool } = options
  checkBlockSize(blockSize)
  const summary: DedupSummary = { blocks: 0, duplicateBytes: 0, comparedBytes: 0, hints: 0, sampling: 1 }
  const pages = new PagedStore()
  const finder = content ? new DuplicateFinder({ blockSize, memory, spool, pages }, summary) : undefined
  let kernel: BlockKernel

  function take(data: Data): Items<ArchiveRecord> {
    checkBlocks(data, blockSize)
    const sums = kernel.sum(data.bytes, blockSize)
    summary.blocks += sums.crcs.length
    const summed = data.crcs ? data : { ...data, crcs: sums.crcs }
    return finder ? finder.take(summed, sums) : [summed]
  }

  return stage<ArchiveRecord, ArchiveRecord, DedupSummary>(
    summary,
    {
      async open() {
        kernel = await loadBlockKernel()
      },
      transform(record) {
        if (record.kind === 'data') return take(record)
        finder?.interrupt()
        return finder && record.kind === 'reference' ? finder.translate(record) : [record]
      },
      close: () => pages.close(),
    },
    options.signal,
  )
}

/** @throws INVALID_ARGUMENT */
function checkBlocks({ bytes }: Data, blockSize: number): void {
  const { byteLength } = bytes
  if (byteLength > 0 && (byteLength < blockSize || byteLength % blockSize === 0)) return
  const message = `data has ${byteLength} bytes, expected blocks of ${blockSize} or a part of one`
  throw new ReftarError('INVALID_ARGUMENT', message)
}
