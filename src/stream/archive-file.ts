import { loadChecksums } from '../crc/checksums.js'
import { sha256 } from '../crc/sha256.js'
import { withPath } from '../errors.js'
import { type Common, type Path, pathBytes } from '../event.js'
import { ArchiveEncoder, type ClosedSegment } from '../format/archive-encoder.js'
import { DEFAULT_BLOCK_SIZE, TRAILER_SIZE } from '../format/constants.js'
import { CloningWriter } from '../fs/cloning-writer.js'
import { DataCloner } from '../fs/data-cloner.js'
import { PagedStore } from '../fs/paged-store.js'
import { type FileNumbers, StagedFile } from '../fs/staged-file.js'
import type { ArchiveRecord } from '../record.js'
import { emptyArchiveSummary } from './archive-summary.js'
import { checkBlockSize } from './block-splitter.js'
import type { EncodeSummary, ExtentEncoderOptions } from './extent-encoder.js'
import { type Sink, sink } from './stage.js'

export type { FileNumbers }

/** What {@link archiveFile} takes. */
export interface ArchiveFileOptions extends ExtentEncoderOptions, Common {
  /** Clone data that lies on the filesystem of the archive, in place of writing it; true by default. */
  readonly zeroCopy?: boolean
  /** Write the archive back before it gets its name, and its name after: it then survives a power loss. False by default. */
  readonly fsync?: boolean
  /** Called when all is written, before the archive gets its name: there is none where this throws or rejects. */
  readonly onComplete?: () => void | Promise<void>
}

/** What an {@link archiveFile} has done. */
export interface ArchiveFileSummary extends EncodeSummary {
  /** Bytes of blocks that were cloned from where they lay, and not written. */
  readonly zeroCopyBytes: number
}

/** A sink of records, which tells which files it is about to write. */
export interface ArchiveFile extends Sink<ArchiveFileSummary> {
  /** The archive and the file that it replaces, for the `skip` of a treeSource that may come by them; it grows. */
  readonly files: readonly FileNumbers[]
}

/** A segment that is written but for its head, for which the digest is wanted that is under way. */
interface Closed {
  readonly segment: ClosedSegment
  readonly digest: Promise<Uint8Array> | undefined
  readonly blocks: Promise<void>
}

/**
 * Records to an archive file, as an {@link extentEncoder} makes it, and the same bytes. Whole blocks that say where they come
 * `from` are cloned from there where the filesystem is the same: they take no storage of their own. The file appears
 * under its name when it is complete, and replaces what has that name.
 *
 * @throws as {@link extentEncoder} does, and through the stream INVALID_ARGUMENT for a name that is not of a regular file, and
 *   SYSTEM_CALL
 */
export function archiveFile(file: Path, options: ArchiveFileOptions = {}): ArchiveFile {
  const {
    blockSize = DEFAULT_BLOCK_SIZE,
    sorted = true,
    digest: payloadDigest = true,
    zeroCopy = true,
    fsync = false,
    onComplete,
    onEvent = () => undefined,
    signal,
  } = options
  checkBlockSize(blockSize)
  const path = pathBytes(file)
  const staged = new StagedFile(path)
  const summary = Object.assign(emptyArchiveSummary(), { zeroCopyBytes: 0 })
  const pages = new PagedStore()
  let encoder: ArchiveEncoder
  let writer: CloningWriter
  let closed: Closed | undefined

  async function add(segments: readonly ClosedSegment[]): Promise<void> {
    for (const segment of segments) {
      const digest = payloadDigest ? sha256(segment.payload) : undefined
      const blocks = writeBlocks(segment)
      // Whoever waits for them hears of the error; a stream that was destroyed does not wait.
      digest?.catch(() => undefined)
      blocks.catch(() => undefined)
      const before = closed
      closed = { segment, digest, blocks }
      if (before) await writeHead(before)
    }
  }

  function writeBlocks({ wholes, wholesOffset, runs }: ClosedSegment): Promise<void> {
    return naming(writer.write(wholes, wholesOffset, runs))
  }

  /** The head of a segment is made when the next one is complete, or none comes. */
  async function writeHead({ segment, digest, blocks }: Closed): Promise<void> {
    const head = encoder.seal(segment, await digest)
    await blocks
    await write([head, ...segment.edge], segment.position.offset)
    summary.archiveBytes += segment.layout.wholeBlocks * blockSize
    Object.assign(summary, encoder.totals, { zeroCopyBytes: writer.clonedBytes })
  }

  async function write(parts: readonly Uint8Array[], offset: number): Promise<void> {
    const bytes = Buffer.concat(parts)
    await naming(writer.write([bytes], offset))
    summary.archiveBytes += bytes.byteLength
  }

  async function naming(work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (error) {
      throw withPath(error, path)
    }
  }

  const archive = sink<ArchiveRecord, ArchiveFileSummary>(
    summary,
    {
      async open() {
        encoder = new ArchiveEncoder({ blockSize, sorted, payloadDigest }, await loadChecksums(), pages)
        const fd = staged.open(message => onEvent({ type: 'note', message }))
        writer = new CloningWriter(fd, zeroCopy ? new DataCloner() : undefined)
        await write([encoder.header()], 0)
      },
      write(record) {
        const segments = encoder.add(record)
        return segments.length > 0 ? add(segments) : undefined
      },
      async final() {
        await add(encoder.finish())
        writer.setSize(encoder.offset + TRAILER_SIZE)
        if (closed) await writeHead(closed)
        await write([encoder.trailer()], encoder.offset)
        if (fsync) await staged.sync()
        await onComplete?.()
        staged.publish()
        if (fsync) await staged.syncName()
      },
      async close() {
        await closed?.blocks.catch(() => undefined)
        staged.close()
        pages.close()
      },
    },
    signal,
  )
  return Object.defineProperty(archive, 'files', { value: staged.files, enumerable: true }) as ArchiveFile
}
