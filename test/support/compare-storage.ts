// Compares where two trees have storage and what shares it, by FIEMAP alone: over storage that is reserved, SEEK_DATA
// of XFS tells which pages happen to be cached. Both trees have to be written back. Uses nothing of src/.
import * as fs from 'node:fs'
import {
  FIEMAP_EXTENT_DATA_INLINE,
  FIEMAP_EXTENT_DELALLOC,
  FIEMAP_EXTENT_ENCODED,
  FIEMAP_EXTENT_NOT_ALIGNED,
  FIEMAP_EXTENT_UNKNOWN,
  FIEMAP_EXTENT_UNWRITTEN,
  type FiemapRow,
  fiemap,
  regularFiles,
} from './fiemap.js'

const BLOCK = 4096
const BTRFS = 0x9123683e
/** With one of these, a row does not tell where bytes lie. */
const NOWHERE =
  FIEMAP_EXTENT_UNKNOWN |
  FIEMAP_EXTENT_DELALLOC |
  FIEMAP_EXTENT_ENCODED |
  FIEMAP_EXTENT_NOT_ALIGNED |
  FIEMAP_EXTENT_DATA_INLINE |
  FIEMAP_EXTENT_UNWRITTEN

/** Which files of a copy have data elsewhere, or lack storage that is reserved in the source. */
export function rangeDifferences(source: string, copy: string): string[] {
  const differences: string[] = []
  // XFS reserves some behind the end of a file on its own, and more than it was told to.
  const isAllAsked = fs.statfsSync(source).type === BTRFS
  for (const name of regularFiles(source)) {
    const [a, b] = [join(source, name), join(copy, name)]
    const { size } = fs.statSync(a)
    const [dataA, dataB] = [rangesOf(a, isWritten, size), rangesOf(b, isWritten, size)]
    if (`${dataA}` !== `${dataB}`) differences.push(`${show(name)}: data at ${dataA} != ${dataB}`)
    const reservedB = rangesOf(b, isReserved)
    for (const range of rangesOf(a, isReserved, isAllAsked ? undefined : size)) {
      if (!reservedB.some(other => other.from <= range.from && range.to <= other.to))
        differences.push(`${show(name)}: reserved at ${range}, in the copy at ${reservedB}`)
    }
  }
  return differences
}

/** Which blocks of files share storage, but not so in a copy; whole blocks, and tails where nothing else shares it. */
export function lostSharing(source: string, copy: string): string[] {
  const lost: string[] = []
  for (const blocks of blocksByPlace(source, copy).values()) {
    const [first, ...others] = comparable(blocks)
    for (const { shown, inCopy } of others) {
      if (inCopy === undefined || inCopy !== first?.inCopy) lost.push(`${shown} and ${first?.shown}`)
    }
  }
  return lost
}

interface Block {
  readonly shown: string
  /** Less than a block at the end of a file only. */
  readonly length: number
  /** Where it lies in the copy. */
  readonly inCopy: number | undefined
}

function blocksByPlace(source: string, copy: string): Map<number, Block[]> {
  const blocks = new Map<number, Block[]>()
  for (const name of regularFiles(source)) {
    const [a, b] = [join(source, name), join(copy, name)]
    const end = comparableEnd(a)
    const inCopy = placesOf(b, end)
    for (const [offset, place] of placesOf(a, end)) {
      const length = Math.min(BLOCK, end - offset)
      const block = { shown: `${show(name)} at ${offset}`, length, inCopy: inCopy.get(offset) }
      const known = blocks.get(place)
      if (known === undefined) blocks.set(place, [block])
      else known.push(block)
    }
  }
  return blocks
}

/** A tail can be cloned only from a tail of its length. */
function comparable(blocks: readonly Block[]): readonly Block[] {
  const whole = blocks.filter(({ length }) => length === BLOCK)
  if (whole.length > 0) return whole
  return blocks.every(({ length }) => length === blocks[0]?.length) ? blocks : []
}

class Range {
  readonly from: number
  to: number

  constructor(from: number, to: number) {
    this.from = from
    this.to = to
  }

  toString(): string {
    return `${this.from}-${this.to}`
  }
}

/** In order, neighbours joined. */
function rangesOf(
  path: Buffer,
  isOfKind: (row: FiemapRow) => boolean,
  end = Number.MAX_SAFE_INTEGER,
): Range[] {
  const ranges: Range[] = []
  for (const row of fiemap(path)) {
    const range = new Range(row.logical, Math.min(end, row.logical + row.length))
    if (!isOfKind(row) || range.from >= range.to) continue
    const last = ranges.at(-1)
    if (last?.to === range.from) last.to = range.to
    else ranges.push(range)
  }
  return ranges
}

function isReserved({ flags }: FiemapRow): boolean {
  return (flags & FIEMAP_EXTENT_UNWRITTEN) !== 0
}

function isWritten(row: FiemapRow): boolean {
  return !isReserved(row)
}

/** btrfs keeps what is small inline, and writes a tail anew when storage behind it is reserved. */
function comparableEnd(path: Buffer): number {
  const { size } = fs.statSync(path)
  const isReservedBehind = fiemap(path).some(({ logical, length }) => logical + length >= size + BLOCK)
  return size < BLOCK || isReservedBehind ? size - (size % BLOCK) : size
}

/** Where each block up to `end` lies. */
function placesOf(path: Buffer, end: number): Map<number, number> {
  const places = new Map<number, number>()
  for (const { logical, physical, length, flags } of fiemap(path)) {
    if ((flags & NOWHERE) !== 0 || physical === 0) continue
    for (let at = 0; at < length && logical + at < end; at += BLOCK) places.set(logical + at, physical + at)
  }
  return places
}

function join(directory: string, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${directory}/`), name])
}

function show(name: Buffer): string {
  return name
    .toString('latin1')
    .replace(/[^ -~]|\\/g, byte => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
