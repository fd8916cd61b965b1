import type { Entry } from '../record.js'

const SLASH = 0x2f
const DOT = 0x2e

/** Joins name components with slashes; raw bytes. */
export function joinPath(parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.byteLength + 1, 0)
  const path = new Uint8Array(Math.max(0, length - 1))
  let at = 0
  for (const part of parts) {
    if (at > 0) path[at - 1] = SLASH
    path.set(part, at)
    at += part.byteLength + 1
  }
  return path
}

/** Where an entry is in the archive. What is in one directory shares the way there: of deep trees, paths would be large. */
export class EntryPath {
  readonly #above: EntryPath | undefined
  readonly #name: Uint8Array

  constructor(above?: EntryPath, name: Uint8Array = new Uint8Array(0)) {
    this.#above = above
    this.#name = name
  }

  /** From the root of the archive, as raw bytes; empty for the target directory itself. */
  get bytes(): Uint8Array {
    const names: Uint8Array[] = []
    for (let at: EntryPath | undefined = this; at; at = at.#above)
      if (at.#name.byteLength > 0) names.push(at.#name)
    return joinPath(names.reverse())
  }
}

/** Follows the entries of a record stream and knows the path of each. */
export class EntryPaths {
  readonly #open: { readonly ordinal: number; readonly path: EntryPath }[] = []

  of({ ordinal, parent, name, type }: Entry): EntryPath {
    while (this.#open.length > 0 && this.#open.at(-1)?.ordinal !== parent) this.#open.pop()
    const path = new EntryPath(this.#open.at(-1)?.path, name)
    if (type === 'directory') this.#open.push({ ordinal, path })
    return path
  }
}

/** The components of a path, without empty ones and `.`; raw bytes. */
export function splitPath(path: Uint8Array): Uint8Array[] {
  const names: Uint8Array[] = []
  let start = 0
  for (let at = 0; at <= path.byteLength; at++) {
    if (at < path.byteLength && path[at] !== SLASH) continue
    const name = path.slice(start, at)
    start = at + 1
    const isHere = name.byteLength === 1 && name[0] === DOT
    if (name.byteLength > 0 && !isHere) names.push(name)
  }
  return names
}
