import type { DirectoryEntry } from '../sys/directory.js'

/** The type of an entry that has to be asked for. */
export const UNKNOWN = 0

/** Names that were not read from their directory, in order. */
export function entriesOf(names: Iterable<string>): DirectoryEntry[] {
  return Array.from(names, name => ({ name, type: UNKNOWN })).sort(byName)
}

/** In the order of the bytes of their names. */
export function byName(a: DirectoryEntry, b: DirectoryEntry): number {
  return a.name < b.name ? -1 : 1
}
