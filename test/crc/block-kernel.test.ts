import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { createCRC32 } from 'hash-wasm'
import t from 'tap'
import { type BlockSums, loadBlockKernel, loadPlainKernel } from '../../src/crc/block-kernel.js'
import { BLOCK_KERNEL } from '../../src/crc/block-kernel-bytes.js'
import { build } from '../../wasm/build.js'
import { KIB, MIB, noise } from '../support/trees.js'

/** What the types of Node leave out. */
declare const WebAssembly: {
  validate(binary: Uint8Array): boolean
  instantiate(source: object, ...rest: unknown[]): Promise<unknown>
}

const BLOCK_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]

const kernel = await loadBlockKernel()
const plain = await loadPlainKernel()
const hasher = await createCRC32()

/** The kernel of this file is the WebAssembly one, or half of it says nothing. */
t.ok(WebAssembly.validate(Buffer.from(BLOCK_KERNEL, 'base64')), 'this Node has vector instructions')

function cut(bytes: Uint8Array, blockSize: number): Uint8Array[] {
  const count = Math.ceil(bytes.byteLength / blockSize)
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * blockSize, (i + 1) * blockSize))
}

/** The first block, if any, whose CRC32 or zero test is wrong. */
function wrong(bytes: Uint8Array, blockSize: number): string | undefined {
  const { crcs, hashes, zeros } = kernel.sum(bytes, blockSize)
  const blocks = cut(bytes, blockSize)
  if ([crcs, hashes, zeros].some(({ length }) => length !== blocks.length)) return 'a wrong number of blocks'
  const at = blocks.findIndex(
    (block, i) => crcs[i] !== crc32(block) || zeros[i] !== Number(block.every(byte => byte === 0)),
  )
  return at < 0 ? undefined : `block ${at} of ${blocks.length}, in ${bytes.byteLength} bytes by ${blockSize}`
}

/** The sums of bytes that are one block. */
function one(block: Uint8Array): { crc: number; hash: number } {
  const { crcs, hashes } = kernel.sum(block, 65536)
  return { crc: crcs[0] ?? 0, hash: hashes[0] ?? 0 }
}

function same(a: BlockSums, b: BlockSums): boolean {
  return (['crcs', 'hashes', 'zeros'] as const).every(
    name => Buffer.compare(raw(a[name]), raw(b[name])) === 0,
  )
}

function raw({ buffer, byteOffset, byteLength }: NodeJS.ArrayBufferView): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength)
}

t.test('the known value', async t => {
  t.equal(one(Buffer.from('123456789')).crc, 0xcbf43926)
})

t.test('CRC32 of random bytes of every length, at every alignment', async t => {
  const bytes = noise(9100 + 16)
  const found: string[] = []
  for (let length = 1; length <= 9100; length++) {
    const blockSize = BLOCK_SIZES[length % BLOCK_SIZES.length] ?? 4096
    const at = length % 17
    const fault = wrong(bytes.subarray(at, at + length), blockSize)
    if (fault) found.push(fault)
  }
  t.same(found, [])
})

t.test('CRC32 of each block size, around each multiple of it and of a batch', async t => {
  const bytes = noise(2 * MIB + 70 * KIB)
  const found: string[] = []
  for (const blockSize of BLOCK_SIZES) {
    for (const whole of [blockSize, 2 * blockSize, 5 * blockSize, 256 * KIB, MIB, 2 * MIB]) {
      for (const more of [-320, -16, -1, 0, 1, 15, 16, 319, 320, 321, blockSize - 1]) {
        const length = whole + more
        const fault = wrong(bytes.subarray(3, 3 + length), blockSize)
        if (fault) found.push(fault)
      }
    }
  }
  t.same(found, [])
})

