import { ReftarError } from '../errors.js'
import { type Common, type Path, pathBytes, quotePath } from '../event.js'
import { equalBytes } from '../format/bytes.js'
import { latin1 } from '../format/latin1.js'
import { joinPath, splitPath } from '../format/path.js'
import type { ArchiveRecord, Entry, EntryType, Metadata } from '../record.js'
import { type Origin, origin } from './stage.js'

/** What is to become an entry. */
export type NewEntry = NewInode | NewHardLink

/** An entry that is no other name of an earlier one. */
export interface NewInode {
  /** With slashes; parents that did not come as entries are implied. */
  readonly path: Path
  /** `file` by default. */
  readonly type?: Exclude<EntryType, 'hardlink'>
  readonly metadata?: Metadata
  /** Later entries may be hard links to it, for which its path is remembered; false by default. */
  readonly linked?: boolean
}

/** Another name of an earlier entry. */
export interface NewHardLink {
  readonly path: Path
  readonly type: 'hardlink'
  /** The path of an entry that is `linked`, or of another name of it. */
  readonly linkTo: Path
}

/** An entry, and its content. */
export interface NewItem {
  readonly entry: NewEntry
  /** The content of a file, of any length; node streams are such iterables. */
  readonly body?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>
}

/** What an {@link entrySource} has done. */
export interface EntrySourceSummary {
  entries: number
  files: number
  /** Sum of the sizes of all files, in bytes. */
  logicalBytes: number
}

/**
 * The records of entries from anywhere. They come depth first: once a directory was left, nothing more goes into it.
 * Unless each directory also comes in the byte order of its names, the {@link extentEncoder} needs `sorted: false`.
 *
 * @throws through the stream INVALID_ARGUMENT for an item that cannot be an entry, and what a body throws
 */
export function entrySource(
  items: AsyncIterable<NewItem> | Iterable<NewItem>,
  options: Common = {},
): Origin<ArchiveRecord, EntrySourceSummary> {
  const { onEvent = () => undefined, signal } = options
  const summary: EntrySourceSummary = { entries: 0, files: 0, logicalBytes: 0 }
  const open: { readonly name: Uint8Array; readonly ordinal: number }[] = []
  const ordinals = new Map<string, number>()
  let current: NewItem['body']

  function enter(name: Uint8Array, type: EntryType, metadata: Metadata, linked = false): Entry {
    const parent = open.at(-1)?.ordinal ?? 0
    const entry: Entry = {
      kind: 'entry',
      ordinal: ++summary.entries,
      parent,
      name,
      type,
      linked,
      metadata,
    }
    if (type === 'directory') open.push({ name, ordinal: entry.ordinal })
    return entry
  }

  /** Leaves the directories that do not lead to `names`, and enters the ones that do. */
  function* walkTo(names: readonly Uint8Array[]): Generator<Entry, void, undefined> {
    let common = 0
    while (common < names.length && isNamed(open[common]?.name, names[common])) common++
    open.length = common
    for (const name of names.slice(common)) yield enter(name, 'directory', {})
  }

  function newEntry(entry: NewEntry, name: Uint8Array, path: Uint8Array): Entry {
    if (entry.type !== 'hardlink') {
      const { type = 'file', metadata = {}, linked = false } = entry
      const made = enter(name, type, metadata, linked)
      if (linked) ordinals.set(latin1(path), made.ordinal)
      return made
    }
    const first = joinPath(splitPath(pathBytes(entry.linkTo)))
    const linkTo = ordinals.get(latin1(first))
    if (linkTo === undefined) {
      const message = `${quotePath(path)} is a hard link to ${quotePath(first)}, expected an earlier entry that is linked`
      throw new ReftarError('INVALID_ARGUMENT', message, { path })
    }
    ordinals.set(latin1(path), linkTo)
    return enter(name, 'hardlink', { linkTo })
  }

  async function* content(
    body: NewItem['body'],
    path: Uint8Array,
  ): AsyncGenerator<ArchiveRecord, number, undefined> {
    let size = 0
    for await (const bytes of body ?? []) {
      if (!(bytes instanceof Uint8Array)) {
        const message = `the body of ${quotePath(path)} gave a ${typeof bytes}, expected bytes`
        throw new ReftarError('INVALID_ARGUMENT', message, { path })
      }
      if (bytes.byteLength === 0) continue
      size += bytes.byteLength
      summary.logicalBytes += bytes.byteLength
      yield { kind: 'data', bytes, mayBeShared: false }
    }
    return size
  }

  async function* records(): AsyncGenerator<ArchiveRecord, void, undefined> {
    for await (const { entry, body } of items) {
      current = body
      const { type = 'file' } = entry
      const names = splitPath(pathBytes(entry.path))
      const name = names.pop()
      const path = joinPath(name ? [...names, name] : names)
      if (!name)
        throw new ReftarError('INVALID_ARGUMENT', 'an entry has an empty path, expected a name', { path })
      if (body && type !== 'file') {
        throw new ReftarError('INVALID_ARGUMENT', `${quotePath(path)} is a ${type}, and has a body`, { path })
      }
      yield* walkTo(names)
      yield newEntry(entry, name, path)
      let size = 0
      if (type === 'file') {
        size = yield* content(body, path)
        summary.files++
        yield { kind: 'end', state: 'whole' }
      }
      onEvent({ type: 'entry', path, size })
    }
  }

  return origin(summary, records, signal, () => {
    for (const stream of [current, items]) destroyStream(stream)
  })
}

/** A stream may be waiting for bytes that never come, and holds what it has open until it is read or destroyed. */
function destroyStream(iterable: unknown): void {
  ;(iterable as { destroy?: () => void } | undefined)?.destroy?.()
}

function isNamed(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a !== undefined && b !== undefined && equalBytes(a, b)
}
