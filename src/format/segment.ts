import { ByteReader, ByteWriter } from './bytes.js'
import type { Checksums } from './checksums.js'
import { DIGEST_SIZE, MAX_TABLES, SEGMENT_HEADER_SIZE, SEGMENT_MAGIC, SEGMENT_PAYLOAD } from './constants.js'

/** FORMAT.md, "Segment header": where a segment stands among the others. */
export interface SegmentPosition {
  /** Of the segment header, in bytes from the start of the archive. */
  readonly offset: number
  readonly sequence: number
  /** The ordinal that the first new entry of this segment has. */
  readonly firstOrdinal: number
  /** The number of the first block of this segment. */
  readonly firstBlock: number
  /** The file that this segment continues, or 0. */
  readonly continuedEntry: number
  /** The bytes of that file which came before. */
  readonly continuedSize: number
}

/** FORMAT.md, "Segment header": how the segment is laid out; lengths in bytes. */
export interface SegmentLayout {
  readonly openDirectories: number
  readonly namesLength: number
  readonly rowsLength: number
  readonly blocks: number
  readonly shortLength: number
  readonly wholeBlocks: number
}

export interface SegmentTables {
  readonly openDirectories: readonly number[]
  readonly names: Uint8Array
  readonly rows: Uint8Array
  /** One CRC32 a block, short ones included. */
  readonly crcs: Uint32Array
}

export interface SegmentHeader extends SegmentPosition, SegmentLayout {
  /** SHA-256, or all zero where the archive leaves it out. */
  readonly payloadDigest: Uint8Array
  readonly crc: number
}

export function tablesLength(layout: SegmentLayout): number {
  return layout.openDirectories * 8 + layout.namesLength + layout.rowsLength + layout.blocks * 4
}

/** Zero bytes between short and whole blocks: none where there is no whole block to align. */
export function paddingLength(segmentOffset: number, layout: SegmentLayout, blockSize: number): number {
  if (layout.wholeBlocks === 0) return 0
  const end = segmentOffset + SEGMENT_HEADER_SIZE + tablesLength(layout) + layout.shortLength
  return (blockSize - (end % blockSize)) % blockSize
}

/** Short blocks, padding and whole blocks, in bytes. */
export function payloadLength(segmentOffset: number, layout: SegmentLayout, blockSize: number): number {
  return layout.shortLength + paddingLength(segmentOffset, layout, blockSize) + layout.wholeBlocks * blockSize
}

/** The header and the tables, with their CRC32. */
export function encodeSegmentHead(
  position: SegmentPosition,
  layout: SegmentLayout,
  tables: SegmentTables,
  payload: { readonly length: number; readonly digest: Uint8Array },
  { crc32 }: Checksums,
): Uint8Array {
  const out = new ByteWriter(SEGMENT_HEADER_SIZE + tablesLength(layout))
    .append(SEGMENT_MAGIC)
    .u64(position.offset)
    .u64(position.sequence)
    .u64(position.firstOrdinal)
    .u64(position.firstBlock)
    .u64(position.continuedEntry)
    .u64(position.continuedSize)
    .u32(layout.openDirectories)
    .u32(layout.namesLength)
    .u32(layout.rowsLength)
    .u32(layout.blocks)
    .u32(layout.shortLength)
    .u32(layout.wholeBlocks)
    .u32(payload.length) // as stored
    .u32(payload.length) // as it is read: the two differ once a feature bit permits compression
    .append(payload.digest)
    .u32(0)
    .u32(0) // the CRC32 itself
  for (const ordinal of tables.openDirectories) out.u64(ordinal)
  out.append(tables.names).append(tables.rows)
  for (const crc of tables.crcs) out.u32(crc)
  const head = out.view()
  new DataView(head.buffer).setUint32(SEGMENT_HEADER_SIZE - 4, crc32(head), true)
  return head
}

/** What a segment header says of its own place; {@link decodeSegmentHeader} then finds it so. @throws LIMIT_EXCEEDED */
export function statedPosition(header: Uint8Array): SegmentPosition {
  const reader = new ByteReader(header, 0)
  reader.take(SEGMENT_MAGIC.byteLength)
  return {
    offset: reader.u64(),
    sequence: reader.u64(),
    firstOrdinal: reader.u64(),
    firstBlock: reader.u64(),
    continuedEntry: reader.u64(),
    continuedSize: reader.u64(),
  }
}

