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

  /** As {@link take}, never a view: it may be changed. */
  takeCopy(length: number): Uint8Array | undefined {
    if (length > this.#length) return undefined
    const copy = this.#copy(length)
    this.#drop(length)
    return copy
  }

  /** All that is there, which lies in one piece from then on. */
  peekAll(): Uint8Array {
    const all = this.#front(this.#length)
    if (this.#chunks.length > 1) this.#chunks = [all]
    return all
  }

  /** As {@link take}, of no more than is there. */
  takeUpTo(most: number): Uint8Array {
    const length = Math.min(most, this.#length)
    const bytes = this.#front(length)
    this.#drop(length)
    return bytes
  }

  #drop(length: number): void {
    this.#length -= length
    this.#consumed += length
    let left = length
    let count = 0
    for (let next = this.#chunks[0]; next && next.byteLength <= left; next = this.#chunks[count]) {
      left -= next.byteLength
      count++
    }
    // At once: to take the first of very many away moves all the others.
    this.#chunks.splice(0, count)
    if (left > 0) this.#chunks[0] = (this.#chunks[0] as Uint8Array).subarray(left)
  }

  #front(length: number): Uint8Array {
    const first = this.#chunks[0] ?? new Uint8Array(0)
    return length <= first.byteLength ? first.subarray(0, length) : this.#copy(length)
  }

  /** Of no more than is asked for, though what follows may be much. */
  #copy(length: number): Uint8Array {
    const copy = new Uint8Array(length)
    let at = 0
    for (const chunk of this.#chunks) {
      if (at === length) break
      const part = chunk.subarray(0, length - at)
      copy.set(part, at)
      at += part.byteLength
    }
    return copy
  }
}

/** The same bytes, never as a Buffer: its `slice` is no copy, and decoders copy what they keep or change. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
