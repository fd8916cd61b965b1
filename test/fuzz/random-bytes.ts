/** The same numbers for the same seed: mulberry32. */
export class RandomBytes {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A whole number from 0 to below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }

  /** Two places in order, not far apart as a rule. */
  range(length: number): readonly [number, number] {
    const from = this.below(length)
    return [from, Math.min(length, from + 1 + this.below(this.pick([4, 40, 600, length])))]
  }
}
