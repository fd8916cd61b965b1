import { caught, ReftarError } from '../errors.js'
import type { ArchiveRecord, Data, EndState, Entry, Hole, Metadata, Missing, Reference } from '../record.js'
import { ByteReader } from './bytes.js'
import type { Checksums } from './checksums.js'
import { SEGMENT_HEADER_SIZE } from './constants.js'
import { DataSpace } from './data-space.js'
import { decodeEntryRow, ENTRY_TAG } from './entry-row.js'
import { decodeExtentRow } from './extent-row.js'
import type { Limits } from './limits.js'
import { OwnerNamesReader } from './owner-names.js'
import type { SegmentHeader, SegmentTables } from './segment.js'
import { SegmentBlocks } from './segment-blocks.js'
import { Structure } from './structure.js'

/** Told of what an archive has lost, and where in it; with a path, of one entry. */
export type OnLoss = (message: string, offset: number, path?: Uint8Array) => void

/** A directory that may still receive entries, by its ordinal in the archive and in the records that come out. */
interface OpenDirectory {
  readonly ordinal: number
  readonly out: number
}

interface OpenFile {
  readonly ordinal: number
  /** As it was in the archive. */
  size: number
  isLost: boolean
}

const EIO = 5

/**
 * Makes records that are valid by themselves of the segments that are left: what was lost of a file is missing, and its
 * end says so; a directory whose entry was lost is named by its ordinal.
 */
export class SalvagedRecords {
  /** Of the archive, in bytes. */
  #blockSize: number
  /** Else it is a guess, and where a reference points is not known. */
  #isProven: boolean
  readonly #checksums: Checksums
  readonly #onLoss: OnLoss
  /** Of the records that come out. */
  readonly #structure: Structure
  /** From addresses of the archive to those of the records; undefined for data that was lost. */
  #space: DataSpace<number | undefined>
  readonly #stack: OpenDirectory[] = []
  #file: OpenFile | undefined
  /** Of entries that can be linked to. */
  readonly #linked = new Map<number, number>()
  #nextOrdinal = 1
  /** Of the segment in hand. */
  #offset = 0
  #address = 0

  constructor(
    blockSize: number,
    isProven: boolean,
    checksums: Checksums,
    limits: Partial<Limits>,
    onLoss: OnLoss,
  ) {
    this.#blockSize = blockSize
    this.#isProven = isProven
    this.#checksums = checksums
    this.#onLoss = onLoss
    this.#structure = new Structure(1, false, limits)
    this.#space = spaceOf(blockSize)
  }

  get blockSize(): number {
    return this.#blockSize
  }

  get isProven(): boolean {
    return this.#isProven
  }

