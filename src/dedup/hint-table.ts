/** In bytes: two hashes and 48 bits of an address. */
const SLOT_SIZE = 4 + 4 + 6
const FIRST_SLOTS = 4096
const MAX_LOAD = 7 / 8
/** In the upper 16 bits of an address. */
const EMPTY = 0xffff
const FORGOTTEN = 0xfffe
const MAX_ADDRESS = FORGOTTEN * 2 ** 32 - 1
const MAX_MASK = 0x7fffffff

/**
 * Where a block with given hashes may be found: a hint, never a proof. Open addressing with linear probing, in at most
 * `memory` bytes (14 a slot, seven of eight in use). When it is full it forgets every second hash, and from then on
 * samples: a long duplicate is still found by one of its blocks.
 */
export class HintTable {
  readonly #mostSlots: number
  #crcs = new Uint32Array(0)
  #hashes = new Uint32Array(0)
  #low = new Uint32Array(0)
  #high = new Uint16Array(0)
  #count = 0
  #mask = 0

  /** @param memory - the bound, in bytes */
  constructor(memory: number) {
    this.#mostSlots = Math.max(1, Math.floor(memory / SLOT_SIZE))
    this.#resize(Math.min(FIRST_SLOTS, this.#mostSlots))
  }

  get count(): number {
    return this.#count
  }

  /** One block of how many is remembered. */
  get sampling(): number {
    return this.#mask + 1
  }

  /** Whether blocks of this hash are remembered. */
  samples(hash: number): boolean {
    return (hash & this.#mask) === 0
  }

  find(crc: number, hash: number): number | undefined {
    const slot = this.#slotOf(crc, hash)
    const high = this.#high[slot] as number
    return high >= FORGOTTEN ? undefined : high * 2 ** 32 + (this.#low[slot] as number)
  }

  /** Remembers an address, unless an earlier one with these hashes is known. */
  add(crc: number, hash: number, address: number): void {
    if (!this.samples(hash) || address > MAX_ADDRESS) return
    const slot = this.#slotOf(crc, hash)
    const high = this.#high[slot] as number
    if (high < FORGOTTEN) return
    if (high === EMPTY) {
      if (this.#makeRoom() && this.samples(hash)) this.#put(crc, hash, address)
    } else {
      this.#setAddress(slot, address)
    }
  }

  /** The address with these hashes is of no use: the next one takes its place. */
  forget(crc: number, hash: number): void {
    const slot = this.#slotOf(crc, hash)
    if (this.#high[slot] !== EMPTY) this.#high[slot] = FORGOTTEN
  }

  /** The slot that has these hashes, or the empty one where they would go. */
  #slotOf(crc: number, hash: number): number {
    const slots = this.#high.length
    let slot = Math.floor((hash / 2 ** 32) * slots)
    while (this.#high[slot] !== EMPTY && !(this.#hashes[slot] === hash && this.#crcs[slot] === crc)) {
      if (++slot === slots) slot = 0
    }
    return slot
  }

  #put(crc: number, hash: number, address: number): void {
    const slot = this.#slotOf(crc, hash)
    this.#crcs[slot] = crc
    this.#hashes[slot] = hash
    this.#setAddress(slot, address)
    this.#count++
  }

  #setAddress(slot: number, address: number): void {
    this.#low[slot] = address % 2 ** 32
    this.#high[slot] = address / 2 ** 32
  }

  /** One slot always stays empty, so that every search ends. */
  #makeRoom(): boolean {
    const isFull = () => this.#count + 1 > Math.floor(this.#high.length * MAX_LOAD)
    if (isFull() && this.#high.length < this.#mostSlots) this.#grow()
    while (isFull() && this.#mask < MAX_MASK) this.#thin()
    return !isFull()
  }

  #grow(): void {
    const { length } = this.#high
    const [crcs, hashes, low, high] = [this.#crcs, this.#hashes, this.#low, this.#high]
    this.#resize(Math.min(length * 2, this.#mostSlots))
    for (let slot = 0; slot < length; slot++) {
      const upper = high[slot] as number
      if (upper < FORGOTTEN) {
        this.#put(crcs[slot] as number, hashes[slot] as number, upper * 2 ** 32 + (low[slot] as number))
      }
    }
  }

  #resize(slots: number): void {
    this.#crcs = new Uint32Array(slots)
    this.#hashes = new Uint32Array(slots)
    this.#low = new Uint32Array(slots)
    this.#high = new Uint16Array(slots).fill(EMPTY)
    this.#count = 0
  }

  /** Begins behind an empty slot, so that what stays can only move towards its place. */
  #thin(): void {
    this.#mask = this.#mask * 2 + 1
    const slots = this.#high.length
    const start = this.#high.indexOf(EMPTY)
    for (let i = 1; i < slots; i++) {
      const slot = (start + i) % slots
      const high = this.#high[slot] as number
      if (high === EMPTY) continue
      this.#high[slot] = EMPTY
      this.#count--
      const hash = this.#hashes[slot] as number
      if (high === FORGOTTEN || !this.samples(hash)) continue
      this.#put(this.#crcs[slot] as number, hash, high * 2 ** 32 + (this.#low[slot] as number))
    }
  }
}
