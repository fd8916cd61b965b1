import { addressesFollow, DataSpace } from '../format/data-space.js'
import type { Pages } from '../format/pages.js'
import { NUMBERS } from '../format/places.js'
import { type Data, type Reference, sliceData } from '../record.js'
import { type Items, type Steps, wait } from '../steps.js'
import { HintTable } from './hint-table.js'
import { LARGEST_READ, SentData, type Spool } from './sent-data.js'

/** What is known of each block of a piece of data, docs/FORMAT.md. */
export interface BlockHints {
  readonly crcs: Uint32Array
  /** A second hash, so that blocks which differ seldom look the same. */
  readonly hashes: Uint32Array
  /** 1 for a block of zeros, which is never a duplicate. */
  readonly zeros: Uint8Array
}

export interface FinderOptions {
  /** In bytes. */
  readonly blockSize: number
  /** The bound of the table of hints, in bytes. */
  readonly memory: number
  readonly spool: Spool | undefined
  /** Where the tables lie that grow with the data. */
  readonly pages: Pages
}

export interface FinderTotals {
  /** Bytes for which references went out, because equal data had gone out before. */
  duplicateBytes: number
  /** Bytes of earlier data that were read again to compare them. */
  comparedBytes: number
  /** Blocks that are remembered. */
  hints: number
  /** One of how many blocks is remembered. */
  sampling: number
}

/** A part of the data in hand that equals earlier data; in bytes. */
interface Match {
  readonly start: number
  readonly end: number
  /** Where the equal bytes went. */
  readonly address: number
}

/** A block shorter than this is not looked for: its reference would take as much room. In bytes. */
const SHORTEST = 16
/** What is compared at first behind a hint, in bytes. */
const FIRST_COMPARE = 64 * 1024

/** Finds data that equals earlier data. Hashes say where to look, and only comparing bytes makes a reference. */
export class DuplicateFinder {
  readonly #blockSize: number
  readonly #hints: HintTable
  readonly #sent: SentData
  readonly #hasSpool: boolean
  /** From addresses of the data that came in to addresses of the data that went out; see {@link standIn}. */
  readonly #translated: DataSpace<number>
  /** Where the data would go on that the last reference ended with. */
  #next: number | undefined
  readonly #totals: FinderTotals

