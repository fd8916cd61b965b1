import { type ErrorCode, ReftarError } from './errors.js'

/** What a stage tells while it works; paths are raw bytes. */
export type ReftarEvent =
  /** An entry is complete. `size` is in bytes. */
  | { readonly type: 'entry'; readonly path: Uint8Array; readonly size: number }
  /** Something is not as asked for, and the work goes on. */
  | {
      readonly type: 'problem'
      readonly code: ErrorCode
      readonly path: Uint8Array
      readonly message: string
    }
  /** Worth knowing, and nothing is amiss. */
  | { readonly type: 'note'; readonly message: string }

/** Options that every stage with a voice takes. */
export interface Common {
  /** Ends the work: what fails, fails with its reason. */
  readonly signal?: AbortSignal
  /** Called for each entry, problem and note. */
  readonly onEvent?: (event: ReftarEvent) => void
}

/** A path: a string stands for its UTF-8 bytes. */
export type Path = string | Uint8Array

/** @throws INVALID_ARGUMENT for what is no path */
export function pathBytes(path: Path): Uint8Array {
  if (path instanceof Uint8Array) return path
  if (typeof path === 'string') return new TextEncoder().encode(path)
  throw new ReftarError('INVALID_ARGUMENT', `a path is a ${typeof path}, expected text or bytes`)
}

/** @throws INVALID_ARGUMENT for what is no list of paths, and for an empty one */
export function pathList(paths: Iterable<Path>): Uint8Array[] {
  const isList = typeof paths === 'object' && paths !== null && Symbol.iterator in paths
  if (!isList || paths instanceof Uint8Array) {
    const found = typeof paths === 'string' || paths instanceof Uint8Array ? 'one path' : typeof paths
    throw new ReftarError('INVALID_ARGUMENT', `paths are ${found}, expected a list of paths`)
  }
  const list = Array.from(paths, pathBytes)
  if (list.length === 0) throw new ReftarError('INVALID_ARGUMENT', 'no path, expected at least one')
  return list
}

/** A path for people: in single quotes, with every byte that is not printable text escaped as in a C string. */
export function quotePath(path: Uint8Array): string {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(path)
  const isText = !text.includes('\ufffd')
  const quoted = isText ? Array.from(text, escapeCharacter) : Array.from(path, escapeByte)
  return `'${quoted.join('')}'`
}

const UNPRINTABLE = /^[\p{C}\p{Zl}\p{Zp}]$/u

function escapeCharacter(character: string): string {
  if (character === '\n') return '\\n'
  if (character === '\\' || character === "'") return `\\${character}`
  if (!UNPRINTABLE.test(character)) return character
  return Array.from(new TextEncoder().encode(character), octal).join('')
}

function escapeByte(byte: number): string {
  return byte < 0x80 ? escapeCharacter(String.fromCharCode(byte)) : octal(byte)
}

function octal(byte: number): string {
  return `\\${byte.toString(8).padStart(3, '0')}`
}
