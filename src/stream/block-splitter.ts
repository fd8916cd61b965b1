import { ReftarError } from '../errors.js'
import { DEFAULT_BLOCK_SIZE } from '../format/constants.js'
import { isBlockSize } from '../format/header.js'
import { type ArchiveRecord, type Data, lengthOf, sliceData } from '../record.js'
import { type Stage, stage } from './stage.js'

/** What {@link blockSplitter} takes. */
export interface BlockSplitterOptions {
  /** In bytes: a power of two from 512 to 65536; 4096 by default. */
  readonly blockSize?: number
  readonly signal?: AbortSignal
}

/** What a {@link blockSplitter} has done. */
export interface BlockSummary {
  /** Whole blocks and parts of one that came out. */
  blocks: number
}

/**
 * Cuts data at the blocks of its file: out come runs of whole blocks, and parts of one block at the edges of
 * an extent. Other records pass. Bare bytes count as data that nobody shares.
 *
 * @throws INVALID_ARGUMENT at once for a block size that the format does not allow
 */
export function blockSplitter(options: BlockSplitterOptions = {}): Stage<ArchiveRecord, BlockSummary> {
  const { blockSize = DEFAULT_BLOCK_SIZE } = options
  checkBlockSize(blockSize)
  const summary: BlockSummary = { blocks: 0 }
  /** Where the next byte lies in its file. */
  let offset = 0
  /** The beginning of a block whose rest may still come. */
  let held: Data[] = []

  function* release(): Generator<ArchiveRecord, void, undefined> {
    const [first] = held
    if (!first) return
    const bytes = ownMemory(held.map(data => data.bytes))
    const { from, mayBeShared } = first
    const isRun = from && held.every(isContinued)
    held = []
    summary.blocks++
    yield { kind: 'data', bytes, ...(isRun && { from }), mayBeShared }
  }

  function* split(data: Data): Generator<ArchiveRecord, void, undefined> {
    if (held[0] && held[0].mayBeShared !== data.mayBeShared) yield* release()
    const length = data.bytes.byteLength
    const inBlock = offset % blockSize
    offset += length
    if (inBlock === 0 && length > 0 && length % blockSize === 0) {
      const count = length / blockSize
      summary.blocks += count
      // CRC32s of blocks of another size are of no use.
      return yield data.crcs && data.crcs.length !== count ? sliceData(data, 0, length) : data
    }
    const head = inBlock === 0 ? 0 : Math.min(length, blockSize - inBlock)
    const runEnd = head + Math.floor((length - head) / blockSize) * blockSize
    if (head > 0) {
      held.push(sliceData(data, 0, head))
      if (inBlock + head === blockSize) yield* release()
    }
    if (runEnd > head) {
      summary.blocks += (runEnd - head) / blockSize
      yield sliceData(data, head, runEnd)
    }
    if (length > runEnd) held.push(sliceData(data, runEnd, length))
  }

  return stage<ArchiveRecord | Uint8Array, ArchiveRecord, BlockSummary>(
    summary,
    {
      *transform(input) {
        if (input instanceof Uint8Array)
          return yield* split({ kind: 'data', bytes: input, mayBeShared: false })
        if (input.kind === 'data') return yield* split(input)
        yield* release()
        offset = input.kind === 'entry' ? 0 : offset + lengthOf(input)
        yield input
      },
      flush: release,
    },
    options.signal,
  )
}

/** @throws INVALID_ARGUMENT */
export function checkBlockSize(blockSize: number): void {
  if (!isBlockSize(blockSize)) {
    throw new ReftarError(
      'INVALID_ARGUMENT',
      `block size is ${blockSize}, expected a power of two from 512 to 65536`,
    )
  }
}

/** Memory of this many bytes may be kept for a part of it. */
const SLAB = 128 * 1024

/** Joined, so that a part of a block does not keep the memory of all that it was read with. */
function ownMemory(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts
  if (first && parts.length === 1 && first.buffer.byteLength <= Math.max(SLAB, first.byteLength)) return first
  return Buffer.concat(parts)
}

/** Whether data comes from where the data before it ended. */
function isContinued({ from }: Data, i: number, all: readonly Data[]): boolean {
  const before = all[i - 1]
  if (!before) return true
  return (
    from !== undefined &&
    from.source === before.from?.source &&
    from.offset === before.from.offset + before.bytes.byteLength
  )
}
