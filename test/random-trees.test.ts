// Trees that nobody thought of come back as they were. REFTAR_SEEDS=50 makes more of them, REFTAR_SEEDS=100-149 others.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { verify } from '../src/verify.js'
import { attributeDifferences } from './support/compare-attributes.js'
import { lostSharing, rangeDifferences } from './support/compare-storage.js'
import { compareTrees } from './support/compare-trees.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import { makeRandomTree } from './support/random-tree.js'
import { archive, problems, restore, run, sourceAndTarget } from './support/trees.js'

process.umask(0o022)

const DEFAULT_SEEDS = '10'
const PAIRS = [
  ['btrfs', 'btrfs'],
  ['xfs', 'xfs'],
  ['btrfs', 'xfs'],
] as const satisfies [FilesystemName, FilesystemName][]

const { REFTAR_SEEDS } = process.env
const seeds = seedsOf(REFTAR_SEEDS || DEFAULT_SEEDS)
t.setTimeout(60_000 + seeds.length * 10_000)

for (const [from, to] of PAIRS) {
  t.test(`random trees from ${from} to ${to}`, async t => {
    for (const seed of seeds) await t.test(`seed ${seed}`, t => checkSeed(t, from, to, seed))
  })
}

async function checkSeed(t: Test, from: FilesystemName, to: FilesystemName, seed: number): Promise<void> {
  const [directory, targetDirectory] = [testDirectory(t, from), testDirectory(t, to)]
  if (directory === undefined || targetDirectory === undefined) return
  const { source, target } = sourceAndTarget(directory, targetDirectory)
  // XFS knows no file that is not copied on write.
  makeRandomTree(source, seed, { nocow: to === 'btrfs' })
  // Half of the trees are archived while they are not yet written back, which can change what is shared.
  // XFS takes what it only reserved for data until it is written back.
  const isSettled = from === 'xfs' || seed % 2 === 0
  if (isSettled) await settle(source)
  const archived = await archive(['.'], { directory: source })
  t.same(problems(archived.events), [], `seed ${seed}: all is archived`)
  const restored = await restore(archived.bytes, target)
  t.same(problems(restored.events), [], `seed ${seed}: all is restored`)
  writeBack(source, target)
  // SEEK_HOLE is no judge: XFS takes cached pages for data, and btrfs knows no holes in clones of reserved storage.
  t.same(compareTrees(source, target, { holes: false }), [], `seed ${seed}: equal trees`)
  t.same(rangeDifferences(source, target), [], `seed ${seed}: data where it was`)
  t.same(attributeDifferences(source, target), [], `seed ${seed}: equal attributes`)
  if (from === to) t.same(lostSharing(source, target), [], `seed ${seed}: all sharing kept`)
  const second = await archive(['.'], { directory: source })
  const other = isSettled ? archived : await archive(['.'], { directory: source })
  t.ok(second.bytes.equals(other.bytes), `seed ${seed}: the same archive again`)
  t.same(await differences(archived.bytes, target), [], `seed ${seed}: verified`)
}

/** What shares storage is known only when all is written back, and when XFS has freed what was unlinked. */
async function settle(directory: string): Promise<void> {
  writeBack(directory)
  fs.statfsSync(directory)
  await setTimeout(20)
}

function writeBack(...directories: readonly string[]): void {
  execFileSync('sync', ['--file-system', ...directories])
}

async function differences(bytes: Uint8Array, against: string): Promise<string[]> {
  const found: string[] = []
  const sink = verify({
    against,
    onEvent: event => {
      if (event.type === 'problem') found.push(event.message)
    },
  })
  await run(Readable.from([Uint8Array.from(bytes)], { objectMode: false }), sink)
  return found
}

function seedsOf(text: string): number[] {
  const [, first = '', last] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? []
  if (first === '') throw new Error(`REFTAR_SEEDS is "${text}", expected a number or a range as in 100-149`)
  const [start, end] = last === undefined ? [1, Number(first)] : [Number(first), Number(last)]
  return Array.from({ length: end - start + 1 }, (_, index) => start + index)
}
