import type { Identity, Status } from '../sys/status.js'
import type { Extras } from './metadata.js'
import type { SharedExtent } from './shared-extents.js'

/** Of a file that lies on one storage. */
type PlacedExtent = Omit<SharedExtent, 'space'>

/** How an earlier file was, and where it lay, after the file in hand was mapped. */
export interface Look {
  readonly status: Identity
  /** All of its shared extents, on the storage of the file in hand. */
  readonly shared: readonly PlacedExtent[]
}

/** A small file that another thread has looked at, from which all of its records can be made. */
export interface ExaminedFile {
  /** Its place among the files of the walk, counted from 0. */
  readonly index: number
  readonly name: string
  /** Of its directory. */
  readonly parent: { readonly dev: number; readonly ino: bigint }
  /** When that began, before anything was asked, and when all was known; nanoseconds of hrtime(). */
  readonly began: number
  readonly ended: number
  /** The same before and after. */
  readonly status: Status
  readonly extras: Extras
  readonly shared: readonly PlacedExtent[]
  /** Of earlier files that it may share with. */
  readonly looks: readonly Look[]
  /** All of it; undefined for a file that shares with an earlier one. */
  readonly content: Uint8Array | undefined
}

/** Files on their way from one thread to another: numbers in columns, because an object for each is slow to send. */
export interface Batch {
  readonly names: readonly string[]
  readonly parents: readonly { readonly dev: number; readonly ino: bigint }[]
  readonly inodes: BigUint64Array
  readonly numbers: Float64Array
  readonly shared: Float64Array
  readonly lookInodes: BigUint64Array
  readonly looks: Float64Array
  readonly contents: Uint8Array
}

/** Numbers of a file. */
const WIDTH = 22
/** Numbers of a look, and of an extent. */
const LOOK_WIDTH = 7
const EXTENT_WIDTH = 3
const NONE = -1
/** The most that is looked at of a file ahead of time, in bytes. */
export const LARGEST_CONTENT = 64 * 1024
/** A batch that has as many bytes of content is full, or as many files. */
const BATCH_BYTES = 256 * 1024
const BATCH_FILES = 256

/** Collects files for a batch. */
export class BatchWriter {
  readonly #names: string[] = []
  readonly #parents: { readonly dev: number; readonly ino: bigint }[] = []
  readonly #inodes: bigint[] = []
  readonly #numbers: number[] = []
  readonly #shared: number[] = []
  readonly #lookInodes: bigint[] = []
  readonly #looks: number[] = []
  /** Files are read into it, one behind the other. */
  #contents: Uint8Array<ArrayBuffer> | undefined
  #bytes = 0

  get isEmpty(): boolean {
    return this.#names.length === 0
  }

  /** The place of its first file among those of the walk. */
  get first(): number | undefined {
    return this.#numbers[0]
  }

  get isFull(): boolean {
    return this.#names.length >= BATCH_FILES || this.#bytes >= BATCH_BYTES
  }

  /** Memory to read the content of the next file into: at most {@link LARGEST_CONTENT}. */
  room(length: number): Uint8Array {
    this.#contents ??= new Uint8Array(BATCH_BYTES + LARGEST_CONTENT)
    return this.#contents.subarray(this.#bytes, this.#bytes + length)
  }

  /** Takes in a file, with the content that {@link room} was given for. */
  add({ index, name, parent, began, ended, status, extras, shared, looks, content }: ExaminedFile): void {
    if (this.#parents.at(-1) !== parent) this.#parents.push(parent)
    const { dev, ino, mode, nlink, uid, gid, size, blocks, modified, changed } = status
    this.#names.push(name)
    this.#inodes.push(ino)
    this.#numbers.push(index, this.#parents.length - 1, began, ended)
    this.#numbers.push(dev, mode, nlink, uid, gid, size, blocks)
    this.#numbers.push(modified.seconds, modified.nanoseconds, changed.seconds, changed.nanoseconds)
    this.#numbers.push(extras.flags ?? NONE, extras.project ?? NONE, extras.xattrs ? 0 : NONE)
    this.#numbers.push(shared.length, looks.length, this.#bytes, content ? content.byteLength : NONE)
    this.#addShared(shared)
    for (const look of looks) this.#addLook(look)
    this.#bytes += content?.byteLength ?? 0
  }

  #addShared(shared: readonly PlacedExtent[]): void {
    for (const { offset, length, position } of shared) this.#shared.push(offset, length, position)
  }

