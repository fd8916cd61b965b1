import { ReftarError } from '../errors.js'
import type { Entry } from '../record.js'
import { compareBytes } from './bytes.js'
import { MAX_NAME } from './constants.js'
import { countExtent, type ExtentBytes, noExtentBytes } from './extent-bytes.js'
import type { ExtentRow } from './extent-row.js'
import { latin1 } from './latin1.js'
import { DEFAULT_LIMITS, EXPANSION_ALLOWANCE, type Limits } from './limits.js'
import { OrdinalSet } from './ordinal-set.js'
import { joinPath } from './path.js'

interface OpenDirectory {
  readonly ordinal: number
  readonly name: Uint8Array
  /** The greatest name so far, in a sorted archive. */
  last: Uint8Array | undefined
  /** Every name so far, in an archive that is not sorted. */
  readonly names: Set<string> | undefined
}

interface OpenFile {
  readonly ordinal: number
  readonly name: Uint8Array
  size: number
  previous: ExtentRow | undefined
}

const SLASH = 0x2f
const DOT = 0x2e

/**
 * The grammar of an archive (FORMAT.md, "Structure"): which record may follow which. The encoder and the parser
 * ask the same object, so nothing can be written that would not be read.
 */
export class Structure {
  readonly #blockSize: number
  readonly #sorted: boolean
  readonly #limits: Limits
  readonly #stack: OpenDirectory[]
  readonly #linked = new OrdinalSet()
  #file: OpenFile | undefined
  #entries = 0
  #references = 0
  readonly #bytes = noExtentBytes()
  /** Beyond the ends of files. */
  #reservedBytes = 0
  /** Without holes. */
  #expandedBytes = 0
  /** What has been read of an archive, in bytes; a writer has no limit. */
  archiveBytes = Number.POSITIVE_INFINITY

  constructor(blockSize: number, sorted: boolean, limits: Partial<Limits> = {}) {
    this.#blockSize = blockSize
    this.#sorted = sorted
    this.#limits = { ...DEFAULT_LIMITS, ...limits }
    this.#stack = [this.#directory(0, new Uint8Array(0))]
  }

  get entries(): number {
    return this.#entries
  }

  /** Of all files so far. */
  get bytes(): Readonly<ExtentBytes> {
    return this.#bytes
  }

  /** Ordinals of the directories that may still receive entries, outermost first; without the target itself. */
  get openDirectories(): number[] {
    return this.#stack.filter(directory => directory.ordinal > 0).map(directory => directory.ordinal)
  }

  /** The file that is not yet at its end. */
  get openFile(): { readonly ordinal: number; readonly size: number } | undefined {
    return this.#file
  }