t.test('CRC32 and the zero test of zeros, and of a single bit at each place', async t => {
  const found: string[] = []
  const bytes = new Uint8Array(4096 + 100)
  for (let length = 1; length <= bytes.length; length++) {
    const fault = wrong(bytes.subarray(0, length), 4096)
    if (fault) found.push(fault)
  }
  for (const blockSize of BLOCK_SIZES) {
    const fault = wrong(new Uint8Array(MIB + 5), blockSize)
    if (fault) found.push(fault)
  }
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    bytes[bit >> 3] = 1 << (bit & 7)
    const fault = wrong(bytes, 4096)
    if (fault) found.push(`bit ${bit}: ${fault}`)
    bytes[bit >> 3] = 0
  }
  t.same(found, [])
})

t.test('the CRC32 of hash-wasm', async t => {
  const bytes = noise(300_000)
  for (const blockSize of BLOCK_SIZES) {
    const expected = cut(bytes, blockSize).map(block =>
      Number.parseInt(hasher.init().update(block).digest(), 16),
    )
    t.same([...kernel.sum(bytes, blockSize).crcs], expected)
  }
})

t.test('no bytes are no blocks', async t => {
  for (const { sum } of [kernel, plain]) {
    t.same(sum(new Uint8Array(0), 4096), {
      crcs: new Uint32Array(0),
      hashes: new Uint32Array(0),
      zeros: new Uint8Array(0),
    })
  }
})

t.test('what comes out stays, and what goes in is left alone', async t => {
  const bytes = noise(10_000, 'first')
  const before = Buffer.from(bytes)
  const sums = kernel.sum(bytes, 512)
  const copy = structuredClone(sums)
  kernel.sum(noise(MIB, 'second'), 512)
  t.same(bytes, before)
  t.same(sums, copy)
  for (const array of Object.values(sums)) t.ok(array.buffer.byteLength === array.byteLength)
})

t.test('the plain kernel sums to the same', async t => {
  const zeroed = fc.record({ at: fc.nat(20_000), length: fc.nat(20_000) })
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20_000 }),
      fc.nat(),
      fc.constantFrom(...BLOCK_SIZES),
      fc.nat(20),
      fc.array(zeroed, { maxLength: 3 }),
      (length, seed, blockSize, offset, holes) => {
        const bytes = noise(offset + length, seed).subarray(offset)
        for (const { at, length } of holes) bytes.subarray(at, at + length).fill(0)
        return same(kernel.sum(bytes, blockSize), plain.sum(bytes, blockSize))
      },
    ),
    { numRuns: 300 },
  )
  const large = noise(MIB + 300 * KIB + 7)
  for (const blockSize of BLOCK_SIZES) {
    t.ok(same(kernel.sum(large, blockSize), plain.sum(large, blockSize)), `blocks of ${blockSize}`)
  }
  for (const byte of [0x00, 0x7f, 0x80, 0xff]) {
    const bytes = Buffer.alloc(70_000, byte)
    t.ok(same(kernel.sum(bytes, 32768), plain.sum(bytes, 32768)), `bytes of ${byte}`)
  }
})

t.test('the sums of a block depend on its bytes alone', async t => {
  const block = noise(512, 'alone')
  const alone = one(block)
  for (let count = 1; count <= 9; count++) {
    for (let at = 0; at < count; at++) {
      const bytes = noise(512 * count, `${count} ${at}`)
      bytes.set(block, 512 * at)
      const { crcs, hashes } = kernel.sum(bytes, 512)
      t.same({ crc: crcs[at], hash: hashes[at] }, alone)
    }
  }
  fc.assert(
    fc.property(fc.constantFrom(512, 4096, 65536), fc.nat(300_000), fc.nat(), (blockSize, length, seed) => {
      const bytes = noise(length, seed)
      const { crcs, hashes } = kernel.sum(bytes, blockSize)
      return cut(bytes, blockSize).every((block, i) => {
        const { crc, hash } = one(block)
        return crc === crcs[i] && hash === hashes[i]
      })
    }),
    { numRuns: 30 },
  )
})

