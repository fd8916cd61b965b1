/** Numbers that look random, the same ones for the same seed: mulberry32. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** 0 to 2^32 - 1. */
  word(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let word = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61)
    return (word ^ (word >>> 14)) >>> 0
  }

  /** 0 to `limit - 1`. */
  below(limit: number): number {
    return Math.floor((this.word() / 2 ** 32) * limit)
  }

  /** Both ends are included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1)
  }

  chance(probability: number): boolean {
    return this.word() < probability * 2 ** 32
  }

  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new Error('nothing to pick from')
    return list[this.below(list.length)] as T
  }

  /** The first of each pair is how often it comes, compared with the others. */
  weighted<T>(list: readonly (readonly [number, T])[]): T {
    let at = this.below(list.reduce((sum, [weight]) => sum + weight, 0))
    for (const [weight, item] of list) {
      if (at < weight) return item
      at -= weight
    }
    throw new Error('nothing to pick from')
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(Math.ceil(length / 4) * 4)
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(this.word(), at)
    return bytes.subarray(0, length)
  }
}
