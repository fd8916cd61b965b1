import type { End, Hole, Missing, Reference } from '../record.js'
import type { ByteReader, ByteWriter } from './bytes.js'

/** FORMAT.md, "Extent rows". A data row has a length and a flag; its bytes are in the blocks of the segment. */
export interface DataRow {
  readonly kind: 'dataRow'
  readonly length: number
  readonly mayBeShared: boolean
}

export type ExtentRow = DataRow | Hole | Missing | Reference

const DATA_TAG = 2
const HOLE_TAG = 3
const MISSING_TAG = 4
const REFERENCE_TAG = 5
const END_TAG = 6

export const DATA_ROW_SIZE = 8
export const EXTENT_ROW_SIZE = 12
export const REFERENCE_ROW_SIZE = 20
export const END_ROW_SIZE = 4

export const MAX_ERRNO = 4095 // the kernel's own bound, MAX_ERRNO of linux/err.h

export function isErrno(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= MAX_ERRNO
}

export function extentRowSize(row: ExtentRow): number {
  if (row.kind === 'dataRow') return DATA_ROW_SIZE
  return row.kind === 'reference' ? REFERENCE_ROW_SIZE : EXTENT_ROW_SIZE
}

export function encodeExtentRow(out: ByteWriter, row: ExtentRow): void {
  switch (row.kind) {
    case 'dataRow':
      out
        .u8(DATA_TAG)
        .u8(row.mayBeShared ? 1 : 0)
        .u16(0)
        .u32(row.length)
      break
    case 'hole':
      out
        .u8(HOLE_TAG)
        .u8(row.preallocated ? 1 : 0)
        .u16(0)
        .u64(row.length)
      break
    case 'missing':
      out.u8(MISSING_TAG).u8(0).u16(row.errno).u64(row.length)
      break
    case 'reference':
      out
        .u8(REFERENCE_TAG)
        .u8(row.origin === 'dedup' ? 1 : 0)
        .u16(0)
        .u64(row.address)
        .u64(row.length)
  }
}

export function encodeEndRow(out: ByteWriter, end: End): void {
  out
    .u8(END_TAG)
    .u8(end.state === 'changed' ? 1 : 0)
    .u16(0)
}

/**
 * Reads a row whose tag was read already.
 *
 * @throws BAD_FIELD
 */
export function decodeExtentRow(reader: ByteReader, tag: number): ExtentRow | End {
  const at = reader.position - 1
  const flag = reader.u8()
  if (flag > 1 || (flag > 0 && tag === MISSING_TAG)) {
    throw reader.error(
      'BAD_FIELD',
      `row has flag ${flag}, expected 0${tag === MISSING_TAG ? '' : ' or 1'}`,
      at + 1,
    )
  }
  const errno = reader.u16()
  const errnoAllowed = tag === MISSING_TAG ? isErrno(errno) : errno === 0
  if (!errnoAllowed) {
    throw reader.error(
      'BAD_FIELD',
      `row has error number ${errno}, expected ${tag === MISSING_TAG ? `1 to ${MAX_ERRNO}` : 0}`,
      at + 2,
    )
  }
  const row = decodeRest(reader, tag, flag === 1, errno)
  if (!row) throw reader.error('BAD_FIELD', `row has unknown tag ${tag}`, at)
  if (row.kind !== 'end' && row.length === 0)
    throw reader.error('BAD_FIELD', 'extent has length 0, expected more', at)
  return row
}

function decodeRest(
  reader: ByteReader,
  tag: number,
  flag: boolean,
  errno: number,
): ExtentRow | End | undefined {
  switch (tag) {
    case DATA_TAG:
      return { kind: 'dataRow', length: reader.u32(), mayBeShared: flag }
    case HOLE_TAG:
      return { kind: 'hole', length: reader.u64(), preallocated: flag }
    case MISSING_TAG:
      return { kind: 'missing', length: reader.u64(), errno }
    case REFERENCE_TAG:
      return {
        kind: 'reference',
        address: reader.u64(),
        length: reader.u64(),
        origin: flag ? 'dedup' : 'shared',
      }
    case END_TAG:
      return { kind: 'end', state: flag ? 'changed' : 'whole' }
    default:
      return undefined
  }
}

/** The one row that says what `a` and then `b` say, if there is one: the canonical form has it merged. */
export function joinRows(a: ExtentRow, b: ExtentRow): ExtentRow | undefined {
  const length = a.length + b.length
  if (a.kind === 'dataRow' && b.kind === 'dataRow' && a.mayBeShared === b.mayBeShared) return { ...a, length }
  if (a.kind === 'hole' && b.kind === 'hole' && a.preallocated === b.preallocated) return { ...a, length }
  if (a.kind === 'missing' && b.kind === 'missing' && a.errno === b.errno) return { ...a, length }
  if (a.kind !== 'reference' || b.kind !== 'reference' || a.origin !== b.origin) return undefined
  return a.address + a.length === b.address ? { ...a, length } : undefined
}
