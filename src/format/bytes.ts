import { type ErrorCode, ReftarError } from '../errors.js'

/** Reads little-endian fields in wire order. Every read is checked against what remains. */
export class ByteReader {
  readonly bytes: Uint8Array
  readonly #view: DataView
  /** Offset of `bytes[0]` in the archive, for messages. */
  readonly #base: number
  position = 0

  constructor(bytes: Uint8Array, base: number) {
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#base = base
  }

  get remaining(): number {
    return this.bytes.byteLength - this.position
  }

  /** Offset in the archive of the next byte. */
  get offset(): number {
    return this.#base + this.position
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1))
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2), true)
  }

  u24(): number {
    const at = this.#advance(3)
    return this.#view.getUint8(at + 2) * 0x10000 + this.#view.getUint16(at, true)
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4), true)
  }

  /** @throws LIMIT_EXCEEDED above 2^53 - 1, where a number is no longer exact */
  u64(): number {
    const at = this.#advance(8)
    const high = this.#view.getUint32(at + 4, true)
    if (high > 0x1fffff) {
      throw this.error('LIMIT_EXCEEDED', 'a 64-bit field is 2^53 or more, expected less', at)
    }
    return high * 0x100000000 + this.#view.getUint32(at, true)
  }

  /** @throws LIMIT_EXCEEDED outside of -2^53 + 1 to 2^53 - 1 */
  i64(): number {
    const at = this.#advance(8)
    const value = Number(this.#view.getBigInt64(at, true))
    if (!Number.isSafeInteger(value)) {
      throw this.error('LIMIT_EXCEEDED', 'a signed 64-bit field is beyond 2^53, expected within', at)
    }
    return value
  }

  /** A view of the next `length` bytes, not a copy. */
  take(length: number): Uint8Array {
    const at = this.#advance(length)
    return this.bytes.subarray(at, at + length)
  }

  /** @throws BAD_FIELD unless the next `length` bytes are all zero */
  zeros(length: number, what: string): void {
    const at = this.#advance(length)
    for (let i = at; i < at + length; i++) {
      if (this.bytes[i] !== 0) throw this.error('BAD_FIELD', `${what} is ${this.bytes[i]}, expected 0`, i)
    }
  }

  error(code: ErrorCode, message: string, at = this.position): ReftarError {
    return new ReftarError(code, message, { offset: this.#base + at })
  }

  #advance(length: number): number {
    const at = this.position
    if (length > this.bytes.byteLength - at) {
      throw this.error('BAD_FIELD', `need ${length} bytes, have ${this.bytes.byteLength - at}`, at)
    }
    this.position = at + length
    return at
  }
}

/** Appends little-endian fields to a buffer that grows. */
export class ByteWriter {
  #bytes: Uint8Array
  #view: DataView
  length = 0

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.#bytes.buffer)
  }

  u8(value: number): this {
    const at = this.#grow(1)
    this.#view.setUint8(at, value)
    return this
  }

  u16(value: number): this {
    const at = this.#grow(2)
    this.#view.setUint16(at, value, true)
    return this
  }

  u24(value: number): this {
    return this.u16(value % 0x10000).u8(Math.floor(value / 0x10000))
  }

  u32(value: number): this {
    const at = this.#grow(4)
    this.#view.setUint32(at, value, true)
    return this
  }

  u64(value: number): this {
    const at = this.#grow(8)
    this.#view.setUint32(at, value % 0x100000000, true)
    this.#view.setUint32(at + 4, Math.floor(value / 0x100000000), true)
    return this
  }

  i64(value: number): this {
    const at = this.#grow(8)
    this.#view.setBigInt64(at, BigInt(value), true)
    return this
  }

  /** Writes over what was written at `at`. */
  setU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true)
  }

  append(bytes: Uint8Array): this {
    const at = this.#grow(bytes.byteLength)
    this.#bytes.set(bytes, at)
    return this
  }

  zeros(length: number): this {
    const at = this.#grow(length)
    this.#bytes.fill(0, at, at + length)
    return this
  }

  /** A view of what was written: valid until the next write or `clear`. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.length)
  }

  clear(): void {
    this.length = 0
  }

  /** Replaces the buffer and its view where they are too small, so it is called before either is named. */
  #grow(length: number): number {
    const at = this.length
    const needed = at + length
    if (needed > this.#bytes.byteLength) {
      const larger = new Uint8Array(Math.max(needed, this.#bytes.byteLength * 2))
      larger.set(this.#bytes)
      this.#bytes = larger
      this.#view = new DataView(larger.buffer)
    }
    this.length = needed
    return at
  }
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return compareBytes(a, b) === 0
}

/** Byte order, a prefix before what it begins. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.byteLength, b.byteLength)
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] as number) - (b[i] as number)
    if (difference !== 0) return difference
  }
  return a.byteLength - b.byteLength
}
