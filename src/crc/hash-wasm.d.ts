// One algorithm of hash-wasm, without the others; the package has no types for these files.
declare module 'hash-wasm/dist/crc32.umd.min.js' {
  import type { createCRC32 } from 'hash-wasm'

  const algorithm: { readonly createCRC32: typeof createCRC32 }
  export default algorithm
}
