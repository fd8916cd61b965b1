import { type BlockKernel, loadBlockKernel } from '../../src/crc/block-kernel.js'
import { noise } from './trees.js'

/** The generator polynomial of CRC-32 with its leading term, in the bit order of the checksum. */
const GENERATOR = Buffer.alloc(8)
GENERATOR.writeBigUInt64LE((0xedb88320n << 1n) | 1n)

/** Adding a multiple of its generator polynomial to data leaves a CRC as it is. */
function withSameCrc(block: Uint8Array, choice: number): Buffer {
  const forged = Buffer.from(block)
  for (let bit = 0; bit < 24; bit++) {
    if (((choice >> bit) & 1) === 0) continue
    for (let i = 0; i < 5; i++)
      forged[8 * bit + i] = (forged[8 * bit + i] as number) ^ (GENERATOR[i] as number)
  }
  return forged
}

/** Two blocks that differ, with equal CRC32 and equal second hash: what an attacker can make in a second. */
export async function forgedPair(size: number): Promise<readonly [Buffer, Buffer]> {
  const kernel: BlockKernel = await loadBlockKernel()
  const base = noise(size, 'forged')
  const batch = Math.max(1, Math.floor((1024 * 1024) / size))
  const seen = new Map<number, number>()
  for (let choice = 0; choice < 1 << 24; choice += batch) {
    const blocks = Array.from({ length: batch }, (_, i) => withSameCrc(base, choice + i))
    const { hashes } = kernel.sum(Buffer.concat(blocks), size)
    for (const [i, hash] of hashes.entries()) {
      const other = seen.get(hash)
      if (other !== undefined) return [withSameCrc(base, other), blocks[i] as Buffer]
      seen.set(hash, choice + i)
    }
  }
  throw new Error('no two blocks have the same hashes')
}