  #addLook({ status: { dev, ino, size, modified, changed }, shared }: Look): void {
    this.#lookInodes.push(ino)
    this.#looks.push(dev, size, shared.length)
    this.#looks.push(modified.seconds, modified.nanoseconds, changed.seconds, changed.nanoseconds)
    this.#addShared(shared)
  }

  /** What was added, and nothing of it stays. */
  take(): Batch {
    const contents = this.#takeContents()
    return {
      names: this.#names.splice(0),
      parents: this.#parents.splice(0),
      inodes: BigUint64Array.from(this.#inodes.splice(0)),
      numbers: Float64Array.from(this.#numbers.splice(0)),
      shared: Float64Array.from(this.#shared.splice(0)),
      lookInodes: BigUint64Array.from(this.#lookInodes.splice(0)),
      looks: Float64Array.from(this.#looks.splice(0)),
      contents,
    }
  }

  /** A copy where most of the memory would be kept for nothing. */
  #takeContents(): Uint8Array<ArrayBuffer> {
    const contents = this.#contents?.subarray(0, this.#bytes) ?? new Uint8Array(0)
    if (this.#bytes < BATCH_BYTES) {
      this.#bytes = 0
      return contents.slice()
    }
    this.#contents = undefined
    this.#bytes = 0
    return contents
  }
}

/** Reads the files of a batch in their order. */
export class BatchReader {
  readonly #batch: Batch
  #at = 0
  #sharedAt = 0
  #lookAt = 0

  constructor(batch: Batch) {
    this.#batch = batch
  }

  /** The place of the next file among those of the walk; undefined at the end. */
  get index(): number | undefined {
    return this.#batch.numbers[this.#at * WIDTH]
  }

  skip(): void {
    this.#sharedAt += this.#number(18)
    for (let count = this.#number(19); count > 0; count--)
      this.#sharedAt += this.#batch.looks[this.#lookAt++ * LOOK_WIDTH + 2] as number
    this.#at++
  }

  next(): ExaminedFile {
    const { names, parents, inodes, contents } = this.#batch
    const number = (column: number) => this.#number(column)
    const extras: { -readonly [K in keyof Extras]: Extras[K] } = {}
    if (number(15) !== NONE) extras.flags = number(15)
    if (number(16) !== NONE) extras.project = number(16)
    if (number(17) !== NONE) extras.xattrs = []
    const [start, length] = [number(20), number(21)]
    const file = {
      index: number(0),
      name: names[this.#at] as string,
      parent: parents[number(1)] as ExaminedFile['parent'],
      began: number(2),
      ended: number(3),
      status: {
        dev: number(4),
        ino: inodes[this.#at] as bigint,
        mode: number(5),
        nlink: number(6),
        uid: number(7),
        gid: number(8),
        size: number(9),
        blocks: number(10),
        modified: { seconds: number(11), nanoseconds: number(12) },
        changed: { seconds: number(13), nanoseconds: number(14) },
        device: NO_DEVICE,
      },
      extras,
      shared: this.#takeShared(number(18)),
      looks: Array.from({ length: number(19) }, () => this.#takeLook()),
      content: length === NONE ? undefined : contents.subarray(start, start + length),
    }
    this.#at++
    return file
  }

  #takeShared(count: number): PlacedExtent[] {
    const { shared } = this.#batch
    return Array.from({ length: count }, () => {
      const at = this.#sharedAt++ * EXTENT_WIDTH
      return {
        offset: shared[at] as number,
        length: shared[at + 1] as number,
        position: shared[at + 2] as number,
      }
    })
  }

  #takeLook(): Look {
    const { lookInodes, looks } = this.#batch
    const at = this.#lookAt * LOOK_WIDTH
    const status = {
      dev: looks[at] as number,
      ino: lookInodes[this.#lookAt++] as bigint,
      size: looks[at + 1] as number,
      modified: { seconds: looks[at + 3] as number, nanoseconds: looks[at + 4] as number },
      changed: { seconds: looks[at + 5] as number, nanoseconds: looks[at + 6] as number },
    }
    return { status, shared: this.#takeShared(looks[at + 2] as number) }
  }

  #number(column: number): number {
    return this.#batch.numbers[this.#at * WIDTH + column] as number
  }
}

const NO_DEVICE = { major: 0, minor: 0 }
