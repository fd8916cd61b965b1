import type { End, Entry } from '../record.js'
import { ByteWriter } from './bytes.js'
import { encodeEntryRow } from './entry-row.js'
import { type ExtentRow, encodeEndRow, encodeExtentRow, extentRowSize, joinRows } from './extent-row.js'
import { OwnerNamesWriter } from './owner-names.js'

/** The rows of a segment and the owner names that they use. */
export interface Tables {
  readonly names: Uint8Array
  readonly rows: Uint8Array
}

/** Collects the rows of a segment; what goes on from the row before becomes one with it. */
export class SegmentTables {
  readonly #rows = new ByteWriter(64 * 1024)
  #names = new OwnerNamesWriter()
  #pending: ExtentRow | undefined
  /** Rows of extents, of all segments. */
  extents = 0

  /** In bytes. */
  get length(): number {
    const pending = this.#pending ? extentRowSize(this.#pending) : 0
    return this.#names.byteLength + this.#rows.length + pending
  }

  /** The bytes that a row adds: none when it joins the one before. */
  costOf(row: ExtentRow): number {
    return this.#pending && joinRows(this.#pending, row) ? 0 : extentRowSize(row)
  }

  entry(entry: Entry): void {
    this.#flush()
    encodeEntryRow(this.#rows, entry, this.#names)
  }

  extent(row: ExtentRow): void {
    const joined = this.#pending && joinRows(this.#pending, row)
    if (!joined) this.#flush()
    this.#pending = joined ?? row
  }

  end(end: End): void {
    this.#flush()
    encodeEndRow(this.#rows, end)
  }

  /** All that was collected, and nothing of it stays. */
  take(): Tables {
    this.#flush()
    const taken = { names: this.#names.bytes(), rows: this.#rows.view().slice() }
    this.#names = new OwnerNamesWriter()
    this.#rows.clear()
    return taken
  }

  #flush(): void {
    if (!this.#pending) return
    encodeExtentRow(this.#rows, this.#pending)
    this.extents++
    this.#pending = undefined
  }
}
