import type { Source } from '../record.js'
import type { Status } from '../sys/status.js'
import type { FileSources } from './file-source.js'
import { type PlannedRange, plannedRanges } from './planned-ranges.js'
import type { SeenFile } from './seen-files.js'
import { type FileMap, isMapped, type SharedExtent, type Storage } from './shared-extents.js'
import type { SharedMap } from './shared-map.js'

/** A file that was mapped, and is about to be read. */
interface Examined extends SeenFile {
  /** As it was after it was mapped: what it is compared with once it was read. */
  readonly status: Status
}

/** What is known of where it lies. */
interface Findings {
  readonly map: FileMap
  readonly extents: readonly SharedExtent[]
  /** The numbers of earlier files that it may refer to. */
  readonly proven: ReadonlySet<number>
  readonly storage: Storage
}

/** The sharing of one file, while it is read. */
export class FileSharing {
  readonly map: FileMap
  readonly status: Status
  readonly #sources: FileSources
  readonly #file: Examined
  readonly #seen: SharedMap
  readonly #findings: Findings
  /** Among the files: once anything of it was archived that others can refer to, or that can be read again. */
  #number: number | undefined
  #source: Source | undefined
  #hasChanged = false

  constructor(sources: FileSources, file: Examined, seen: SharedMap, findings: Findings) {
    this.map = findings.map
    this.status = file.status
    this.#sources = sources
    this.#file = file
    this.#seen = seen
    this.#findings = findings
  }

  /**
   * Where it can be read again, as long as its status stays: it was written back, and whoever changes it again will be seen.
   * Undefined where that is not so.
   */
  get source(): Source | undefined {
    if (!this.#file.isTrusted || !isMapped(this.#findings.storage)) return undefined
    this.#source ??= this.#sources.source(this.#enlisted())
    return this.#source
  }

  /** To be called when it changed while it was read: nothing may refer to it. */
  changed(): void {
    this.#hasChanged = true
    if (this.#number !== undefined) this.#sources.files.distrust(this.#number)
  }

  /** The shared ranges in order; each is looked up only when it is asked for, so a file may share with itself. */
  ranges(): Generator<PlannedRange, void, undefined> {
    const { extents, proven, storage } = this.#findings
    // In bytes: parts of it cannot be shared.
    const unit = storage.blockSize
    return plannedRanges(this.#seen, extents, file => file === this.#number || proven.has(file), unit)
  }

  /** Remembers that `length` bytes from `offset` were read and stand at `address`. */
  archived({ extent }: PlannedRange, offset: number, length: number, address: number): void {
    const position = extent.position + offset - extent.offset
    this.#seen.insert(extent.space, position, length, { file: this.#enlisted(), offset, address })
  }

  #enlisted(): number {
    const { isTrusted } = this.#file
    this.#number ??= this.#sources.files.add({ ...this.#file, isTrusted: isTrusted && !this.#hasChanged })
    return this.#number
  }
}
