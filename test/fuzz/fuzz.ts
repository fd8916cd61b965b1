import { vectors } from '../../fixtures/generate.js'
import { BlockCoverage } from './block-coverage.js'
import { wrongOf } from './check.js'
import { mutate } from './mutate.js'
import { RandomBytes } from './random-bytes.js'

export interface Failure {
  readonly seed: number
  readonly what: string
  readonly bytes: Uint8Array
}

export interface Fuzzed {
  readonly inputs: number
  /** Of src, that were run. */
  readonly blocks: number
  readonly failures: readonly Failure[]
}

/** Larger ones take too long for what they are worth. */
const LARGEST = 40_000

/**
 * Mutates the vectors, and whatever led to code that nothing had led to before, one input for each seed, until the time
 * is over; in milliseconds.
 */
export async function fuzz(directory: string, firstSeed: number, time: number): Promise<Fuzzed> {
  const corpus = [...(await vectors())]
    .filter(([path, bytes]) => path.endsWith('.reftar') && bytes.byteLength <= LARGEST)
    .map(([, bytes]) => bytes)
  const failures: Failure[] = []
  const coverage = await BlockCoverage.start()
  for (const bytes of corpus) await wrongOf(bytes, directory)
  await coverage.isNew()
  const end = performance.now() + time
  let seed = firstSeed
  for (; performance.now() < end; seed++) {
    const random = new RandomBytes(seed)
    const bytes = mutate(random.pick(corpus), random)
    const what = await wrongOf(bytes, directory).catch(error => `it throws ${error}`)
    if (what !== undefined) failures.push({ seed, what, bytes })
    if ((await coverage.isNew()) && bytes.byteLength <= LARGEST) corpus.push(bytes)
  }
  coverage.stop()
  return { inputs: seed - firstSeed, blocks: coverage.blocks, failures }
}