  /** @throws BAD_STRUCTURE, UNSAFE_NAME, LIMIT_EXCEEDED */
  entry(entry: Entry): void {
    const { ordinal, parent, name, type } = entry
    if (this.#file)
      throw this.#error('BAD_STRUCTURE', `entry ${ordinal} begins before entry ${this.#file.ordinal} ends`)
    if (ordinal !== this.#entries + 1) {
      throw this.#error('BAD_STRUCTURE', `entry has ordinal ${ordinal}, expected ${this.#entries + 1}`)
    }
    this.#count('entries', ordinal)
    const isRoot = name.byteLength === 0 && ordinal === 1 && parent === 0 && type === 'directory'
    if (!isRoot) {
      this.#checkName(entry)
      this.#checkOrder(entry, this.#leaveUpTo(entry))
    }
    this.#checkLink(entry)
    this.#reservedBytes += entry.metadata.reserved ?? 0
    this.#count('logicalBytes', this.#bytes.logicalBytes + this.#reservedBytes)
    this.#entries = ordinal
    if (entry.linked) this.#linked.add(ordinal)
    if (isRoot) this.#stack.length = 0
    if (type === 'directory') {
      this.#stack.push(this.#directory(ordinal, name))
      this.#count('depth', this.#stack.length - 1)
    }
    if (type === 'file') this.#file = { ordinal, name, size: 0, previous: undefined }
  }

  /** @throws BAD_STRUCTURE, LIMIT_EXCEEDED */
  extent(row: ExtentRow): void {
    const file = this.#file
    if (!file) throw this.#error('BAD_STRUCTURE', `${row.kind} of ${row.length} bytes outside of a file`)
    if (
      row.kind === 'dataRow' &&
      file.previous?.kind === 'dataRow' &&
      file.previous.mayBeShared === row.mayBeShared
    ) {
      const inBlock = file.size % this.#blockSize
      if (inBlock !== 0) {
        throw this.#error(
          'BAD_STRUCTURE',
          `data goes on ${inBlock} bytes into a block, expected at its start`,
        )
      }
    }
    if (row.kind === 'reference') this.#count('references', ++this.#references)
    this.#count('logicalBytes', this.#bytes.logicalBytes + this.#reservedBytes + row.length)
    countExtent(this.#bytes, row)
    if (row.kind === 'dataRow' || row.kind === 'reference') this.#expand(row.length)
    file.size += row.length
    file.previous = row
  }

  /** @throws BAD_STRUCTURE */
  end(): void {
    if (!this.#file) throw this.#error('BAD_STRUCTURE', 'an end outside of a file')
    this.#file = undefined
  }

  /** @throws BAD_STRUCTURE */
  finish(): void {
    if (this.#file)
      throw this.#error('BAD_STRUCTURE', `the archive ends before entry ${this.#file.ordinal} does`)
  }

  /** Of the open file, else of the innermost open directory; raw bytes. */
  path(name: Uint8Array | undefined = this.#file?.name): Uint8Array {
    const parts = this.#stack.map(directory => directory.name).filter(part => part.byteLength > 0)
    if (name) parts.push(name)
    return joinPath(parts)
  }

  #directory(ordinal: number, name: Uint8Array): OpenDirectory {
    return { ordinal, name, last: undefined, names: this.#sorted ? undefined : new Set() }
  }

  #checkName({ ordinal, name }: Entry): void {
    const length = name.byteLength
    let reason: string | undefined
    if (length === 0 || length > MAX_NAME) reason = `has ${length} bytes, expected 1 to ${MAX_NAME}`
    else if (name.includes(SLASH)) reason = 'has a slash'
    else if (name.includes(0)) reason = 'has a zero byte'
    else if (name[0] === DOT && (length === 1 || (length === 2 && name[1] === DOT))) reason = 'is "." or ".."'
    if (reason)
      throw new ReftarError('UNSAFE_NAME', `the name of entry ${ordinal} ${reason}`, { path: this.path() })
  }

  /** Returns the directory that the entry is in. */
  #leaveUpTo({ ordinal, parent }: Entry): OpenDirectory {
    const depth = this.#stack.findLastIndex(directory => directory.ordinal === parent)
    const directory = this.#stack[depth]
    if (!directory) {
      throw this.#error('BAD_STRUCTURE', `entry ${ordinal} has parent ${parent}, expected an open directory`)
    }
    this.#stack.length = depth + 1
    return directory
  }

  #checkOrder({ ordinal, name }: Entry, directory: OpenDirectory): void {
    if (directory.names) {
      const key = latin1(name)
      if (directory.names.has(key))
        throw this.#error('BAD_STRUCTURE', `entry ${ordinal} repeats a name`, name)
      directory.names.add(key)
    } else {
      if (directory.last && compareBytes(directory.last, name) >= 0) {
        throw this.#error(
          'BAD_STRUCTURE',
          `entry ${ordinal} is not in the order of names of a sorted archive`,
          name,
        )
      }
      directory.last = name
    }
  }

  #checkLink({ ordinal, metadata }: Entry): void {
    const { linkTo } = metadata
    if (linkTo !== undefined && !this.#linked.has(linkTo)) {
      const expected = 'an earlier entry that is flagged as linked'
      throw this.#error('BAD_STRUCTURE', `entry ${ordinal} is a hard link to ${linkTo}, expected ${expected}`)
    }
  }

  #expand(length: number): void {
    this.#expandedBytes += length
    const most = Math.max(EXPANSION_ALLOWANCE, this.#limits.expansion * this.archiveBytes)
    if (this.#expandedBytes <= most) return
    const message = `${this.archiveBytes} bytes of archive make ${this.#expandedBytes} bytes of files, the limit is ${most}`
    throw new ReftarError('LIMIT_EXCEEDED', message, { path: this.path(), limit: 'expansion' })
  }

  #count(what: keyof Limits, value: number): void {
    const limit = this.#limits[what]
    if (value <= limit) return
    const message = `${what} reach ${value}, the limit is ${limit}`
    throw new ReftarError('LIMIT_EXCEEDED', message, { path: this.path(), limit: what })
  }

  #error(code: 'BAD_STRUCTURE', message: string, name?: Uint8Array): ReftarError {
    return new ReftarError(code, message, { path: this.path(name) })
  }
}
