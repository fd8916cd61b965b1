import type { NumberTable } from '../format/number-table.js'
import type { Places } from '../format/places.js'
import type { From, Source, SourceFamily } from '../record.js'

const NONE = -1

/** Where data can be read again, if anywhere. Of a source that has a family, nothing is kept but its number. */
export class SourcePlaces implements Places<From | undefined> {
  readonly width = 3
  readonly #kept: (SourceFamily | Source)[] = []
  readonly #places = new Map<SourceFamily | Source, number>()

  numbersOf(from: From | undefined): readonly number[] {
    if (!from) return [NONE, NONE, 0]
    const { source, offset } = from
    const { family, number } = source
    if (family && number !== undefined) return [this.#placeOf(family), number, offset]
    return [this.#placeOf(source), NONE, offset]
  }

  placeAt(table: NumberTable, row: number, column: number): From | undefined {
    const place = table.get(row, column)
    if (place === NONE) return undefined
    const kept = this.#kept[place] as SourceFamily | Source
    const source = 'source' in kept ? kept.source(table.get(row, column + 1)) : kept
    return { source, offset: table.get(row, column + 2) }
  }

  #placeOf(kept: SourceFamily | Source): number {
    const known = this.#places.get(kept)
    if (known !== undefined) return known
    this.#places.set(kept, this.#kept.length)
    return this.#kept.push(kept) - 1
  }
}
