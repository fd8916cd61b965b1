import { createHash } from 'node:crypto'
import type { Checksums } from '../format/checksums.js'
import { loadBlockKernel } from './block-kernel.js'
import { loadCrc32 } from './crc32.js'

/** Compiles what is WebAssembly; all is synchronous from then on. */
export async function loadChecksums(): Promise<Checksums> {
  const [crc32, kernel] = await Promise.all([loadCrc32(), loadBlockKernel()])
  return {
    crc32,
    blockCrcs: (bytes, blockSize) => kernel.sum(bytes, blockSize).crcs,
    sha256: bytes => createHash('sha256').update(bytes).digest(),
  }
}