  /** The block size is known from now on. Where it was guessed wrongly, nothing tells where the data before it lies. */
  prove(blockSize: number): void {
    if (blockSize !== this.#blockSize) this.#space = spaceOf(blockSize)
    this.#blockSize = blockSize
    this.#isProven = true
  }

  /** Whether a segment can come after what came so far. */
  canFollow({ firstOrdinal, firstBlock }: SegmentHeader): boolean {
    return firstOrdinal >= this.#nextOrdinal && firstBlock * this.#blockSize >= this.#space.size
  }

  /**
   * Those of a segment.
   *
   * @param consumed - bytes of the archive so far
   * @throws LIMIT_EXCEEDED
   */
  segment(
    header: SegmentHeader,
    tables: SegmentTables,
    payload: Uint8Array,
    consumed: number,
  ): readonly ArchiveRecord[] {
    const records: ArchiveRecord[] = []
    this.#structure.archiveBytes = consumed
    this.#offset = header.offset
    const rowsAt = header.offset + SEGMENT_HEADER_SIZE + header.openDirectories * 8 + header.namesLength
    const reader = new ByteReader(tables.rows, rowsAt)
    const blocks = new SegmentBlocks(header, tables.crcs, payload, this.#blockSize, this.#checksums)
    try {
      this.#begin(header, tables, records)
      const names = new OwnerNamesReader(new ByteReader(tables.names, rowsAt - header.namesLength))
      while (reader.remaining > 0) {
        const tag = reader.u8()
        if (tag === ENTRY_TAG)
          this.#entry(
            decodeEntryRow(reader, this.#nextOrdinal, at => names.at(at)),
            records,
          )
        else this.#row(decodeExtentRow(reader, tag), blocks, records)
      }
    } catch (error) {
      const { code, message } = caught(error)
      if (code === 'LIMIT_EXCEEDED') throw error
      this.#endFile(records)
      this.#onLoss(`the rest of a segment is of no use: ${message}`, reader.offset)
    }
    return records
  }

  /** The next entry is the one with this ordinal. */
  entriesLost(next: number, offset: number): void {
    const count = next - this.#nextOrdinal
    if (count > 0) this.#onLoss(`${count} entries are lost, and their names`, offset)
    this.#nextOrdinal = next
  }

  /** Nothing more comes. */
  end(): readonly ArchiveRecord[] {
    const records: ArchiveRecord[] = []
    this.#endFile(records)
    return records
  }

  /** Bridges what was lost before a segment. */
  #begin(header: SegmentHeader, { openDirectories }: SegmentTables, records: ArchiveRecord[]): void {
    const { firstOrdinal, firstBlock, continuedEntry, continuedSize, offset } = header
    const lostData = firstBlock * this.#blockSize - this.#space.size
    if (lostData > 0) this.#space.append(0, lostData, undefined)
    const isOpen = (ordinal: number, i: number) => this.#stack[i]?.ordinal === ordinal
    const goesOn = this.#stack.length === openDirectories.length && openDirectories.every(isOpen)
    if (!goesOn || this.#file?.ordinal !== continuedEntry) this.#endFile(records)
    const lost = firstOrdinal - (continuedEntry >= this.#nextOrdinal ? 1 : 0)
    this.entriesLost(lost, offset)
    this.#nextOrdinal = firstOrdinal
    this.#openDirectories(openDirectories, records)
    if (continuedEntry === 0) return
    // Its name is lost, but what others refer to may be in it.
    if (!this.#file) {
      this.#putNameless('file', continuedEntry, records)
      this.#file = { ordinal: continuedEntry, size: 0, isLost: true }
    }
    const file = this.#file
    if (continuedSize > file.size) this.#lose(file, continuedSize - file.size, records)
    else if (continuedSize < file.size) file.isLost = true
  }

  #openDirectories(ordinals: readonly number[], records: ArchiveRecord[]): void {
    let known = 0
    while (known < ordinals.length && this.#stack[known]?.ordinal === ordinals[known]) known++
    this.#stack.length = known
    for (const ordinal of ordinals.slice(known)) {
      const out = this.#putNameless('directory', ordinal, records)
      this.#stack.push({ ordinal, out })
      const path = this.#structure.path()
      this.#onLoss('the name of this directory is lost, and its metadata', this.#offset, path)
    }
  }

  #putNameless(type: 'file' | 'directory', ordinal: number, records: ArchiveRecord[]): number {
    const name = new TextEncoder().encode(`#${ordinal}`)
    const parent = this.#stack.at(-1)?.out ?? 0
    return this.#put({ parent, name, type, linked: false, metadata: {} }, records)
  }

  /** Returns the ordinal that it has in the records. */
  #put(entry: Omit<Entry, 'kind' | 'ordinal'>, records: ArchiveRecord[]): number {
    const ordinal = this.#structure.entries + 1
    const record: Entry = { kind: 'entry', ordinal, ...entry }
    this.#structure.entry(record)
    records.push(record)
    return ordinal
  }

  #entry(entry: Entry, records: ArchiveRecord[]): void {
    this.#endFile(records)
    const { ordinal, type, name, linked } = entry
    this.#nextOrdinal = ordinal + 1
    while (this.#stack.length > 0 && this.#stack.at(-1)?.ordinal !== entry.parent) this.#stack.pop()
    if (this.#stack.length === 0 && entry.parent !== 0) {
      throw new ReftarError('BAD_STRUCTURE', `entry ${ordinal} has a parent that is not open`)
    }
    const parent = this.#stack.at(-1)?.out ?? 0
    const metadata = this.#translated(entry)
    if (!metadata) return
    const out = this.#put({ parent, name, type, linked, metadata }, records)
    if (linked) this.#linked.set(ordinal, out)
    if (type === 'directory') this.#stack.push({ ordinal, out })
    if (type === 'file') this.#file = { ordinal, size: 0, isLost: false }
  }

  /** The metadata of an entry, with the ordinal that goes with the records; undefined for a link to what is lost. */
  #translated({ metadata, name }: Entry): Metadata | undefined {
    const { linkTo } = metadata
    if (linkTo === undefined) return metadata
    const out = this.#linked.get(linkTo)
    if (out !== undefined) return { ...metadata, linkTo: out }
    this.#onLoss('a hard link to an entry that is lost', this.#offset, this.#structure.path(name))
    return undefined
  }

