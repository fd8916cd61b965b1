/** What the corpora are made with. */
import { execFileSync } from 'node:child_process'
import { closeSync, fsyncSync, openSync, readdirSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { RandomBytes } from '../random.js'

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB
export const TIB = 1024 * GIB

export const BLOCK = 4 * KIB

/** Fills one directory, which exists and is empty; `quick` makes less of the same. */
export type MakeCorpus = (target: string, seed: string, quick: boolean) => void

export function writeRandomFile(file: string, size: number, seed: string): void {
  const random = new RandomBytes(seed)
  const descriptor = openSync(file, 'wx')
  for (let position = 0; position < size; position += MIB) {
    writeFully(descriptor, random.bytes(Math.min(MIB, size - position)), position)
  }
  fsyncSync(descriptor)
  closeSync(descriptor)
}

export function writeFully(descriptor: number, bytes: Buffer, position: number): void {
  let done = 0
  while (done < bytes.length) {
    done += writeSync(descriptor, bytes, done, bytes.length - done, position + done)
  }
}

/** Overwrites a share of a file in runs of `length` bytes. */
export function rewriteRuns(file: string, size: number, length: number, share: number, seed: string): void {
  const random = new RandomBytes(seed)
  const descriptor = openSync(file, 'r+')
  for (const position of pickRuns(random, size, length, share))
    writeFully(descriptor, random.bytes(length), position)
  fsyncSync(descriptor)
  closeSync(descriptor)
}

/** Positions of runs that are aligned to blocks, do not overlap, and together make up the share to rewrite. */
function pickRuns(random: RandomBytes, size: number, length: number, share: number): number[] {
  const wanted = Math.round((size * share) / length)
  const positions: number[] = []
  while (positions.length < wanted) {
    const candidate = random.below((size - length) / BLOCK + 1) * BLOCK
    if (positions.every(taken => Math.abs(taken - candidate) >= length)) positions.push(candidate)
  }
  return positions.sort((a, b) => a - b)
}

/** The regular files below a directory, in order of their paths; symbolic links are neither listed nor followed. */
export function regularFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
    .sort()
}

export function copy(options: string[], from: string, to: string): void {
  execFileSync('cp', [...options, '--', from, to])
}
