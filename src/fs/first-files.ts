import type { Pages } from '../format/pages.js'
import type { Directory } from './directory-tree.js'
import { FileTable } from './file-table.js'
import type { SharedExtent } from './shared-extents.js'
import { SharedMap } from './shared-map.js'

/** A file of a walk. */
export interface WalkedFile {
  readonly directory: Directory
  readonly name: Uint8Array
  /** Its place among the files of the walk. */
  readonly index: number
}

const INDEX_SIZE = 8

/** Which file of a walk lay at a place of shared storage first. */
export class FirstFiles {
  readonly #map: SharedMap
  readonly #files: FileTable

  constructor(pages: Pages) {
    this.#map = new SharedMap(pages)
    this.#files = new FileTable(INDEX_SIZE, pages)
  }

  /** Those that lay there before a file, which is the first where there is none. */
  before(file: WalkedFile, extents: readonly SharedExtent[]): WalkedFile[] {
    const numbers = new Set<number>()
    const fresh: SharedExtent[] = []
    for (const extent of extents) {
      const overlaps = this.#map.find(extent.space, extent.position, extent.length)
      for (const { sighting } of overlaps) numbers.add(sighting.file)
      if (overlaps.length === 0) fresh.push(extent)
    }
    const found = Array.from(numbers, number => this.#get(number))
    if (fresh.length > 0) this.#add(file, fresh)
    return found
  }

  #get(number: number): WalkedFile {
    const { directory, name, page, at } = this.#files.get(number)
    return { directory, name, index: page.readDoubleLE(at) }
  }

  #add({ directory, name, index }: WalkedFile, extents: readonly SharedExtent[]): void {
    const file = this.#files.add(directory, name, (page, at) => page.writeDoubleLE(index, at))
    for (const { space, position, length, offset } of extents)
      this.#map.insert(space, position, length, { file, offset, address: 0 })
  }
}
