import { DataSpace } from './format/data-space.js'
import { EntryPath, EntryPaths } from './format/path.js'
import { type ArchiveRecord, lengthOf } from './record.js'
import { blockSplitter } from './stream/block-splitter.js'
import { composeOrigin } from './stream/compose.js'
import { crcDedup } from './stream/crc-dedup.js'
import { type TreeOptions, treeSource } from './stream/tree-source.js'

/** Bytes of one file that equal bytes of an earlier one, or of the same, and do not share storage with them. */
export interface Duplicate {
  /** Raw bytes, as all paths. */
  readonly path: Uint8Array
  /** Of the file that has the equal bytes. */
  readonly earlier: Uint8Array
  /** How many. */
  readonly bytes: number
}

interface NamedFile {
  readonly number: number
  readonly path: EntryPath
}

interface FilePlace {
  readonly file: NamedFile
  readonly offset: number
}

/**
 * Reads all files as {@link create} does, and finds what is equal in them but not shared, the largest first. Paths are
 * those of the entries of an archive.
 *
 * @param progress - told how much was read
 *
 * @throws as treeSource does; the promise rejects
 */
export async function findDuplicates(
  paths: Iterable<Uint8Array>,
  progress: { bytesRead: number },
  options: TreeOptions,
): Promise<Duplicate[]> {
  const { signal, ...rest } = options
  const tree = treeSource(paths, rest)
  const stages = [tree, blockSplitter(), crcDedup()] as const
  const tally = new DuplicateTally()
  for await (const record of composeOrigin<ArchiveRecord, object>(stages, {}, signal)) {
    tally.take(record)
    progress.bytesRead = tree.summary.bytesRead
  }
  return tally.duplicates()
}

/** Follows a record stream, and counts what refers to equal content. */
class DuplicateTally {
  readonly #paths = new EntryPaths()
  readonly #space = new DataSpace<FilePlace>(
    1,
    (place, length, next) => place.file === next.file && place.offset + length === next.offset,
  )
  readonly #duplicates = new Map<string, { path: Uint8Array; earlier: Uint8Array; bytes: number }>()
  #file: NamedFile = { number: 0, path: new EntryPath() }
  /** In the file. */
  #offset = 0

  take(record: ArchiveRecord): void {
    if (record.kind === 'entry') {
      this.#file = { number: record.ordinal, path: this.#paths.of(record) }
      this.#offset = 0
    } else if (record.kind === 'data') {
      this.#space.append(0, record.bytes.byteLength, { file: this.#file, offset: this.#offset })
    } else if (record.kind === 'reference' && record.origin === 'dedup') {
      for (const { place, length } of this.#space.resolve(record.address, record.length))
        this.#count(place.file, length)
    }
    this.#offset += lengthOf(record)
  }

  duplicates(): Duplicate[] {
    return [...this.#duplicates.values()].sort((a, b) => b.bytes - a.bytes)
  }

  #count(earlier: NamedFile, bytes: number): void {
    const key = `${this.#file.number} ${earlier.number}`
    const known = this.#duplicates.get(key)
    if (known) known.bytes += bytes
    else this.#duplicates.set(key, { path: this.#file.path.bytes, earlier: earlier.path.bytes, bytes })
  }
}
