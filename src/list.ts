import type { Limits } from './format/limits.js'
import { type EntryPath, EntryPaths } from './format/path.js'
import { type ArchiveRecord, type Entry, lengthOf, type Metadata } from './record.js'
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
  /** Of these, in holes. */
  readonly holeBytes: number
  /** Of these, bytes that shared storage with data that came earlier in the archive: of those who share, the first counts none. */
  readonly sharedBytes: number
  /** Of these, bytes that were found equal to such data. */
  readonly duplicateBytes: number
  /** The file changed while it was archived. */
  readonly changed: boolean
  /** Of a hard link: the entry that it is another name of. */
  readonly link?: Linked
}

/** What a hard link is another name of. */
export interface Linked {
  /** From the root of the archive, as raw bytes. */
  readonly path: Uint8Array
  /** The names are those of one inode. */
  readonly metadata: Pick<Metadata, 'mode' | 'owner' | 'modified'>
}

type Counts = {
  -readonly [Key in 'size' | 'holeBytes' | 'sharedBytes' | 'duplicateBytes']: ListedEntry[Key]
}

/**
 * The bytes of an archive to its entries, each once it is complete. Everything is checked as it is for an extraction.
 *
 * @throws through the stream, as {@link extentDecoder} does
 */
export function list(options: ListOptions = {}): Stage<ListedEntry, DecodeSummary> {
  const paths = new EntryPaths()
  const linked = new Map<number, { path: EntryPath; metadata: Linked['metadata'] }>()
  let file: (Counts & Pick<ListedEntry, 'entry' | 'path'>) | undefined

  function* listed(records: readonly ArchiveRecord[]): Generator<ListedEntry, void, undefined> {
    for (const record of records) {
      if (record.kind === 'entry') {
        const path = paths.of(record)
        const { type, metadata } = record
        const counts = { size: 0, holeBytes: 0, sharedBytes: 0, duplicateBytes: 0 }
        const opened = { entry: record, path: path.bytes, ...counts }
        if (record.linked) linked.set(record.ordinal, { path, metadata: shownOf(metadata) })
        const first = metadata.linkTo === undefined ? undefined : linked.get(metadata.linkTo)
        const link = first && { path: first.path.bytes, metadata: first.metadata }
        if (type === 'file') file = opened
        else yield { ...opened, changed: false, ...(link && { link }) }
      } else if (file && record.kind === 'end') {
        yield { ...file, changed: record.state !== 'whole' }
      } else if (file) {
        count(file, record)
      }
    }
  }

  const { summary, hooks } = decoding(options, listed)
  return stage(summary, hooks, options.signal)
}

function count(file: Counts, record: ArchiveRecord): void {
  const bytes = lengthOf(record)
  file.size += bytes
  if (record.kind === 'hole') file.holeBytes += bytes
  else if (record.kind === 'reference' && record.origin === 'shared') file.sharedBytes += bytes
  else if (record.kind === 'reference') file.duplicateBytes += bytes
}

/** Not attributes, which may be large. */
function shownOf({ mode, owner, modified }: Metadata): Linked['metadata'] {
  return { ...(mode !== undefined && { mode }), ...(owner && { owner }), ...(modified && { modified }) }
}
