import { type Cipher, createCipheriv, createHash } from 'node:crypto'

/**
 * Random bytes that are the same in every run: the key stream of AES-128 in counter mode (NIST SP 800-38A,
 * section 6.5), keyed by the SHA-256 of the seed. It runs at several GB/s and does not compress. It makes test
 * data, not secrets.
 */
export class RandomBytes {
  readonly #cipher: Cipher

  constructor(seed: string) {
    const key = createHash('sha256').update(seed).digest().subarray(0, 16)
    this.#cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
  }

  /** The next `length` bytes of the key stream, in a buffer of their own. */
  bytes(length: number): Buffer {
    return this.#cipher.update(Buffer.alloc(length))
  }

  /** A whole number from 0 up to, but not including, `limit` (below 2^32, far enough for an even spread here). */
  below(limit: number): number {
    return Math.floor((this.bytes(4).readUInt32LE() / 2 ** 32) * limit)
  }
}
