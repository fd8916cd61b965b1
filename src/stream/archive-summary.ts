import { type ExtentBytes, noExtentBytes } from '../format/extent-bytes.js'
import { noTotals, type Totals } from '../format/trailer.js'

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** What an archive holds, so far. */
export interface ArchiveSummary extends Totals, Readonly<ExtentBytes> {
  /** Of the archive itself. */
  readonly archiveBytes: number
  /** Bytes of files for each byte of the archive; 0 before the first. */
  readonly ratio: number
}

export function emptyArchiveSummary(): Writable<ArchiveSummary> {
  return {
    archiveBytes: 0,
    ...noTotals(),
    ...noExtentBytes(),
    get ratio() {
      return this.archiveBytes === 0 ? 0 : this.logicalBytes / this.archiveBytes
    },
  }
}
