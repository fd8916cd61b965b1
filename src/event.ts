import type { ErrorCode } from './errors.js'

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
  readonly signal?: AbortSignal
  readonly onEvent?: (event: ReftarEvent) => void
}

/** A path: a string stands for its UTF-8 bytes. */
export type Path = string | Uint8Array

export function pathBytes(path: Path): Uint8Array {
  return typeof path === 'string' ? new TextEncoder().encode(path) : path
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
