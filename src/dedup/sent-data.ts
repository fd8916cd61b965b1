import { ReftarError } from '../errors.js'
import { DataSpace } from '../format/data-space.js'
import type { Pages } from '../format/pages.js'
import type { Data, From, Source, SourceFamily } from '../record.js'
import { SourcePlaces } from './source-places.js'

/** Keeps a copy of data, so that it can be read again. */
export interface Spool extends Source {
  /** Appends bytes: the first come to offset 0. */
  write(bytes: Uint8Array): void | Promise<void>
}

/** Data of this many bytes is kept at hand, whether it can be read again elsewhere or not. */
const RECENT = 8 * 1024 * 1024
/** In bytes. */
export const LARGEST_READ = 1024 * 1024
/** What a record of any size is taken to cost, in bytes. */
const RECORD_WEIGHT = 640

interface Recent {
  readonly address: number
  readonly bytes: Uint8Array
}

/** The data that went out, by address, as far as it can be read again. */
export class SentData {
  readonly #space: DataSpace<From | undefined>
  readonly #spool: Spool | undefined
  readonly #scratch = new Uint8Array(LARGEST_READ)
  #recent: Recent[] = []
  #oldest = 0
  #weight = 0
  /** Sources that have changed: nothing more is asked of them. */
  readonly #changed = new ChangedSources()

  /** @param blockSize - in bytes: a run ends at data that does not fill its last block */
  constructor(blockSize: number, pages: Pages, spool?: Spool) {
    this.#spool = spool
    this.#space = new DataSpace<From | undefined>(
      1,
      (place, length, next) =>
        length % blockSize === 0 &&
        place?.source === next?.source &&
        (place === undefined || place.offset + length === next?.offset),
      { places: new SourcePlaces(), pages },
    )
  }

  /** The address that the next data gets, in bytes. */
  get size(): number {
    return this.#space.size
  }

  append({ bytes, from }: Data): void | Promise<void> {
    const address = this.#space.append(0, bytes.byteLength, from)
    this.#recent.push({ address, bytes })
    this.#weight += bytes.byteLength + RECORD_WEIGHT
    while (this.#weight > RECENT) {
      this.#weight -= (this.#recent[this.#oldest++] as Recent).bytes.byteLength + RECORD_WEIGHT
    }
    if (this.#oldest > this.#recent.length / 2) {
      this.#recent = this.#recent.slice(this.#oldest)
      this.#oldest = 0
    }
    return this.#spool?.write(bytes)
  }

  /** How many bytes of the same run lie before and from an address; undefined where there is no data. */
  around(address: number): { readonly before: number; readonly after: number } | undefined {
    const piece = this.#space.at(address)
    return piece && { before: piece.skip, after: piece.length }
  }

  /** Bytes of one run, to be used before the next call; undefined when they cannot be had. At most {@link LARGEST_READ}. */
  read(address: number, length: number): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    return this.#recentBytes(address, length) ?? this.#readAgain(address, this.#scratch.subarray(0, length))
  }

  #readAgain(address: number, into: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    if (this.#spool) return after(this.#spool.read(address, into), into)
    const piece = this.#space.at(address)
    if (!piece?.place) return undefined
    const { source, offset } = piece.place
    if (this.#changed.has(source)) return undefined
    const failed = (error: unknown) => {
      if (!(error instanceof ReftarError && (error.code === 'SOURCE_CHANGED' || error.errno))) throw error
      this.#changed.add(source)
      return undefined
    }
    try {
      const reading = source.read(offset + piece.skip, into)
      return reading ? reading.then(() => into, failed) : into
    } catch (error) {
      return failed(error)
    }
  }

  #recentBytes(address: number, length: number): Uint8Array | undefined {
    let low = this.#oldest
    let high = this.#recent.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#recent[middle] as Recent).address <= address) low = middle + 1
      else high = middle
    }
    if (low === this.#oldest) return undefined
    const parts: Uint8Array[] = []
    for (let i = low - 1, left = length; left > 0; i++) {
      const recent = this.#recent[i]
      if (!recent) return undefined
      const skip = parts.length === 0 ? address - recent.address : 0
      const part = recent.bytes.subarray(skip, skip + left)
      left -= part.byteLength
      parts.push(part)
    }
    return parts.length === 1 ? parts[0] : Buffer.concat(parts)
  }
}

/** Sources that gave other bytes than they had given before. */
class ChangedSources {
  readonly #alone = new WeakSet<Source>()
  readonly #numbers = new WeakMap<SourceFamily, Set<number>>()

  has(source: Source): boolean {
    const { family, number = 0 } = source
    return family ? this.#numbers.get(family)?.has(number) === true : this.#alone.has(source)
  }

  add(source: Source): void {
    const { family, number = 0 } = source
    if (!family) this.#alone.add(source)
    else this.#numbers.set(family, (this.#numbers.get(family) ?? new Set()).add(number))
  }
}

function after<T>(work: void | Promise<void>, result: T): T | Promise<T> {
  return work ? work.then(() => result) : result
}