  /** @param totals - counted up as data comes */
  constructor({ blockSize, memory, spool, pages }: FinderOptions, totals: FinderTotals) {
    this.#blockSize = blockSize
    this.#totals = totals
    this.#hints = new HintTable(memory)
    this.#sent = new SentData(blockSize, pages, spool)
    this.#translated = new DataSpace(
      1,
      (place, length, next) =>
        place < 0 === next < 0 && addressesFollow(outgoing(place), length, outgoing(next)),
      { places: NUMBERS, pages },
    )
    this.#hasSpool = spool !== undefined
  }

  /**
   * Whole blocks, or a part of one; out come the parts of it that are new, and references for the others. Data that may
   * be shared goes out as it is: others that share its storage will refer to it, and could not share what is made of
   * pieces of yet other files. It may be what others are duplicates of.
   */
  take(data: Data, hints: BlockHints): Items<Data | Reference> {
    if (data.mayBeShared) {
      this.#next = undefined
      return this.#sendWhole(data, hints)
    }
    const isNew = this.#next === undefined && this.#hit(data, hints, 0) === undefined
    return isNew ? this.#sendWhole(data, hints) : this.#search(data, hints)
  }

  /**
   * A reference to data that came in, as one to data that went out; in pieces. What shares storage with a duplicate
   * shares none with the data that stands for both: it is equal to it, and no more.
   *
   * @throws DANGLING_REFERENCE
   */
  *translate(reference: Reference): Generator<Reference, void, undefined> {
    for (const { place, skip, length } of this.#translated.resolve(reference.address, reference.length)) {
      const origin = place < 0 ? 'dedup' : reference.origin
      yield { kind: 'reference', address: outgoing(place) + skip, length, origin }
    }
  }

  /** The data does not go on in the file in hand. */
  interrupt(): void {
    this.#next = undefined
  }

  *#search(data: Data, hints: BlockHints): Steps<Data | Reference> {
    const { bytes } = data
    const size = Math.min(bytes.byteLength, this.#blockSize)
    /** Everything before is done with. */
    let start = 0
    let match = yield* this.#goOn(bytes, size)
    for (let at = 0; at < bytes.byteLength; ) {
      if (match) {
        if (start < match.start) yield* this.#sendLater(data, hints, start, match.start)
        yield this.#refer(match)
        start = match.end
        at = match.end
      }
      const hit = this.#hit(data, hints, at / size)
      if (!hit) break
      at = hit.block * size
      match = yield* this.#match(bytes, size, start, at, hit.address)
      if (match) continue
      this.#hints.forget(hints.crcs[hit.block] as number, hints.hashes[hit.block] as number)
      at += size
    }
    if (start < bytes.byteLength) {
      this.#next = undefined
      yield* this.#sendLater(data, hints, start, bytes.byteLength)
    }
  }

  /** The first block from `block` on that may be a duplicate. */
  #hit(
    { bytes }: Data,
    { crcs, hashes, zeros }: BlockHints,
    block: number,
  ): { block: number; address: number } | undefined {
    if (bytes.byteLength < SHORTEST) return undefined
    for (let i = block; i < crcs.length; i++) {
      const hash = hashes[i] as number
      if (zeros[i] === 1 || !this.#hints.samples(hash)) continue
      const address = this.#hints.find(crcs[i] as number, hash)
      if (address !== undefined) return { block: i, address }
    }
    return undefined
  }

  /** The beginning of the data, where it goes on like the data that the last reference ended with. */
  *#goOn(bytes: Uint8Array, size: number): Steps<never, Match | undefined> {
    if (this.#next === undefined) return undefined
    const address = this.#next
    const after = this.#sent.around(address)?.after ?? 0
    const end = yield* this.#equalAfter(bytes, size, address, after, LARGEST_READ)
    return end > 0 ? { start: 0, end, address } : undefined
  }

  /** The equal bytes around a block at `at`, back to `floor` and on to the end of the data. */
  *#match(
    bytes: Uint8Array,
    size: number,
    floor: number,
    at: number,
    address: number,
  ): Steps<never, Match | undefined> {
    const around = this.#sent.around(address)
    if (!around) return undefined
    const after = yield* this.#equalAfter(bytes.subarray(at), size, address, around.after, FIRST_COMPARE)
    if (after === 0) return undefined
    const before = yield* this.#equalBefore(bytes.subarray(floor, at), size, address, around.before)
    return { start: at - before, end: at + after, address: address - before }
  }

  /** How many bytes, in whole blocks of `size`, equal what went out from `address` on. */
  *#equalAfter(
    bytes: Uint8Array,
    size: number,
    address: number,
    after: number,
    first: number,
  ): Steps<never, number> {
    // Part of a block equals the end of earlier data, or nothing: only the ends of files can be cloned together.
    if (size < this.#blockSize && after !== size) return 0
    const limit = wholeBlocks(Math.min(bytes.byteLength, after), size)
    for (let done = 0, step = first; done < limit; step *= 2) {
      const count = Math.min(limit - done, Math.max(size, Math.min(step, LARGEST_READ)))
      const sent = yield* this.#read(address + done, count)
      if (!sent) return done
      const here = bytes.subarray(done, done + count)
      if (Buffer.compare(here, sent) !== 0) {
        let equal = 0
        while (Buffer.compare(here.subarray(equal, equal + size), sent.subarray(equal, equal + size)) === 0)
          equal += size
        return done + equal
      }
      done += count
    }
    return limit
  }

  /** How many of the last bytes, in whole blocks of `size`, equal what went out just before `address`. */
  *#equalBefore(bytes: Uint8Array, size: number, address: number, before: number): Steps<never, number> {
    const limit = wholeBlocks(Math.min(bytes.byteLength, before), size)
    const { byteLength } = bytes
    for (let done = 0, step = size; done < limit; step *= 2) {
      const count = Math.min(limit - done, Math.max(size, Math.min(step, LARGEST_READ)))
      const sent = yield* this.#read(address - done - count, count)
      if (!sent) return done
      const here = bytes.subarray(byteLength - done - count, byteLength - done)
      if (Buffer.compare(here, sent) !== 0) {
        let at = count
        while (Buffer.compare(here.subarray(at - size, at), sent.subarray(at - size, at)) === 0) at -= size
        return done + count - at
      }
      done += count
    }
    return limit
  }

  *#read(address: number, length: number): Steps<never, Uint8Array | undefined> {
    const reading = this.#sent.read(address, length)
    const bytes = reading instanceof Promise ? yield* wait(reading) : reading
    this.#totals.comparedBytes += bytes?.byteLength ?? 0
    return bytes
  }

  #refer({ start, end, address }: Match): Reference {
    const length = end - start
    this.#translated.append(0, length, standIn(address))
    this.#next = address + length
    this.#totals.duplicateBytes += length
    return { kind: 'reference', address, length, origin: 'dedup' }
  }

  #sendWhole(data: Data, hints: BlockHints): Items<Data> {
    const end = data.bytes.byteLength
    return this.#hasSpool ? this.#sendLater(data, hints, 0, end) : [this.#send(data, hints, 0, end)]
  }

  /** Sends bytes `start` to `end` of data, and remembers its blocks. */
  #send(data: Data, hints: BlockHints, start: number, end: number): Data {
    const part = this.#part(data, start, end)
    this.#remember(data, hints, start, end)
    this.#sent.append(part)
    return part
  }

  *#sendLater(data: Data, hints: BlockHints, start: number, end: number): Steps<Data> {
    const part = this.#part(data, start, end)
    this.#remember(data, hints, start, end)
    const writing = this.#sent.append(part)
    if (writing) yield writing
    yield part
  }

  /** A copy, so that a few blocks do not keep the memory of all the data in hand. */
  #part(data: Data, start: number, end: number): Data {
    if (start === 0 && end === data.bytes.byteLength) return data
    const [first, last] = [start / this.#blockSize, end / this.#blockSize]
    const part = sliceData(data, start, end, data.crcs?.subarray(first, last))
    return { ...part, bytes: new Uint8Array(part.bytes) }
  }

  #remember({ bytes }: Data, { crcs, hashes, zeros }: BlockHints, start: number, end: number): void {
    const address = this.#sent.size
    this.#translated.append(0, end - start, address)
    if (bytes.byteLength < SHORTEST) return
    const size = Math.min(bytes.byteLength, this.#blockSize)
    for (let at = start, block = start / size; at < end; at += size, block++) {
      if (zeros[block] !== 1)
        this.#hints.add(crcs[block] as number, hashes[block] as number, address + at - start)
    }
    this.#totals.hints = this.#hints.count
    this.#totals.sampling = this.#hints.sampling
  }
}

/** The address of data from elsewhere that stands for equal data, told from others by its sign: there may be many. */
function standIn(address: number): number {
  return -1 - address
}

function outgoing(place: number): number {
  return place < 0 ? standIn(place) : place
}

function wholeBlocks(length: number, size: number): number {
  return length - (length % size)
}
