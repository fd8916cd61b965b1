/** Bytes that arrive in pieces of any size and leave in pieces that are asked for. */
export class ByteQueue {
  #chunks: Uint8Array[] = []
  #length = 0
  #consumed = 0

  /** Bytes that can be taken. */
  get length(): number {
    return this.#length
  }

  /** Bytes that were taken. */
  get consumed(): number {
    return this.#consumed
  }

  push(chunk: Uint8Array): void {
    if (chunk.byteLength === 0) return
    this.#chunks.push(plain(chunk))
    this.#length += chunk.byteLength
  }

  /** The next `length` bytes, or undefined while they are not all there; a view where they arrived in one chunk. */
  peek(length: number): Uint8Array | undefined {
    return length > this.#length ? undefined : this.#front(length)
  }

  /** As {@link peek}, and consumes them. */
  take(length: number): Uint8Array | undefined {
    return length > this.#length ? undefined : this.takeUpTo(length)
  }

  /** All that is there. */
  peekAll(): Uint8Array {
    return this.#front(this.#length)
  }

  /** As {@link take}, of no more than is there. */
  takeUpTo(most: number): Uint8Array {
    const length = Math.min(most, this.#length)
    const bytes = this.#front(length)
    this.#length -= length
    this.#consumed += length
    const first = this.#chunks[0]
    if (first && first.byteLength > length) this.#chunks[0] = first.subarray(length)
    else this.#chunks.shift()
    return bytes
  }

  #front(length: number): Uint8Array {
    const first = this.#chunks[0] ?? new Uint8Array(0)
    if (length <= first.byteLength) return first.subarray(0, length)
    const joined = plain(Buffer.concat(this.#chunks, this.#length))
    this.#chunks = [joined]
    return joined.subarray(0, length)
  }
}

/** The same bytes, never as a Buffer: its `slice` is no copy, and decoders copy what they keep or change. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
