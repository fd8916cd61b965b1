import { createHash, subtle } from 'node:crypto'
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
    sha256: bytes => createHash('sha256').update(bytes).digest(),
  }
}

/** SHA-256, on another thread. */
export async function sha256Async(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await subtle.digest('SHA-256', bytes))
}
