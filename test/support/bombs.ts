// Archives that ask for more than they are worth, and what is measured of those who read them.
import * as fs from 'node:fs'
import type { Test } from 'tap'
import { data, type RawRow, type RawSegment, reference } from '../../fixtures/recipes/raw.js'
import type { ExtractOptions } from '../../src/extract.js'
import { content, file, type Ground, leftovers, unsorted } from './hostile.js'
import { ended, failure, moduleCommand, restore } from './trees.js'

/** How many segments of at most so many rows a list of rows makes. */
export function segmentsOf(rows: readonly RawRow[], most: number): RawSegment[] {
  const segments: RawSegment[] = []
  for (let at = 0; at < rows.length; at += most) segments.push({ rows: rows.slice(at, at + most) })
  return segments
}

/** By how many bytes more memory the work of a process of its own takes than it took before. */
export async function memoryOf(t: Test, prepare: string, work: string): Promise<number> {
  const script = `
    const fs = await import('node:fs')
    const { Readable, Writable } = await import('node:stream')
    const { pipeline } = await import('node:stream/promises')
    const { list } = await import('./src/list.ts')
    const { verify } = await import('./src/verify.ts')
    const { extract } = await import('./src/extract.ts')
    const { invalidRecipes } = await import('./fixtures/recipes/invalid.ts')
    const nowhere = () => new Writable({ objectMode: true, write: (_, __, done) => done() })
    ${prepare}
    const before = process.resourceUsage().maxRSS
    ${work}
    console.log((process.resourceUsage().maxRSS - before) * 1024)`
  const { code, output } = await ended(...moduleCommand(script))
  t.equal(code, 0, output)
  return Number(output.trim().split('\n').at(-1))
}

/** That a limit keeps an archive out, before anything is made of it: by every way to extract it. */
export async function checkLimit(
  t: Test,
  place: Ground,
  archive: Uint8Array,
  limits: NonNullable<ExtractOptions['limits']>,
  limit: string,
  ways: readonly ExtractOptions[] = [{}, { existing: 'overwrite' }, { reflink: 'never' }],
): Promise<void> {
  for (const options of ways) {
    const what = JSON.stringify({ ...options, ...limits })
    const error = await failure(restore(archive, place.target, { ...options, limits })).catch(
      error => error as Error,
    )
    t.match(error, { code: 'LIMIT_EXCEEDED', limit }, what)
    t.same(fs.readdirSync(place.target), [], what)
  }
  t.same(leftovers(place.target), [])
}

/** One row of data, and as many references to all of it as are asked for. */
export function amplified(length: number, files: number, each: number): Uint8Array {
  const rows = [
    ...file('a', {}, data(content(length))),
    ...Array.from({ length: files }, (_, i) =>
      file(`b${i}`, {}, ...Array.from({ length: each }, () => reference(0, length))),
    ).flat(),
  ]
  return unsorted([], { segments: segmentsOf(rows, 30_000) })
}
