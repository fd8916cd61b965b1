import { createHash } from 'node:crypto'
import { createCRC32 } from 'hash-wasm'
import type { Checksums } from '../format/checksums.js'

/** Compiles the hashes on first use: hash-wasm starts asynchronously and is synchronous from then on. */
export async function loadChecksums(): Promise<Checksums> {
  const hasher = await createCRC32()
  return {
    crc32(bytes) {
      const digest = hasher.init().update(bytes).digest('binary')
      return new DataView(digest.buffer, digest.byteOffset, digest.byteLength).getUint32(0)
    },
    sha256: bytes => payloadDigest([bytes]),
  }
}

/** SHA-256 of bytes that come in pieces. */
export function payloadDigest(pieces: Iterable<Uint8Array>): Uint8Array {
  const hash = createHash('sha256')
  for (const piece of pieces) hash.update(piece)
  return hash.digest()
}
