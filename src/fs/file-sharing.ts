import type { Source } from '../record.js'
import type { Status } from '../sys/status.js'
import type { EmptyRange, FileMap } from './file-map.js'
import type { FileSources } from './file-source.js'
import { type PlannedRange, plannedRanges } from './planned-ranges.js'
import type { SeenFile } from './seen-files.js'
import { isMapped, type SharedExtent } from './shared-extents.js'
import type { SharedMap } from './shared-map.js'
import type { Storage } from './storages.js'

/** A file that was mapped, and is about to be read. */
interface Examined extends SeenFile {
  /** As it was after it was mapped: what it is compared with once it was read. */
  readonly status: Status
}

/** Where a part of it lies, and what else lies there. */
export interface Findings {
  readonly map: FileMap
  readonly extents: readonly SharedExtent[]
  /** The numbers of earlier files that it may refer to; itself, of which the parts before may be meant. */
  readonly proven: ReadonlySet<number>
  /** When it was mapped, in nanoseconds of hrtime(). */
  readonly examined: number
}

/** A part of a file, from where the part before ended. */
export interface FilePart {
  /** In bytes. */
  readonly end: number
  readonly isFull: boolean
  readonly empty: readonly EmptyRange[]
  /** In order; each is looked up only when it is asked for, so a file may share with itself. */
  readonly ranges: Iterator<PlannedRange, void, undefined>
}

/** All of a file, or the rest of it, where nothing is known of its storage. @param end - in bytes */
export function unknownPart(end: number): FilePart {
  return { end, isFull: false, empty: [], ranges: NONE[Symbol.iterator]() }
}

const NONE: readonly PlannedRange[] = []

/** The sharing of one file, while it is read. */
export class FileSharing {
  readonly status: Status
  /** How many bytes are reserved from its end on, in whole blocks; undefined for none. */
  readonly reservedBeyond: number | undefined
  readonly #sources: FileSources
  readonly #file: Examined
  readonly #seen: SharedMap
  readonly #storage: Storage
  readonly #first: Findings
  readonly #next: (offset: number) => Findings | undefined
  #examined: number
  /** Among the files: once anything of it was archived that others can refer to, or that can be read again. */
  #number: number | undefined
  #source: Source | undefined
  #hasChanged = false

  /** @param next - finds out about the part from an offset on; undefined when the file has changed */
  constructor(
    sources: FileSources,
    file: Examined,
    seen: SharedMap,
    storage: Storage,
    first: Findings,
    next: (offset: number) => Findings | undefined,
  ) {
    this.status = file.status
    this.reservedBeyond = first.map.reservedBeyond
    this.#sources = sources
    this.#file = file
    this.#seen = seen
    this.#storage = storage
    this.#first = first
    this.#next = next
    this.#examined = first.examined
  }

  /**
   * Where it can be read again, as long as its status stays: it was written back, and whoever changes it again will be seen.
   * Undefined where that is not so.
   */
  get source(): Source | undefined {
    if (!this.#file.isTrusted || !isMapped(this.#storage)) return undefined
    this.#source ??= this.#sources.source(this.#enlisted())
    return this.#source
  }

  /** To be called when it changed while it was read: nothing may refer to it. */
  changed(): void {
    this.#hasChanged = true
    if (this.#number !== undefined) this.#sources.files.distrust(this.#number)
  }

  /** All of it, each part looked at when it is asked for. @throws SYSTEM_CALL */
  *parts(): Generator<FilePart, void, undefined> {
    const { size } = this.status
    let start = 0
    for (let findings: Findings | undefined = this.#first; findings; findings = this.#next(start)) {
      this.#lookedAt(findings)
      const { end, isFull, empty } = findings.map
      yield { end, isFull, empty, ranges: this.#ranges(findings, start) }
      if (end >= size) return
      start = end
    }
    yield unknownPart(size)
  }

  /** Remembers that `length` bytes from `offset` were read and stand at `address`. */
  archived({ extent }: PlannedRange, offset: number, length: number, address: number): void {
    const position = extent.position + offset - extent.offset
    this.#seen.insert(extent.space, position, length, { file: this.#enlisted(), offset, address })
  }

  #ranges({ extents, proven }: Findings, start: number): Generator<PlannedRange, void, undefined> {
    // In bytes: parts of it cannot be shared.
    const unit = this.#storage.blockSize
    // What one map has is at its place at one time, and needs no other proof.
    return plannedRanges(
      this.#seen,
      extents,
      ({ file, offset }) => (file === this.#number && offset >= start) || proven.has(file),
      unit,
    )
  }

  #lookedAt({ examined }: Findings): void {
    this.#examined = examined
    if (this.#number !== undefined) this.#sources.files.examined(this.#number, examined)
  }

  #enlisted(): number {
    if (this.#number !== undefined) return this.#number
    const isTrusted = this.#file.isTrusted && !this.#hasChanged
    this.#number = this.#sources.files.add({ ...this.#file, examined: this.#examined, isTrusted })
    return this.#number
  }
}
