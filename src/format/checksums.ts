/** Handed in by the caller, so that the codecs stay pure. */
export interface Checksums {
  /** CRC-32 of IEEE 802.3, as an unsigned number. */
  readonly crc32: (bytes: Uint8Array) => number
  /** The CRC-32 of each block of `blockSize` bytes; the last block may be shorter. */
  readonly blockCrcs: (bytes: Uint8Array, blockSize: number) => Uint32Array
  /** 32 bytes, FIPS 180-4. */
  readonly sha256: (bytes: Uint8Array) => Uint8Array
}

/** The digest of a whole archive grows link by link: FORMAT.md, "Trailer". */
export function chainDigest(previous: Uint8Array, next: Uint8Array, { sha256 }: Checksums): Uint8Array {
  const link = new Uint8Array(previous.byteLength + next.byteLength)
  link.set(previous)
  link.set(next, previous.byteLength)
  return sha256(link)
}
