import { readFileSync } from 'node:fs'
import { isStandard } from './archive-file.js'

const LINE_END = 0x0a

/** The patterns of a file, one a line; blank lines and those that begin with `#` are none. */
export function patternsIn(file: string): string[] {
  const lines = read(file).toString().split(/\r?\n/)
  return lines.filter(line => line.trim() !== '' && !line.startsWith('#'))
}

/** The names of a file as raw bytes, one a line, or one up to each zero byte. */
export function namesIn(file: string, isZeroEnded: boolean): Uint8Array[] {
  const bytes = read(file)
  const names: Uint8Array[] = []
  for (let start = 0; start < bytes.byteLength; ) {
    const found = bytes.indexOf(isZeroEnded ? 0 : LINE_END, start)
    const end = found === -1 ? bytes.byteLength : found
    if (end > start) names.push(bytes.subarray(start, end))
    start = end + 1
  }
  return names
}

function read(file: string): Buffer {
  return readFileSync(isStandard(file) ? 0 : file)
}
