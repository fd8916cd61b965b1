import type { Limits } from './format/limits.js'
import { type EntryPath, EntryPaths } from './format/path.js'
import { type ArchiveRecord, type Entry, lengthOf } from './record.js'
import { type DecodeSummary, decoding } from './stream/extent-decoder.js'
import { type Stage, stage } from './stream/stage.js'

/** What {@link list} takes. */
export interface ListOptions {
  readonly limits?: Partial<Limits>
  readonly signal?: AbortSignal
}

/** An entry that is complete. */
export interface ListedEntry {
  readonly entry: Entry
  /** From the root of the archive, as raw bytes; empty for the target directory itself. */
  readonly path: Uint8Array
  /** Of a file, in bytes; 0 for others. */
  readonly size: number
  /** The file changed while it was archived. */
  readonly changed: boolean
  /** Of a hard link: the path of the entry that it is another name of. */
  readonly linkPath?: Uint8Array
}

/**
 * The bytes of an archive to its entries, each once it is complete. Everything is checked as it is for an extraction.
 *
 * @throws through the stream, as {@link extentDecoder} does
 */
export function list(options: ListOptions = {}): Stage<ListedEntry, DecodeSummary> {
  const paths = new EntryPaths()
  const linked = new Map<number, EntryPath>()
  let file: { entry: Entry; path: Uint8Array; size: number } | undefined

  function* listed(records: readonly ArchiveRecord[]): Generator<ListedEntry, void, undefined> {
    for (const record of records) {
      if (record.kind === 'entry') {
        const path = paths.of(record)
        const { type, metadata } = record
        const opened = { entry: record, path: path.bytes, size: 0 }
        if (record.linked) linked.set(record.ordinal, path)
        const linkPath = metadata.linkTo === undefined ? undefined : linked.get(metadata.linkTo)?.bytes
        if (type === 'file') file = opened
        else yield { ...opened, changed: false, ...(linkPath && { linkPath }) }
      } else if (file && record.kind === 'end') {
        yield { ...file, changed: record.state !== 'whole' }
      } else if (file) {
        file.size += lengthOf(record)
      }
    }
  }

  const { summary, hooks } = decoding(options, listed)
  return stage(summary, hooks, options.signal)
}
