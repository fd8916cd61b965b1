import { ReftarError } from '../errors.js'
import { quotePath } from '../event.js'
import { latin1 } from '../format/latin1.js'
import { splitPath } from '../format/path.js'

const SLASH = 0x2f

/** What was asked for, as one tree of names: several paths that overlap become one walk. */
export interface Selection {
  readonly name: Uint8Array
  /** Everything below belongs to it; else only `children` do, and it is a mere parent of them. */
  whole: boolean
  /** The names below lead from the root of the filesystem, not from the directory that was given. */
  readonly absolute: boolean
  readonly children: Map<string, Selection>
}

/**
 * @param onAbsolute - told once when a leading slash is dropped
 * @throws INVALID_ARGUMENT for an empty path, one with `..`, and two that would be stored under one name
 */
export function selectPaths(paths: Iterable<Uint8Array>, onAbsolute: () => void): Selection {
  const root: Selection = { name: new Uint8Array(0), whole: false, absolute: false, children: new Map() }
  let noted = false
  let absoluteRoot = false
  let relativeRoot = false
  for (const path of paths) {
    const absolute = path[0] === SLASH
    if (absolute && !noted) {
      noted = true
      onAbsolute()
    }
    const names = componentsOf(path)
    if (names.length === 0) {
      if (absolute) absoluteRoot = true
      else relativeRoot = true
    }
    insert(root, names, absolute, path)
  }
  if (absoluteRoot && relativeRoot) throw ambiguous(new Uint8Array([0x2e]))
  for (const child of root.children.values()) {
    if (root.whole && child.absolute !== absoluteRoot) throw ambiguous(child.name)
  }
  return { ...root, absolute: absoluteRoot }
}

function insert(root: Selection, names: readonly Uint8Array[], absolute: boolean, path: Uint8Array): void {
  let at = root
  for (const name of names) {
    const key = latin1(name)
    const known = at.children.get(key)
    if (known && known.absolute !== absolute) throw ambiguous(path)
    const next = known ?? { name, whole: false, absolute, children: new Map<string, Selection>() }
    at.children.set(key, next)
    at = next
  }
  at.whole = true
}

function componentsOf(path: Uint8Array): Uint8Array[] {
  if (path.byteLength === 0)
    throw new ReftarError('INVALID_ARGUMENT', 'a path is empty, expected a name', { path })
  const names = splitPath(path)
  if (names.some(name => latin1(name) === '..')) {
    throw new ReftarError('INVALID_ARGUMENT', `${quotePath(path)} has a '..', expected a path without one`, {
      path,
    })
  }
  return names
}

function ambiguous(path: Uint8Array): ReftarError {
  const message = `${quotePath(path)} would be stored under the same name as another path, expected one of them`
  return new ReftarError('INVALID_ARGUMENT', message, { path })
}
