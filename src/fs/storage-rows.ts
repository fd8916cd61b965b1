/** A place of a file; `offset` in bytes. */
export interface Place {
  /** A number that the caller knows the file by. */
  readonly file: number
  readonly offset: number
}

/** A range of storage, and all places that lie on the whole of it; in bytes. */
export interface StorageRange {
  readonly position: number
  readonly length: number
  /** In the order in which they were added. */
  readonly places: readonly Place[]
}

const FIELDS = 4
const FIRST_ROWS = 1024

/** Which ranges of files lie on which ranges of one storage. It takes 36 bytes a row, and once more while it grows. */
export class StorageRows {
  /** Position, length, file, offset. */
  #rows = new Float64Array(FIRST_ROWS * FIELDS)
  #count = 0

  /** All in bytes. The ranges of one file are added one after the other. */
  add(file: number, offset: number, position: number, length: number): void {
    const last = this.#count - 1
    if (
      last >= 0 &&
      this.#file(last) === file &&
      this.#end(last) === position &&
      this.#offset(last) + this.#length(last) === offset
    ) {
      this.#rows[last * FIELDS + 1] = this.#length(last) + length
      return
    }
    if (this.#count * FIELDS === this.#rows.length) {
      const larger = new Float64Array(this.#rows.length * 2)
      larger.set(this.#rows)
      this.#rows = larger
    }
    this.#rows.set([position, length, file, offset], this.#count * FIELDS)
    this.#count++
  }

  /** All storage that was added, cut where the places on it change, in order. */
  *ranges(): Generator<StorageRange, void, undefined> {
    const order = Uint32Array.from({ length: this.#count }, (_, row) => row)
    order.sort((a, b) => this.#start(a) - this.#start(b))
    let next = 0
    /** Rows that reach over `position`, in the order in which they were added. */
    let open: number[] = []
    for (let position = 0; next < order.length || open.length > 0; ) {
      if (open.length === 0) position = this.#start(order[next] as number)
      const first = next
      while (next < order.length && this.#start(order[next] as number) === position)
        open.push(order[next++] as number)
      if (next > first) open.sort((a, b) => a - b)
      let end = next < order.length ? this.#start(order[next] as number) : Number.POSITIVE_INFINITY
      for (const row of open) end = Math.min(end, this.#end(row))
      yield { position, length: end - position, places: open.map(row => this.#place(row, position)) }
      open = open.filter(row => this.#end(row) > end)
      position = end
    }
  }

  #place(row: number, position: number): Place {
    return { file: this.#file(row), offset: this.#offset(row) + position - this.#start(row) }
  }

  #start(row: number): number {
    return this.#rows[row * FIELDS] as number
  }

  #length(row: number): number {
    return this.#rows[row * FIELDS + 1] as number
  }

  #end(row: number): number {
    return this.#start(row) + this.#length(row)
  }

  #file(row: number): number {
    return this.#rows[row * FIELDS + 2] as number
  }

  #offset(row: number): number {
    return this.#rows[row * FIELDS + 3] as number
  }
}