/**
 * Reads a segment header and checks it against itself and against where it must stand.
 *
 * @throws BAD_FIELD, LIMIT_EXCEEDED
 */
export function decodeSegmentHeader(
  bytes: Uint8Array,
  expected: SegmentPosition,
  blockSize: number,
): SegmentHeader {
  const reader = new ByteReader(bytes, expected.offset)
  reader.take(SEGMENT_MAGIC.byteLength)
  const check = (what: string, value: number) => {
    const at = reader.position
    const found = reader.u64()
    if (found !== value)
      throw reader.error('BAD_FIELD', `segment has ${what} ${found}, expected ${value}`, at)
  }
  check('offset', expected.offset)
  check('sequence number', expected.sequence)
  check('first ordinal', expected.firstOrdinal)
  check('first block', expected.firstBlock)
  check('continued entry', expected.continuedEntry)
  check('continued size', expected.continuedSize)
  const layout: SegmentLayout = {
    openDirectories: reader.u32(),
    namesLength: reader.u32(),
    rowsLength: reader.u32(),
    blocks: reader.u32(),
    shortLength: reader.u32(),
    wholeBlocks: reader.u32(),
  }
  checkLayout(reader, layout, blockSize)
  const length = payloadLength(expected.offset, layout, blockSize)
  for (const what of ['stored', 'logical']) {
    const at = reader.position
    const found = reader.u32()
    if (found !== length)
      throw reader.error('BAD_FIELD', `${what} payload has ${found} bytes, expected ${length}`, at)
  }
  const payloadDigest = reader.take(DIGEST_SIZE).slice()
  reader.zeros(4, 'a reserved byte of the segment header')
  return { ...expected, ...layout, payloadDigest, crc: reader.u32() }
}

function checkLayout(reader: ByteReader, layout: SegmentLayout, blockSize: number): void {
  const tables = tablesLength(layout)
  if (tables > MAX_TABLES)
    throw reader.error('LIMIT_EXCEEDED', `tables have ${tables} bytes, the limit is ${MAX_TABLES}`)
  if (layout.rowsLength === 0) throw reader.error('BAD_FIELD', 'segment has no rows')
  const { blocks, wholeBlocks, shortLength } = layout
  const shortBlocks = blocks - wholeBlocks
  if (shortBlocks < 0) throw reader.error('BAD_FIELD', `${wholeBlocks} whole blocks of ${blocks} blocks`)
  if (shortLength < shortBlocks || shortLength > shortBlocks * (blockSize - 1)) {
    throw reader.error('BAD_FIELD', `${shortBlocks} short blocks have ${shortLength} bytes together`)
  }
  const bytes = shortLength + wholeBlocks * blockSize
  if (bytes > SEGMENT_PAYLOAD)
    throw reader.error('LIMIT_EXCEEDED', `blocks have ${bytes} bytes, the limit is ${SEGMENT_PAYLOAD}`)
}

/**
 * Splits the tables that follow a segment header.
 *
 * @param head - header and tables; its CRC32 field is zeroed in place
 * @throws CHECKSUM_MISMATCH
 */
export function decodeSegmentTables(
  head: Uint8Array,
  header: SegmentHeader,
  { crc32 }: Checksums,
): SegmentTables {
  head.fill(0, SEGMENT_HEADER_SIZE - 4, SEGMENT_HEADER_SIZE)
  const reader = new ByteReader(head, header.offset)
  const expected = crc32(head)
  if (header.crc !== expected) {
    const message = `segment header and tables have CRC32 ${header.crc}, expected ${expected}`
    throw reader.error('CHECKSUM_MISMATCH', message, SEGMENT_HEADER_SIZE - 4)
  }
  reader.position = SEGMENT_HEADER_SIZE
  const openDirectories = Array.from({ length: header.openDirectories }, () => reader.u64())
  const names = reader.take(header.namesLength)
  const rows = reader.take(header.rowsLength)
  const crcs = Uint32Array.from({ length: header.blocks }, () => reader.u32())
  return { openDirectories, names, rows, crcs }
}
