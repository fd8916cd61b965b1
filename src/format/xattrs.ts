import type { Xattr } from '../record.js'
import { type ByteReader, type ByteWriter, compareBytes } from './bytes.js'
import { MAX_FIELDS, MAX_LINK_TARGET, MAX_XATTR_NAME, MAX_XATTR_VALUE } from './constants.js'

/** FORMAT.md, "Extended attributes". */

const HEAD = 4
/** What an entry can hold besides, in bytes. */
const OTHER_FIELDS = MAX_LINK_TARGET + 256

/** How many bytes attributes may have together, so that they fit into any entry. */
export const MAX_XATTRS = MAX_FIELDS - OTHER_FIELDS

/** How many bytes the value of the field has. */
export function xattrsSize(xattrs: readonly Xattr[]): number {
  return xattrs.reduce((sum, { name, value }) => sum + HEAD + name.byteLength + value.byteLength, 0)
}

export function encodeXattrs(out: ByteWriter, xattrs: readonly Xattr[]): void {
  for (const { name, value } of xattrs) {
    out.u8(name.byteLength).u24(value.byteLength).append(name).append(value)
  }
}

/** Reads attributes up to `end`; {@link xattrsFault} tells whether they may be. @throws BAD_FIELD */
export function decodeXattrs(reader: ByteReader, end: number): Xattr[] {
  const xattrs: Xattr[] = []
  while (reader.position < end) {
    const nameLength = reader.u8()
    const valueLength = reader.u24()
    xattrs.push({ name: reader.take(nameLength).slice(), value: reader.take(valueLength).slice() })
  }
  return xattrs
}

/** What is wrong with a list of attributes, in words; undefined when nothing is. */
export function xattrsFault(xattrs: readonly Xattr[]): string | undefined {
  for (const [i, { name, value }] of xattrs.entries()) {
    const length = name.byteLength
    if (length === 0 || length > MAX_XATTR_NAME || name.includes(0)) {
      return `the name of an extended attribute has ${length} bytes, expected 1 to ${MAX_XATTR_NAME}, none of them 0`
    }
    if (value.byteLength > MAX_XATTR_VALUE) {
      return `an extended attribute has ${value.byteLength} bytes, the limit is ${MAX_XATTR_VALUE}`
    }
    const before = xattrs[i - 1]
    if (before && compareBytes(before.name, name) >= 0) {
      return 'extended attributes are not in the byte order of their names'
    }
  }
  return undefined
}
