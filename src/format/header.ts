import { type ErrorCode, ReftarError } from '../errors.js'
import { ByteReader, ByteWriter, equalBytes } from './bytes.js'
import type { Checksums } from './checksums.js'
import {
  FEATURE_NO_PAYLOAD_DIGEST,
  FLAG_SORTED,
  HEADER_FIELDS,
  HEADER_MAGIC,
  MAX_BLOCK_SIZE,
  MIN_BLOCK_SIZE,
  VERSION,
} from './constants.js'

/** FORMAT.md, "Header". */
export interface Header {
  /** In bytes. */
  readonly blockSize: number
  readonly features: number
  /** Siblings ascend by the bytes of their names. */
  readonly sorted: boolean
}

const BASE_SIZE = 32

export function isBlockSize(value: number): boolean {
  return (
    Number.isInteger(value) &&
    (value & (value - 1)) === 0 &&
    value >= MIN_BLOCK_SIZE &&
    value <= MAX_BLOCK_SIZE
  )
}

export function encodeHeader(header: Header, { crc32 }: Checksums): Uint8Array {
  const out = new ByteWriter(header.blockSize)
    .append(HEADER_MAGIC)
    .u16(VERSION)
    .u32(header.blockSize)
    .u64(header.features)
    .u64(header.sorted ? FLAG_SORTED : 0)
    .zeros(BASE_SIZE)
  out.u32(crc32(out.view())).zeros(header.blockSize - HEADER_FIELDS)
  return out.view()
}

/**
 * How many bytes the header has, from its first 12.
 *
 * @throws BAD_MAGIC, UNSUPPORTED_VERSION, BAD_FIELD
 */
export function headerSize(prefix: Uint8Array): number {
  const reader = new ByteReader(prefix, 0)
  if (!equalBytes(reader.take(6), HEADER_MAGIC)) {
    throw new ReftarError('BAD_MAGIC', 'not a reftar archive: it does not begin with "reftar"', { offset: 0 })
  }
  const version = reader.u16()
  if (version !== VERSION) {
    const hint = version === 1 ? ', the format of the prototype,' : ''
    throw reader.error('UNSUPPORTED_VERSION', `found version ${version}${hint} expected ${VERSION}`, 6)
  }
  const blockSize = reader.u32()
  if (!isBlockSize(blockSize)) {
    const range = `a power of two from ${MIN_BLOCK_SIZE} to ${MAX_BLOCK_SIZE}`
    throw reader.error('BAD_FIELD', `block size is ${blockSize}, expected ${range}`, 8)
  }
  return blockSize
}

/** @throws UNSUPPORTED_FEATURE, BAD_FIELD, CHECKSUM_MISMATCH and what {@link headerSize} throws */
export function decodeHeader(bytes: Uint8Array, { crc32 }: Checksums): Header {
  const blockSize = headerSize(bytes)
  const reader = new ByteReader(bytes, 0)
  reader.position = HEADER_FIELDS - 4
  const found = reader.u32()
  const expected = crc32(bytes.subarray(0, HEADER_FIELDS - 4))
  if (found !== expected) {
    throw reader.error(
      'CHECKSUM_MISMATCH',
      `header has CRC32 ${found}, expected ${expected}`,
      HEADER_FIELDS - 4,
    )
  }
  reader.zeros(blockSize - HEADER_FIELDS, 'a reserved byte of the header')

  reader.position = 12
  const features = readBits(reader, 'UNSUPPORTED_FEATURE', 'feature bits', FEATURE_NO_PAYLOAD_DIGEST)
  const flags = readBits(reader, 'BAD_FIELD', 'header flags', FLAG_SORTED)
  reader.zeros(BASE_SIZE, 'the digest of a base archive')
  return { blockSize, features, sorted: flags === FLAG_SORTED }
}

/** 64 bits, of which only low ones have a meaning yet. */
function readBits(reader: ByteReader, code: ErrorCode, what: string, known: number): number {
  const at = reader.position
  const low = reader.u32()
  const high = reader.u32()
  if (low > known || high > 0) {
    const found = (BigInt(high) << 32n) | BigInt(low)
    throw reader.error(code, `${what} are 0x${found.toString(16)}, known are 0x${known.toString(16)}`, at)
  }
  return low
}