  #row(row: ReturnType<typeof decodeExtentRow>, blocks: SegmentBlocks, records: ArchiveRecord[]): void {
    const file = this.#file
    if (!file) throw new ReftarError('BAD_STRUCTURE', `${row.kind} outside of a file`)
    if (row.kind === 'end') {
      this.#endFile(records, row.state)
    } else if (row.kind === 'dataRow') {
      const inBlock = file.size % this.#blockSize
      let at = inBlock
      for (const part of blocks.salvage(row, inBlock)) {
        const length = typeof part === 'number' ? part : part.bytes.byteLength
        this.#space.append(at % this.#blockSize, length, typeof part === 'number' ? undefined : this.#address)
        at += length
        if (typeof part === 'number') this.#lose(file, length, records)
        else this.#data(file, part, records)
      }
    } else if (row.kind === 'reference') {
      this.#reference(file, row, records)
    } else {
      this.#extent(file, row, records)
    }
  }

  #data(file: OpenFile, data: Data, records: ArchiveRecord[]): void {
    const length = data.bytes.byteLength
    this.#structure.extent({ kind: 'dataRow', length, mayBeShared: data.mayBeShared })
    this.#address += length
    file.size += length
    records.push(data)
  }

  #reference(file: OpenFile, row: Reference, records: ArchiveRecord[]): void {
    if (!this.#isProven) {
      this.#lose(file, row.length, records)
      return
    }
    for (const { place, skip, length } of this.#space.resolve(row.address, row.length)) {
      if (place === undefined) this.#lose(file, length, records)
      else this.#extent(file, { ...row, address: place + skip, length }, records)
    }
  }

  #extent(file: OpenFile, extent: Hole | Missing | Reference, records: ArchiveRecord[]): void {
    this.#structure.extent(extent)
    file.size += extent.length
    records.push(extent)
  }

  #lose(file: OpenFile, length: number, records: ArchiveRecord[]): void {
    file.isLost = true
    this.#extent(file, { kind: 'missing', length, errno: EIO }, records)
  }

  /** @param state - as the archive has it; without one, the rest of the file is lost */
  #endFile(records: ArchiveRecord[], state?: EndState): void {
    const file = this.#file
    if (!file) return
    this.#file = undefined
    this.#structure.end()
    records.push({ kind: 'end', state: file.isLost ? 'lost' : (state ?? 'lost') })
  }
}

function spaceOf(blockSize: number): DataSpace<number | undefined> {
  return new DataSpace<number | undefined>(blockSize, (place, length, next) =>
    place === undefined ? next === undefined : place + length === next,
  )
}
