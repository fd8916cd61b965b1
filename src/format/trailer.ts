import { ByteReader, ByteWriter, equalBytes } from './bytes.js'
import type { Checksums } from './checksums.js'
import { DIGEST_SIZE, TRAILER_MAGIC, TRAILER_SIZE } from './constants.js'

/** What was counted from the tables of all segments. */
export interface Totals {
  readonly segments: number
  readonly entries: number
  /** Rows of data, holes, missing ranges and references. */
  readonly extents: number
  readonly blocks: number
  /** Bytes of data extents. */
  readonly dataBytes: number
  /** Sum of the sizes of all files. */
  readonly logicalBytes: number
}

export function noTotals(): Totals {
  return { segments: 0, entries: 0, extents: 0, blocks: 0, dataBytes: 0, logicalBytes: 0 }
}

/** FORMAT.md, "Trailer". */
export interface Trailer {
  readonly offset: number
  readonly totals: Totals
  readonly digest: Uint8Array
}

export function encodeTrailer({ offset, totals, digest }: Trailer, { crc32 }: Checksums): Uint8Array {
  const out = new ByteWriter(TRAILER_SIZE)
    .append(TRAILER_MAGIC)
    .u64(offset)
    .u64(totals.segments)
    .u64(totals.entries)
    .u64(totals.extents)
    .u64(totals.blocks)
    .u64(totals.dataBytes)
    .u64(totals.logicalBytes)
    .u64(0) // offset of the index
    .append(digest)
    .u32(0)
  return out.u32(crc32(out.view())).view()
}

/**
 * What a trailer says, whether or not that is so.
 *
 * @throws CHECKSUM_MISMATCH, LIMIT_EXCEEDED, or BAD_FIELD where it is not the trailer of this place
 */
export function statedTotals(bytes: Uint8Array, offset: number, checksums: Checksums): Totals {
  const reader = checkedReader(bytes, offset, checksums)
  reader.take(TRAILER_MAGIC.byteLength)
  const stated = reader.u64()
  if (stated !== offset) throw reader.error('BAD_FIELD', `trailer says offset ${stated}, expected ${offset}`)
  return {
    segments: reader.u64(),
    entries: reader.u64(),
    extents: reader.u64(),
    blocks: reader.u64(),
    dataBytes: reader.u64(),
    logicalBytes: reader.u64(),
  }
}

/** @throws CHECKSUM_MISMATCH */
function checkedReader(bytes: Uint8Array, offset: number, { crc32 }: Checksums): ByteReader {
  const reader = new ByteReader(bytes, offset)
  const fields = bytes.subarray(0, TRAILER_SIZE - 4)
  const crc = new ByteReader(bytes.subarray(TRAILER_SIZE - 4), 0).u32()
  if (crc !== crc32(fields)) {
    throw reader.error(
      'CHECKSUM_MISMATCH',
      `trailer has CRC32 ${crc}, expected ${crc32(fields)}`,
      TRAILER_SIZE - 4,
    )
  }
  return reader
}

/** @throws CHECKSUM_MISMATCH, or BAD_FIELD where the trailer differs from `expected` */
export function checkTrailer(bytes: Uint8Array, expected: Trailer, checksums: Checksums): void {
  const reader = checkedReader(bytes, expected.offset, checksums)
  const check = (what: string, value: number) => {
    const at = reader.position
    const found = reader.u64()
    if (found !== value)
      throw reader.error('BAD_FIELD', `trailer says ${what} ${found}, expected ${value}`, at)
  }
  reader.take(TRAILER_MAGIC.byteLength)
  check('offset', expected.offset)
  check('segments', expected.totals.segments)
  check('entries', expected.totals.entries)
  check('extents', expected.totals.extents)
  check('blocks', expected.totals.blocks)
  check('data bytes', expected.totals.dataBytes)
  check('logical bytes', expected.totals.logicalBytes)
  check('index at', 0)
  if (!equalBytes(reader.take(DIGEST_SIZE), expected.digest)) {
    throw reader.error('CHECKSUM_MISMATCH', 'the digest of the trailer is not that of the segments', 72)
  }
  reader.zeros(4, 'a reserved byte of the trailer')
}
