import type { NumberTable } from './number-table.js'
import { PagedList } from './paged-list.js'

/** How places are kept in a table of numbers. */
export interface Places<T> {
  /** How many numbers a place takes. */
  readonly width: number
  numbersOf(place: T): readonly number[]
  /** @param column - of the first of its numbers */
  placeAt(table: NumberTable, row: number, column: number): T
}

/** Places that are numbers. */
export const NUMBERS: Places<number> = {
  width: 1,
  numbersOf: place => [place],
  placeAt: (table, row, column) => table.get(row, column),
}

/** Places of any kind, in a list. */
export function listedPlaces<T>(): Places<T> {
  const list = new PagedList<T>()
  return {
    width: 1,
    numbersOf(place) {
      list.push(place)
      return [list.length - 1]
    },
    placeAt: (table, row, column) => list.at(table.get(row, column)) as T,
  }
}

/** A range of a file begins here; `offset` in bytes. */
export interface FilePlace {
  /** A number that the caller knows the file by. */
  readonly file: number
  readonly offset: number
}

/** Places in files. */
export const FILE_PLACES: Places<FilePlace> = {
  width: 2,
  numbersOf: ({ file, offset }) => [file, offset],
  placeAt: (table, row, column) => ({ file: table.get(row, column), offset: table.get(row, column + 1) }),
}

/** Whether `next` is where a range of `length` bytes ends. */
export function filePlacesFollow(place: FilePlace, length: number, next: FilePlace): boolean {
  return place.file === next.file && place.offset + length === next.offset
}
