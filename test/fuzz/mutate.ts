import { reseal } from '../../fixtures/recipes/raw.js'
import type { RandomBytes } from './random-bytes.js'

/** Numbers at the edges of what fields hold. */
const EDGES = [
  0n,
  1n,
  2n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
]

type Mutation = (bytes: Uint8Array, random: RandomBytes) => Uint8Array

const mutations: readonly Mutation[] = [
  (bytes, random) => {
    const at = random.below(bytes.byteLength)
    bytes[at] = (bytes[at] as number) ^ (1 << random.below(8))
    return bytes
  },
  (bytes, random) => {
    bytes[random.below(bytes.byteLength)] = random.below(256)
    return bytes
  },
  (bytes, random) => {
    const size = random.pick([1, 2, 4, 8])
    if (bytes.byteLength < size) return bytes
    const edge = Buffer.alloc(8)
    edge.writeBigUInt64LE(random.pick(EDGES))
    bytes.set(edge.subarray(0, size), random.below(bytes.byteLength - size + 1))
    return bytes
  },
  (bytes, random) => {
    const [from, to] = random.range(bytes.byteLength)
    return Uint8Array.from([...bytes.subarray(0, to), ...bytes.subarray(from)])
  },
  (bytes, random) => {
    const [from, to] = random.range(bytes.byteLength)
    return Uint8Array.from([...bytes.subarray(0, from), ...bytes.subarray(to)])
  },
  (bytes, random) => {
    const [from, to] = random.range(bytes.byteLength)
    bytes.copyWithin(random.below(bytes.byteLength), from, to)
    return bytes
  },
]

/** Some changes of an archive, after most of which its checksums are made true again: else only these would be tested. */
export function mutate(archive: Uint8Array, random: RandomBytes): Uint8Array {
  let bytes: Uint8Array = archive.slice()
  for (let i = random.below(4); i >= 0; i--) {
    if (bytes.byteLength === 0) return bytes
    bytes = random.pick(mutations)(bytes, random)
  }
  return random.below(8) === 0 ? bytes : reseal(bytes)
}
