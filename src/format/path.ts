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

/** Follows the entries of a record stream and knows the path of each. */
export class EntryPaths {
  readonly #open: { readonly ordinal: number; readonly name: Uint8Array }[] = []

  /** From the root of the archive, as raw bytes; empty for the target directory itself. */
  pathOf({ ordinal, parent, name, type }: Entry): Uint8Array {
    while (this.#open.length > 0 && this.#open.at(-1)?.ordinal !== parent) this.#open.pop()
    const path = joinPath(
      [...this.#open.map(directory => directory.name), name].filter(part => part.byteLength > 0),
    )
    if (type === 'directory') this.#open.push({ ordinal, name })
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
