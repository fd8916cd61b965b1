import { type ByteReader, ByteWriter } from './bytes.js'
import type { OwnerNames } from './entry-row.js'
import { latin1 } from './latin1.js'

/** The owner names of a segment that is being built. FORMAT.md, "Owner names". */
export class OwnerNamesWriter implements OwnerNames {
  readonly #places = new Map<string, number>()
  /** The same bytes come again and again: they need no key to be found. */
  readonly #known = new Map<Uint8Array, number>()
  readonly #out = new ByteWriter()

  get byteLength(): number {
    return this.#out.length
  }

  place(name: Uint8Array | undefined): number {
    if (!name) return 0
    let place = this.#known.get(name)
    if (place === undefined) {
      place = this.#placeOf(name)
      this.#known.set(name, place)
    }
    return place
  }

  #placeOf(name: Uint8Array): number {
    const key = latin1(name)
    const known = this.#places.get(key)
    if (known !== undefined) return known
    this.#out.u8(name.byteLength).append(name)
    this.#places.set(key, this.#places.size + 1)
    return this.#places.size
  }

  bytes(): Uint8Array {
    return this.#out.view()
  }
}

/** The owner names of a segment that is being read: each is first used in the order in which they stand. */
export class OwnerNamesReader {
  readonly #names: Uint8Array[] = []
  readonly #reader: ByteReader
  #used = 0

  /** @throws BAD_FIELD */
  constructor(reader: ByteReader) {
    this.#reader = reader
    const seen = new Set<string>()
    while (reader.remaining > 0) {
      const at = reader.position
      const length = reader.u8()
      const name = reader.take(length).slice()
      const key = latin1(name)
      if (length === 0 || seen.has(key))
        throw reader.error('BAD_FIELD', 'an owner name is empty or stands twice', at)
      seen.add(key)
      this.#names.push(name)
    }
  }

  /** @throws BAD_FIELD */
  at(place: number): Uint8Array | undefined {
    if (place === 0) return undefined
    const name = this.#names[place - 1]
    if (!name || place > this.#used + 1) {
      throw this.#reader.error('BAD_FIELD', `owner name ${place} is used, expected at most ${this.#used + 1}`)
    }
    this.#used = Math.max(this.#used, place)
    return name
  }

  /** @throws BAD_FIELD when a name was not used */
  finish(): void {
    if (this.#used < this.#names.length) {
      throw this.#reader.error(
        'BAD_FIELD',
        `owner name ${this.#used + 1} is not used by any entry of its segment`,
      )
    }
  }
}
