import hashWasm from 'hash-wasm/dist/crc32.umd.min.js'

/** CRC-32 of IEEE 802.3; hash-wasm starts asynchronously and is synchronous from then on. */
export async function loadCrc32(): Promise<(bytes: Uint8Array) => number> {
  const hasher = await hashWasm.createCRC32()
  return bytes => {
    const digest = hasher.init().update(bytes).digest('binary')
    return new DataView(digest.buffer, digest.byteOffset, digest.byteLength).getUint32(0)
  }
}