t.test('equal bytes of another length have another hash', async t => {
  const zeros = new Uint8Array(5000)
  const hashes = new Set(Array.from({ length: 5000 }, (_, i) => one(zeros.subarray(0, i + 1)).hash))
  t.equal(hashes.size, 5000)
})

/**
 * Changes four bytes so that the CRC32 of the block becomes `crc`. Each of their bits, flipped, changes the same bits
 * of the CRC whatever else is in the block, and no two sets of them change the same.
 */
function forge(block: Uint8Array, at: number, crc: number): void {
  const bits = Array.from({ length: 32 }, (_, bit) => bit)
  const flip = (bit: number) => {
    block[at + (bit >> 3)] = (block[at + (bit >> 3)] ?? 0) ^ (1 << (bit & 7))
  }
  const now = crc32(block)
  const effects = bits.map(bit => {
    flip(bit)
    const effect = crc32(block) ^ now
    flip(bit)
    return { effect, set: 1 << bit }
  })
  const missing = { effect: crc ^ now, set: 0 }
  for (const bit of bits) {
    const pivot = effects.find(({ effect }) => (effect >>> bit) & 1)
    if (!pivot) throw new Error('the changes depend on each other')
    effects.splice(effects.indexOf(pivot), 1)
    for (const row of [...effects, missing]) {
      if ((row.effect >>> bit) & 1) {
        row.effect ^= pivot.effect
        row.set ^= pivot.set
      }
    }
  }
  for (const bit of bits) if ((missing.set >>> bit) & 1) flip(bit)
}

t.test('a block that was forged to have the CRC32 of another has another hash', async t => {
  let forged = 0
  for (let i = 0; i < 500; i++) {
    const length = [100, 512, 1000, 4096][i % 4] ?? 0
    const block = noise(length, `of ${i}`)
    // All of it, four bytes at the end, one bit near the start, one bit in each of some places.
    const other = i % 3 === 0 ? noise(length, `to ${i}`) : Buffer.from(block)
    if (i % 3 === 1) other[i % 50] = (other[i % 50] ?? 0) ^ (1 << (i % 8))
    if (i % 3 === 2) for (let at = 0; at < 64; at += 16) other[at] = (other[at] ?? 0) ^ 0x80
    forge(other, length - 4 - (i % 40), crc32(block))
    const [a, b] = [one(block), one(other)]
    if (block.equals(other) || a.crc !== b.crc) t.fail(`${i} is no forgery`)
    if (a.hash !== b.hash) forged++
  }
  t.equal(forged, 500)
})

t.test('the hash is not linear, as the CRC is', async t => {
  let linear = 0
  for (let i = 0; i < 1000; i++) {
    const [a, b, c] = ['a', 'b', 'c'].map(name => noise(512, `${name} ${i}`)) as [Buffer, Buffer, Buffer]
    const sum = a.map((byte, at) => byte ^ (b[at] ?? 0) ^ (c[at] ?? 0))
    const [x, y, z, all] = [a, b, c, sum].map(one) as [Sums, Sums, Sums, Sums]
    if ((x.crc ^ y.crc ^ z.crc ^ all.crc) !== 0) t.fail('the CRC is linear')
    if ((x.hash ^ y.hash ^ z.hash ^ all.hash) === 0) linear++
  }
  t.equal(linear, 0)
})

type Sums = ReturnType<typeof one>

