import {
  FIEMAP_EXTENT_DELALLOC,
  FIEMAP_EXTENT_ENCODED,
  FIEMAP_EXTENT_INLINE,
  FIEMAP_EXTENT_NOT_ALIGNED,
  FIEMAP_EXTENT_UNKNOWN,
  FIEMAP_EXTENT_UNWRITTEN,
  fiemap,
} from '../sys/fiemap.js'

/** A part of a file that lies in one piece on its device; in bytes. */
export interface MappedExtent {
  readonly logical: number
  readonly physical: number
  readonly length: number
}

/** A file that is in two trees, and where it lies in both. */
export interface MappedFile<T> {
  readonly file: T
  readonly source: readonly MappedExtent[]
  readonly restored: readonly MappedExtent[]
}

/** Bytes that lie in one run on the device in both trees, and the files that have them; in bytes. */
export interface Run<T> {
  readonly source: number
  readonly restored: number
  readonly length: number
  readonly files: readonly T[]
}

/** Which files of two equal trees lie at the same places, side by side. */
export interface Layout<T> {
  /** In the order of the source's device. Where sharing was lost, several name one place in the source. */
  readonly runs: readonly Run<T>[]
  /** Bytes of files that lie where those of others before them do, at the source. */
  readonly sharedBytes: number
  /** Those of them that do so in the restored tree, too. */
  readonly keptBytes: number
}

/** A part of a file that lies in one piece in both trees. */
interface Piece<T> {
  readonly file: T
  readonly source: number
  readonly restored: number
  readonly length: number
}

/** Such rows of a map do not tell where the bytes of a file lie. */
const NOWHERE =
  FIEMAP_EXTENT_UNKNOWN |
  FIEMAP_EXTENT_DELALLOC |
  FIEMAP_EXTENT_ENCODED |
  FIEMAP_EXTENT_NOT_ALIGNED |
  FIEMAP_EXTENT_INLINE |
  FIEMAP_EXTENT_UNWRITTEN

/** Where an open file lies, as FIEMAP tells it once it was written back. @throws SYSTEM_CALL */
export function mapOf(fd: number, size: number): MappedExtent[] {
  return fiemap(fd, 0, size)
    .filter(({ flags, physical }) => (flags & NOWHERE) === 0 && physical !== 0)
    .map(({ logical, physical, length }) => ({
      logical,
      physical,
      length: Math.min(length, size - logical),
    }))
}

export function layoutOf<T>(files: readonly MappedFile<T>[]): Layout<T> {
  const whole = files.flatMap(piecesOf)
  const cuts = [...new Set(whole.flatMap(({ source, length }) => [source, source + length]))]
  cuts.sort((a, b) => a - b)
  const pieces = whole.flatMap(piece => cutAt(cuts, piece))
  const runs = new Map<string, Run<T>>()
  for (const { file, source, restored, length } of pieces) {
    const key = `${source} ${restored}`
    runs.set(key, { source, restored, length, files: [...(runs.get(key)?.files ?? []), file] })
  }
  // Cut like this, all pieces at one place of the source have one length.
  const places = new Map(pieces.map(({ source, length }) => [source, length]))
  const total = sum(pieces.map(({ length }) => length))
  return {
    runs: merged([...runs.values()].sort((a, b) => a.source - b.source || a.restored - b.restored)),
    sharedBytes: total - sum(places.values()),
    keptBytes: total - sum([...runs.values()].map(({ length }) => length)),
  }
}

function piecesOf<T>({ file, source, restored }: MappedFile<T>): Piece<T>[] {
  return source.flatMap(a =>
    restored.flatMap(b => {
      const start = Math.max(a.logical, b.logical)
      const length = Math.min(a.logical + a.length, b.logical + b.length) - start
      if (length <= 0) return []
      const piece = { source: a.physical + start - a.logical, restored: b.physical + start - b.logical }
      return [{ file, ...piece, length }]
    }),
  )
}

function cutAt<T>(cuts: readonly number[], { file, source, restored, length }: Piece<T>): Piece<T>[] {
  const inside = cuts.filter(cut => cut > source && cut < source + length)
  return [source, ...inside].map((from, i) => {
    const to = inside[i] ?? source + length
    return { file, source: from, restored: restored + from - source, length: to - from }
  })
}

function merged<T>(runs: readonly Run<T>[]): Run<T>[] {
  const all: Run<T>[] = []
  for (const run of runs) {
    const last = all.at(-1)
    if (last && continues(last, run)) all[all.length - 1] = { ...last, length: last.length + run.length }
    else all.push(run)
  }
  return all
}

function continues<T>(last: Run<T>, next: Run<T>): boolean {
  return (
    last.source + last.length === next.source &&
    last.restored + last.length === next.restored &&
    last.files.length === next.files.length &&
    last.files.every((file, i) => file === next.files[i])
  )
}

function sum(values: Iterable<number>): number {
  let total = 0
  for (const value of values) total += value
  return total
}
