// Stages that work on blocks: how data is cut, and the CRC32 of each block.
import { isDeepStrictEqual } from 'node:util'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { joined } from '../../fixtures/recipes/json.js'
import {
  type ArchiveRecord,
  blockSplitter,
  crcDedup,
  type Data,
  extentEncoder,
  lengthOf,
  sliceData,
} from '../../src/index.js'
import { data, END, fileEntry, through } from '../support/records.js'
import { failure, noise } from '../support/trees.js'

const BLOCK = 512

/** The parts of blocks that data touches, wherever records cut it; a record counts from `at` in its file. */
function* blocksOf(record: Data, at: number): Generator<string> {
  for (let start = 0; start < record.bytes.byteLength; ) {
    const length = Math.min(record.bytes.byteLength - start, BLOCK - ((at + start) % BLOCK))
    const bytes = Buffer.from(record.bytes.subarray(start, start + length))
    yield `${at + start} ${record.mayBeShared} ${bytes.toString('hex')}`
    start += length
  }
}

function blocks(records: Iterable<ArchiveRecord>): string[] {
  let at = 0
  return Array.from(records).flatMap(record => {
    const start = record.kind === 'entry' ? 0 : at
    at = start + lengthOf(record)
    return record.kind === 'data' ? [...blocksOf(record, start)] : []
  })
}

t.test('blockSplitter cuts data at the blocks of its file, however it arrives', async () => {
  const length = fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.constantFrom(1, 511, 512, 513, 1024))
  const extent = fc.record({
    kind: fc.constantFrom('data', 'shared', 'hole', 'missing', 'reference'),
    length,
  })
  const files = fc.array(fc.array(extent, { maxLength: 6 }), { maxLength: 4 })
  const cuts = fc.array(fc.integer({ min: 0, max: 1200 }), { minLength: 1, maxLength: 8 })
  const property = fc.asyncProperty(files, cuts, fc.boolean(), async (files, cuts, isBare) => {
    let seed = 0
    const extents = ({ kind, length }: { kind: string; length: number }): ArchiveRecord => {
      if (kind === 'hole') return { kind, length, preallocated: false }
      if (kind === 'missing') return { kind, length, errno: 5 }
      if (kind === 'reference') return { kind, address: 0, length, origin: 'shared' }
      return data(noise(length, seed++), kind === 'shared')
    }
    const records = files.flatMap((list, i) => [fileEntry(`f${i}`, i + 1), ...list.map(extents), END])
    const input = records.flatMap(record => {
      if (record.kind !== 'data') return [record]
      const pieces: (ArchiveRecord | Uint8Array)[] = []
      for (let at = 0, i = 0; at < lengthOf(record) || i === 0; i++) {
        // A length of 0 once in a while must not stop this.
        const length = cuts[i % cuts.length] || i % 2
        const piece = sliceData(record, at, at + length)
        pieces.push(isBare && !record.mayBeShared ? piece.bytes : piece)
        at += length
      }
      return pieces
    })
    const stage = blockSplitter({ blockSize: BLOCK })
    const output = await through(input, stage)
    let at = 0
    for (const record of output) {
      if (record.kind === 'entry') at = 0
      const inBlock = at % BLOCK
      const size = lengthOf(record)
      at += size
      if (record.kind !== 'data' || (inBlock === 0 && size > 0 && size % BLOCK === 0)) continue
      if (size === 0 || inBlock + size > BLOCK) throw new Error(`${size} bytes ${inBlock} into a block`)
    }
    const others = (all: readonly ArchiveRecord[]) => all.filter(({ kind }) => kind !== 'data')
    if (!isDeepStrictEqual(others(output), others(records))) throw new Error('other records do not pass')
    // Neighbours of one kind are one extent, so that no part of a block comes in two.
    const expected = blocks(joined(records))
    if (!isDeepStrictEqual(blocks(output), expected)) throw new Error('other blocks came out')
    if (stage.summary.blocks !== expected.length) {
      throw new Error(`counts ${stage.summary.blocks} of ${expected.length} blocks`)
    }
  })
  await fc.assert(property, { numRuns: 150 })
})

t.test('blockSplitter takes bare bytes for data that nobody shares', async t => {
  const bytes = noise(10_000)
  const pieces = [bytes.subarray(0, 100), bytes.subarray(100, 4097), bytes.subarray(4097)]
  const records = await through(pieces, blockSplitter())
  t.same(records.map(lengthOf), [4096, 4096, 1808])
  t.same(blocks(records), blocks([data(bytes)]))
})

t.test('crcDedup fills in the CRC32 of every block', async t => {
  const stage = crcDedup({ blockSize: 512 })
  const parts = [noise(100, 0), noise(412, 1), noise(2048, 2), noise(7, 3)]
  const records = [fileEntry('a', 1), ...parts.map(bytes => data(bytes, true)), END]
  const output = await through(records, stage)
  t.same(
    output.map(({ kind }) => kind),
    ['entry', 'data', 'data', 'data', 'data', 'end'],
  )
  const found = output.flatMap(record => (record.kind === 'data' ? [record] : []))
  for (const [i, { bytes, crcs, mayBeShared }] of found.entries()) {
    const expected: number[] = []
    for (let at = 0; at < bytes.byteLength; at += 512) expected.push(crc32(bytes.subarray(at, at + 512)))
    t.same(Array.from(crcs ?? []), expected)
    t.same(bytes, parts[i])
    t.equal(mayBeShared, true)
  }
  t.equal(stage.summary.blocks, 7)
})

t.test('CRC32s that data has stay as they are, unless its blocks become others', async t => {
  const known = { ...data(noise(1024, 'known')), crcs: Uint32Array.of(1, 2) }
  const records = [fileEntry('a', 1), known, END]
  t.same(await through(records, crcDedup({ blockSize: 512 })), records)
  t.same(await through(records, blockSplitter({ blockSize: 512 })), records)
  for (const blockSize of [1024, 4096]) {
    const [, split] = await through(records, blockSplitter({ blockSize }))
    t.notOk((split as Data).crcs, `blocks of ${blockSize}`)
  }
})

t.test('crcDedup refuses data that no blockSplitter puts out', async t => {
  for (const length of [0, 513, 1023, 1025]) {
    const work = through([fileEntry('a', 1), data(noise(length)), END], crcDedup({ blockSize: 512 }))
    t.equal((await failure(work)).code, 'INVALID_ARGUMENT', `${length} bytes`)
  }
})

t.test('a block size that cannot be one is refused at once', async t => {
  for (const blockSize of [0, -4096, 256, 1000, 4096.5, 131072, Number.NaN]) {
    for (const make of [blockSplitter, crcDedup, extentEncoder]) {
      const error = await failure(() => make({ blockSize }))
      t.equal(error.code, 'INVALID_ARGUMENT', `${make.name}: ${blockSize}`)
    }
  }
})
