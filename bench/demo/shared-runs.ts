/** Which files of two equal trees lie on which physical blocks, side by side. */
import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import {
  FIEMAP_EXTENT_DATA_INLINE,
  FIEMAP_EXTENT_DELALLOC,
  FIEMAP_EXTENT_ENCODED,
  FIEMAP_EXTENT_UNKNOWN,
  FIEMAP_EXTENT_UNWRITTEN,
  fiemap,
  regularFiles,
} from '../../test/support/fiemap.js'

/**
 * Bytes that lie in one run on the device in both trees, and the files that share them in both. Where sharing was lost,
 * several runs name one place in the source.
 */
export interface Run {
  readonly source: number
  readonly restored: number
  length: number
  readonly files: string[]
}

/** A run of one file. */
interface Piece {
  readonly source: number
  readonly restored: number
  readonly length: number
}

interface Extent {
  readonly logical: number
  readonly physical: number
  readonly end: number
}

const NOWHERE =
  FIEMAP_EXTENT_UNKNOWN |
  FIEMAP_EXTENT_DELALLOC |
  FIEMAP_EXTENT_ENCODED |
  FIEMAP_EXTENT_DATA_INLINE |
  FIEMAP_EXTENT_UNWRITTEN

/** In the order of the source's device. A second name of an inode is not told apart. */
export function sharedRuns(source: string, restored: string): Run[] {
  const files = distinctFiles(source).map(name => ({
    name,
    pieces: piecesOf(extentsOf(join(source, name)), extentsOf(join(restored, name))),
  }))
  const cuts = [...new Set(files.flatMap(({ pieces }) => pieces.flatMap(endsOf)))].sort((a, b) => a - b)
  const runs = new Map<string, Run>()
  for (const { name, pieces } of files) {
    for (const piece of pieces.flatMap(piece => cutAt(cuts, piece))) {
      const key = `${piece.source} ${piece.restored}`
      const run = runs.get(key)
      if (run) run.files.push(name)
      else runs.set(key, { ...piece, files: [name] })
    }
  }
  return merge([...runs.values()].sort((a, b) => a.source - b.source || a.restored - b.restored))
}

function distinctFiles(root: string): string[] {
  const inodes = new Set<number>()
  return regularFiles(root)
    .map(String)
    .filter(name => {
      const { ino } = lstatSync(join(root, name))
      return !inodes.has(ino) && inodes.add(ino)
    })
}

function extentsOf(file: string): Extent[] {
  return fiemap(file)
    .filter(({ flags, physical }) => (flags & NOWHERE) === 0 && physical !== 0)
    .map(({ logical, physical, length }) => ({ logical, physical, end: logical + length }))
}

function piecesOf(source: readonly Extent[], restored: readonly Extent[]): Piece[] {
  return source.flatMap(a =>
    restored.flatMap(b => {
      const start = Math.max(a.logical, b.logical)
      const length = Math.min(a.end, b.end) - start
      if (length <= 0) return []
      return { source: a.physical + start - a.logical, restored: b.physical + start - b.logical, length }
    }),
  )
}

function endsOf({ source, length }: Piece): number[] {
  return [source, source + length]
}

function cutAt(cuts: readonly number[], { source, restored, length }: Piece): Piece[] {
  const inside = cuts.filter(cut => cut > source && cut < source + length)
  return [source, ...inside].map((from, index) => {
    const to = inside[index] ?? source + length
    return { source: from, restored: restored + from - source, length: to - from }
  })
}

function merge(runs: readonly Run[]): Run[] {
  const merged: Run[] = []
  for (const run of runs) {
    const last = merged.at(-1)
    const continues =
      last !== undefined &&
      last.source + last.length === run.source &&
      last.restored + last.length === run.restored &&
      String(last.files) === String(run.files)
    if (continues) last.length += run.length
    else merged.push(run)
  }
  return merged
}
