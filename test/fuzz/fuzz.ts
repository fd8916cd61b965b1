import { vectors } from '../../fixtures/generate.js'
import { wrongOf } from './check.js'
import { mutate } from './mutate.js'
import { RandomBytes } from './random-bytes.js'

export interface Failure {
  readonly seed: number
  readonly what: string
  readonly bytes: Uint8Array
}

/** Larger ones take too long for what they are worth. */
const LARGEST = 40_000

/** Mutates the vectors, one input for each seed, until the time is over; in milliseconds. */
export async function fuzz(
  directory: string,
  firstSeed: number,
  time: number,
): Promise<{ readonly inputs: number; readonly failures: readonly Failure[] }> {
  const archives = [...(await vectors())]
    .filter(([path, bytes]) => path.endsWith('.reftar') && bytes.byteLength <= LARGEST)
    .map(([, bytes]) => bytes)
  const failures: Failure[] = []
  const end = performance.now() + time
  let seed = firstSeed
  for (; performance.now() < end; seed++) {
    const random = new RandomBytes(seed)
    const bytes = mutate(random.pick(archives), random)
    const what = await wrongOf(bytes, directory).catch(error => `it throws ${error}`)
    if (what !== undefined) failures.push({ seed, what, bytes })
  }
  return { inputs: seed - firstSeed, failures }
}