t.test('blocks that differ in little have different sums', async t => {
  /** Pairs that have the same hash, and pairs that have the same CRC32 too, among so many blocks of 512 bytes. */
  function collisions(
    count: number,
    fill: (block: Buffer, i: number) => void,
  ): { hash: number; both: number } {
    const blocks = Buffer.alloc(count * 512)
    for (let i = 0; i < count; i++) fill(blocks.subarray(i * 512, (i + 1) * 512), i)
    const { crcs, hashes } = kernel.sum(blocks, 512)
    const both = new Set(Array.from(crcs, (crc, i) => (BigInt(crc) << 32n) | BigInt(hashes[i] ?? 0)))
    return { hash: count - new Set(hashes).size, both: count - both.size }
  }
  const cases: [string, number, (block: Buffer, i: number) => void][] = [
    ['a number in front', 50_000, (block, i) => block.writeUInt32LE(i, 0)],
    ['a number at the end', 50_000, (block, i) => block.writeUInt32BE(i, 508)],
    ['the number everywhere', 50_000, (block, i) => block.fill(Uint8Array.of(i, i >> 8, i >> 16, 0))],
    [
      'two numbers',
      50_000,
      (block, i) => block.writeUInt16LE(i % 224, 18) + block.writeUInt16LE(i / 224, 34),
    ],
    ['text', 50_000, (block, i) => block.fill(`line ${i} of the log, and all is well\n`)],
    ['one bit', 4096, (block, i) => block.writeUInt8(1 << (i & 7), i >> 3)],
    ['one bit of ones', 4096, (block, i) => block.fill(255).writeUInt8(255 ^ (1 << (i & 7)), i >> 3)],
  ]
  for (const [name, count, fill] of cases) {
    const { hash, both } = collisions(count, fill)
    t.equal(both, 0, `${name}: no two have both`)
    // Random numbers would collide 0.3 times among 50,000.
    t.ok(hash <= 4, `${name}: ${hash} have the hash of an earlier one`)
  }
  const all = cases.flatMap(([, count, fill], row) =>
    Array.from({ length: count }, (_, i) => ({ row, i, fill })),
  )
  const { both } = collisions(all.length, (block, at) => {
    const { row, i, fill } = all[at] ?? { row: 0, i: 0, fill: () => {} }
    fill(block, i)
    // Some are in two rows: now all are different.
    block.writeInt32LE(block.readInt32LE(300) ^ (row * 0x11111111), 300)
  })
  t.ok(all.length > 200_000)
  t.equal(both, 0, `no two of all ${all.length}`)
})

t.test('every bit of the hash is set in half of the blocks', async t => {
  const count = 100_000
  const blocks = Buffer.alloc(count * 512)
  for (let i = 0; i < count; i++) blocks.writeUInt32LE(i, i * 512 + 256)
  const { hashes } = kernel.sum(blocks, 512)
  for (let bit = 0; bit < 32; bit++) {
    const ones = hashes.reduce((sum, hash) => sum + ((hash >>> bit) & 1), 0)
    // Five standard deviations, half the root of the count each.
    t.ok(Math.abs(ones - count / 2) < 2.5 * Math.sqrt(count), `bit ${bit}: ${ones} of ${count}`)
  }
})

t.test('without vector instructions the plain kernel is taken', async t => {
  const { validate, instantiate } = WebAssembly
  t.teardown(() => Object.assign(WebAssembly, { validate, instantiate }))
  Object.assign(WebAssembly, {
    validate: () => false,
    // hash-wasm gives a module, and the kernel its bytes.
    instantiate: (source: object, ...rest: unknown[]) =>
      ArrayBuffer.isView(source) ? Promise.reject(new Error('no vectors')) : instantiate(source, ...rest),
  })
  const another: string = '../../src/crc/block-kernel.js?without-vectors'
  const { loadBlockKernel } = (await import(another)) as typeof import('../../src/crc/block-kernel.js')
  const bytes = noise(10_000)
  t.ok(same((await loadBlockKernel()).sum(bytes, 4096), kernel.sum(bytes, 4096)))
})

t.test('building again gives what is committed', async t => {
  const built = await build()
  t.equal(built.size, 2)
  for (const [path, bytes] of built) t.ok(readFileSync(path).equals(bytes), basename(path))
  t.ok(Buffer.from(BLOCK_KERNEL, 'base64').length < 4096, 'under 4 KiB')
})
