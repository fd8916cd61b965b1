// Random values for files: names, sizes, contents, attributes.
import { Random } from './random.js'

const KIB = 1024
const BLOCK = 4 * KIB
const LARGE = 300 * KIB
const HUGE = 2048 * KIB

const TRICKY_NAMES = ['-rf', ' ', '~', '...', '.hidden', '\'"$(x)`', '\\', '*', '.reftar-a', '\ufeff\u202ex']
const ODD_BYTES = [0x01, 0x0a, 0x0d, 0x1b, 0x20, 0x5c, 0x7f, 0x80, 0xc3, 0xff]

export function randomName(random: Random): Buffer {
  return random.weighted<() => Buffer>([
    [12, () => Buffer.from(random.word().toString(36).slice(0, random.between(1, 7)))],
    [4, () => Buffer.from(Array.from({ length: random.between(1, 8) }, () => random.pick(ODD_BYTES)))],
    [2, () => Buffer.from(random.pick(TRICKY_NAMES))],
    [1, () => Buffer.from('\u00e9\u4e2d\ud83d\ude00'.slice(0, random.pick([1, 2, 4])))],
    [1, () => Buffer.alloc(255, random.pick(['n', 'long-', '\xfc']))],
  ])()
}

export function randomSize(random: Random): number {
  return random.weighted<() => number>([
    [6, () => 0],
    [15, () => random.between(1, 100)],
    [10, () => random.between(101, 5000)],
    [30, () => Math.max(0, random.between(1, 16) * BLOCK + random.between(-1, 1))],
    [37, () => random.below(LARGE)],
    [2, () => random.between(HUGE - BLOCK, HUGE)],
  ])()
}

/** Of up to `size` bytes and a little more, and sometimes in whole blocks. */
export function randomRange(random: Random, size: number): [offset: number, length: number] {
  const offset = random.below(size + 1)
  const length = random.between(1, random.pick([BLOCK, 32 * KIB, Math.max(1, size)]))
  if (random.chance(0.5)) return [offset, length]
  return [offset - (offset % BLOCK), Math.ceil(length / BLOCK) * BLOCK]
}

/** Bytes that differ from all others, that are zeros, or that other files have too. */
export function randomContent(random: Random, length: number): Buffer {
  const kind = random.weighted([
    [14, 'noise'],
    [2, 'zeros'],
    [2, 'blocks'],
    [2, 'line'],
  ] as const)
  if (kind === 'noise') return random.bytes(length)
  if (kind === 'zeros') return Buffer.alloc(length)
  if (kind === 'line') return Buffer.alloc(length, `the line number ${random.below(3)}\n`)
  const bytes = Buffer.alloc(Math.ceil(length / BLOCK) * BLOCK)
  for (let at = 0; at < length; at += BLOCK) new Random(random.below(20)).bytes(BLOCK).copy(bytes, at)
  return bytes.subarray(0, length)
}

/** struct vfs_cap_data, of revision 2. */
export function randomCapabilities(random: Random): Buffer {
  const value = Buffer.alloc(20)
  value.writeUInt32LE(0x0200_0000 | random.below(2), 0)
  for (const at of [4, 8]) value.writeUInt32LE(random.word(), at)
  for (const at of [12, 16]) value.writeUInt32LE(random.below(2 ** 8), at)
  return value
}

/** struct posix_acl_xattr_header and its entries, which must be in the order of their tags and ids. */
export function randomAcl(random: Random): Buffer {
  const ids = (count: number) => [...new Set(Array.from({ length: count }, () => random.below(70_000)))]
  const named = (tag: number) =>
    ids(random.below(4))
      .sort((a, b) => a - b)
      .map(id => [tag, id] as const)
  const none = 0xffff_ffff
  const entries = [
    [0x01, none],
    ...named(0x02),
    [0x04, none],
    ...named(0x08),
    [0x10, none],
    [0x20, none],
  ] as const
  const value = Buffer.alloc(4 + 8 * entries.length)
  value.writeUInt32LE(2, 0)
  for (const [index, [tag, id]] of entries.entries()) {
    value.writeUInt16LE(tag, 4 + 8 * index)
    value.writeUInt16LE(random.below(8), 6 + 8 * index)
    value.writeUInt32LE(id, 8 + 8 * index)
  }
  return value
}
