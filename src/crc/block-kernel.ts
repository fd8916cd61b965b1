import { BLOCK_KERNEL } from './block-kernel-bytes.js'
import { loadCrc32 } from './crc32.js'

/** What the blocks of some bytes sum to, one of each for every block, in their order. */
export interface BlockSums {
  /** CRC-32 of IEEE 802.3. */
  readonly crcs: Uint32Array
  /** Of the bytes and the length of the block. Independent of the CRC, and like it no proof of anything. */
  readonly hashes: Uint32Array
  /** 1 where every byte is zero, else 0. */
  readonly zeros: Uint8Array
}

export interface BlockKernel {
  /**
   * Sums blocks of `blockSize` bytes, of which the last may be shorter. The block size must be one that the format
   * allows, a power of two from 512 to 65536. The result is the caller's, and does not depend on the block size but
   * for where it cuts.
   */
  sum(bytes: Uint8Array, blockSize: number): BlockSums
}

let loaded: Promise<BlockKernel> | undefined

/** The WebAssembly kernel, compiled once and shared, or the plain one where there are no vector instructions. */
export function loadBlockKernel(): Promise<BlockKernel> {
  loaded ??= load()
  return loaded
}

async function load(): Promise<BlockKernel> {
  const binary = Buffer.from(BLOCK_KERNEL, 'base64')
  return WebAssembly.validate(binary) ? loadVectorKernel(binary) : loadPlainKernel()
}

/** See wasm/block-kernel.ts. */
interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer }
  /** Bytes that it takes in one call, from address 0 on. */
  readonly BATCH: Address
  readonly CRCS: Address
  readonly HASHES: Address
  readonly ZEROS: Address
  readonly sum: (length: number, blockSize: number) => void
}

interface Address {
  readonly value: number
}

/** What the types of Node leave out. */
declare const WebAssembly: {
  validate(binary: Uint8Array): boolean
  instantiate(binary: Uint8Array): Promise<{ readonly instance: { readonly exports: object } }>
}

async function loadVectorKernel(binary: Uint8Array): Promise<BlockKernel> {
  const { instance } = await WebAssembly.instantiate(binary)
  const { memory, BATCH, CRCS, HASHES, ZEROS, sum } = instance.exports as Exports
  const input = new Uint8Array(memory.buffer, 0, BATCH.value)
  const crcsOut = new DataView(memory.buffer, CRCS.value)
  const hashesOut = new DataView(memory.buffer, HASHES.value)
  const zerosOut = new Uint8Array(memory.buffer, ZEROS.value)
  return {
    sum(bytes, blockSize) {
      const sums = emptySums(bytes, blockSize)
      const { crcs, hashes, zeros } = sums
      let block = 0
      for (let at = 0; at < bytes.byteLength; at += input.byteLength) {
        const batch = bytes.subarray(at, at + input.byteLength)
        input.set(batch)
        sum(batch.byteLength, blockSize)
        const count = Math.ceil(batch.byteLength / blockSize)
        for (let i = 0; i < count; i++, block++) {
          crcs[block] = crcsOut.getUint32(4 * i, true)
          hashes[block] = hashesOut.getUint32(4 * i, true)
          zeros[block] = zerosOut[i] ?? 0
        }
      }
      return sums
    },
  }
}

function emptySums(bytes: Uint8Array, blockSize: number): BlockSums {
  const count = Math.ceil(bytes.byteLength / blockSize)
  return { crcs: new Uint32Array(count), hashes: new Uint32Array(count), zeros: new Uint8Array(count) }
}

/** Sums to the same in plain JavaScript, with the CRC32 of hash-wasm. */
export async function loadPlainKernel(): Promise<BlockKernel> {
  const crc32 = await loadCrc32()
  return {
    sum(bytes, blockSize) {
      const sums = emptySums(bytes, blockSize)
      for (let i = 0; i < sums.crcs.length; i++) {
        const block = bytes.subarray(i * blockSize, (i + 1) * blockSize)
        sums.crcs[i] = crc32(block)
        sums.hashes[i] = hash(block)
        sums.zeros[i] = block.every(byte => byte === 0) ? 1 : 0
      }
      return sums
    },
  }
}

// The second hash as wasm/block-kernel.ts explains it; the numbers are those there.
const SHORTEST = 320
const START = 0x9226f562
const LOW = 0x796d
const HIGH = 0x6c2b

function hash(block: Uint8Array): number {
  const padded = pad(block)
  const words = new DataView(padded.buffer, padded.byteOffset, padded.byteLength)
  const sums = new Int32Array(4)
  const lasts = new Int32Array(4)
  for (let at = 0; at < padded.byteLength; at += 16) {
    for (let i = 0; i < 4; i++) {
      const word = (sums[i] ?? 0) ^ words.getInt32(at + 4 * i, true)
      // The halves are signed.
      sums[i] = (lasts[i] ?? 0) + Math.imul((word << 16) >> 16, LOW) + Math.imul(word >> 16, HIGH)
      lasts[i] = word
    }
  }
  let hash = block.byteLength
  for (const word of [...sums, ...lasts]) hash = mix(hash ^ word)
  return mix(hash) >>> 0
}

/** Leads a block by zeros and START, unless it can be taken as it is. */
function pad(block: Uint8Array): Uint8Array {
  const length = block.byteLength
  if (length >= SHORTEST && length % 16 === 0) return block
  const padded = new Uint8Array(Math.max(SHORTEST, Math.ceil((length + 4) / 16) * 16))
  const at = padded.byteLength - length
  padded.set(block, at)
  new DataView(padded.buffer).setUint32(at - 4, START, true)
  return padded
}

function mix(hash: number): number {
  const product = Math.imul(hash, 0x2c1b3c6d)
  return product ^ (product >>> 15)
}
