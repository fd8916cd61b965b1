import type { Pages } from '../format/pages.js'
import type { Time } from '../record.js'
import type { Identity } from '../sys/status.js'
import type { Directory } from './directory-tree.js'
import { FileTable } from './file-table.js'

/** A file that was archived: how to find it again, and how it was. */
export interface SeenFile {
  readonly directory: Directory
  readonly name: Uint8Array
  readonly status: Identity
  /** When it was looked at, in nanoseconds of hrtime(). */
  readonly examined: number
  /** Others may refer to it. */
  readonly isTrusted: boolean
}

const SIZE = 57
const EXAMINED = 48
const IS_TRUSTED = 56

/** Files by number: 62 bytes each, and their names. */
export class SeenFiles {
  readonly #table: FileTable

  constructor(pages: Pages) {
    this.#table = new FileTable(SIZE, pages)
  }

  add({ directory, name, status, examined, isTrusted }: SeenFile): number {
    return this.#table.add(directory, name, (page, at) => {
      page.writeDoubleLE(status.dev, at)
      page.writeBigUInt64LE(status.ino, at + 8)
      page.writeDoubleLE(status.size, at + 16)
      writeTime(page, at + 24, status.modified)
      writeTime(page, at + 36, status.changed)
      page.writeDoubleLE(examined, at + EXAMINED)
      page.writeUInt8(isTrusted ? 1 : 0, at + IS_TRUSTED)
    })
  }

  get(number: number): SeenFile {
    const { directory, name, page, at } = this.#table.get(number)
    return {
      directory,
      name,
      status: {
        dev: page.readDoubleLE(at),
        ino: page.readBigUInt64LE(at + 8),
        size: page.readDoubleLE(at + 16),
        modified: readTime(page, at + 24),
        changed: readTime(page, at + 36),
      },
      examined: page.readDoubleLE(at + EXAMINED),
      isTrusted: page.readUInt8(at + IS_TRUSTED) === 1,
    }
  }

  /** It was looked at again. */
  examined(number: number, time: number): void {
    this.#table.change(number, (page, at) => page.writeDoubleLE(time, at + EXAMINED))
  }

  /** Nothing may refer to it any more. */
  distrust(number: number): void {
    this.#table.change(number, (page, at) => page.writeUInt8(0, at + IS_TRUSTED))
  }
}

function writeTime(page: Buffer, at: number, { seconds, nanoseconds }: Time): void {
  page.writeDoubleLE(seconds, at)
  page.writeUInt32LE(nanoseconds, at + 8)
}

function readTime(page: Buffer, at: number): Time {
  return { seconds: page.readDoubleLE(at), nanoseconds: page.readUInt32LE(at + 8) }
}
