// What crcDedup refers to was compared, wherever the bytes come from; what it puts out is again a valid record stream.
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { ReftarError } from '../../src/errors.js'
import { DataSpace } from '../../src/format/data-space.js'
import type { ArchiveRecord, Data, Source } from '../../src/record.js'
import { blockSplitter } from '../../src/stream/block-splitter.js'
import { type CrcDedupOptions, crcDedup, type DedupSummary, type Spool } from '../../src/stream/crc-dedup.js'
import { extentDecoder } from '../../src/stream/extent-decoder.js'
import { extentEncoder } from '../../src/stream/extent-encoder.js'
import { forgedPair } from '../support/forge.js'
import { MIB, noise, references, replay } from '../support/trees.js'

const BLOCK = 512

/** The records of files with these contents, each in one piece. */
function filesOf(contents: readonly (readonly ArchiveRecord[])[]): ArchiveRecord[] {
  return contents.flatMap((extents, i): ArchiveRecord[] => [
    {
      kind: 'entry',
      ordinal: i + 1,
      parent: 0,
      name: Buffer.from(String(i).padStart(4, '0')),
      type: 'file',
      linked: false,
      metadata: {},
    },
    ...extents,
    { kind: 'end', state: 'whole' },
  ])
}

function data(bytes: Uint8Array, from?: Data['from']): Data {
  return { kind: 'data', bytes, mayBeShared: false, ...(from && { from }) }
}

async function collect(records: Iterable<ArchiveRecord>, ...stages: unknown[]): Promise<ArchiveRecord[]> {
  const out: ArchiveRecord[] = []
  const last = async (source: AsyncIterable<ArchiveRecord>) => {
    for await (const record of source) out.push(record)
  }
  await pipeline([Readable.from(records), ...stages, last] as unknown as [Readable, Writable])
  return out
}

async function deduped(
  records: Iterable<ArchiveRecord>,
  options: CrcDedupOptions = {},
): Promise<{ out: ArchiveRecord[]; summary: Readonly<DedupSummary> }> {
  const stage = crcDedup({ blockSize: BLOCK, ...options })
  const out: ArchiveRecord[] = []
  const source = Readable.from(records)
    .pipe(blockSplitter({ blockSize: BLOCK }))
    .pipe(stage)
  for await (const record of source) out.push(record as unknown as ArchiveRecord)
  return { out, summary: stage.summary }
}

/** A source in memory that counts, and that can be told to have changed. */
function memorySource(bytes: Uint8Array): Source & { changed: boolean; reads: number } {
  return {
    changed: false,
    reads: 0,
    read(offset, into) {
      this.reads++
      if (this.changed) throw new ReftarError('SOURCE_CHANGED', 'told so')
      into.set(bytes.subarray(offset, offset + into.byteLength))
    },
  }
}

function contentsOf(records: readonly ArchiveRecord[]): Buffer[] {
  return [...replay(records).values()].map(({ bytes }) => bytes)
}

function sameContents(a: readonly ArchiveRecord[], b: readonly ArchiveRecord[]): boolean {
  return Buffer.compare(Buffer.concat(contentsOf(a)), Buffer.concat(contentsOf(b))) === 0
}

t.test('a copy is one reference to the whole, wherever it is cut', async t => {
  const original = noise(MIB + 5000)
  const records = filesOf([
    [data(original)],
    [data(original)],
    [data(original.subarray(0, 300_000)), data(original.subarray(300_000))],
  ])
  const { out, summary } = await deduped(records)
  t.same(contentsOf(out), [original, original, original])
  const found = references(out)
  t.equal(summary.duplicateBytes, 2 * original.byteLength, 'the tail too')
  t.ok(found.every(({ origin }) => origin === 'dedup'))
  const starts = found.filter(({ address }, i) => {
    const before = found[i - 1]
    return !before || before.address + before.length !== address
  })
  t.same(
    starts.map(({ address }) => address),
    [0, 0],
    'the references of each copy go on where the one before ended',
  )
})

t.test('matches reach both ways from the block that gave the hint', async t => {
  const [first, second] = [noise(64 * BLOCK, 1), noise(64 * BLOCK, 2)]
  const mixed = Buffer.concat([
    noise(7 * BLOCK, 3),
    first.subarray(5 * BLOCK, 50 * BLOCK),
    noise(3 * BLOCK, 4),
    second,
  ])
  // So small a table remembers few blocks, and what is between them is found from those.
  const { out, summary } = await deduped(filesOf([[data(first)], [data(second)], [data(mixed)]]), {
    memory: 14 * 60,
  })
  t.ok(summary.sampling > 1, `one of ${summary.sampling} blocks is remembered`)
  t.same(contentsOf(out), [first, second, mixed])
  t.same(
    references(out).map(({ address, length }) => [address / BLOCK, length / BLOCK]),
    [
      [5, 45],
      [64, 64],
    ],
  )
})

t.test('small files, tails and zeros', async t => {
  const small = noise(200)
  const tail = Buffer.concat([noise(2 * BLOCK, 5), noise(77, 6)])
  const contents = [
    small,
    small,
    tail,
    tail,
    Buffer.alloc(8 * BLOCK),
    Buffer.alloc(8 * BLOCK),
    noise(12, 7),
    noise(12, 7),
  ]
  const { out, summary } = await deduped(filesOf(contents.map(bytes => [data(bytes)])))
  t.same(contentsOf(out), contents)
  t.equal(
    summary.duplicateBytes,
    small.byteLength + tail.byteLength,
    'zeros, and what is shorter than a reference, stay',
  )
})

t.test('blocks with equal hashes that differ', async t => {
  for (const size of [BLOCK, 4096]) {
    const [a, b] = await forgedPair(size)
    t.not(Buffer.compare(a, b), 0, 'they differ')
    t.equal(crc32(a), crc32(b), 'with one CRC32')
    const [front, back] = [noise(size, 'front'), noise(size, 'back')]
    const contents = [a, b, Buffer.concat([front, a, back]), Buffer.concat([front, b, back]), b, a]
    const stage = crcDedup({ blockSize: size })
    const out = await collect(
      filesOf(contents.map(bytes => [data(bytes)])),
      blockSplitter({ blockSize: size }),
      stage,
    )
    t.same(contentsOf(out), contents)
    t.ok(stage.summary.comparedBytes >= size, 'they were compared')
  }
})

t.test('what went out long ago is proven by its source, or by a spool, or not at all', async t => {
  const old = noise(20 * BLOCK + 77, 'old')
  const [forgedOld, forgedNew] = await forgedPair(BLOCK)
  const between = Array.from({ length: 10 }, (_, i) => [data(noise(MIB, i))])
  const source = memorySource(old)
  const records = (from?: Source) =>
    filesOf([
      [data(old, from && { source: from, offset: 0 })],
      [data(forgedOld)],
      ...between,
      [data(forgedNew)],
      [data(old)],
    ])

  const without = await deduped(records())
  t.ok(sameContents(without.out, records()))
  t.equal(without.summary.duplicateBytes, 0, 'without proof data stays data')

  const reread = await deduped(records(source))
  t.ok(sameContents(reread.out, records()))
  t.equal(reread.summary.duplicateBytes, old.byteLength)
  t.ok(source.reads > 0)

  source.changed = true
  const changed = await deduped(records(source))
  t.ok(sameContents(changed.out, records()))
  t.equal(changed.summary.duplicateBytes, 0, 'a source that changed proves nothing')

  let kept = Buffer.alloc(0)
  const spool: Spool = {
    write(bytes) {
      kept = Buffer.concat([kept, bytes])
    },
    read: async (offset, into) => void into.set(kept.subarray(offset, offset + into.byteLength)),
  }
  const spooled = await deduped(records(), { spool })
  t.ok(sameContents(spooled.out, records()))
  t.equal(spooled.summary.duplicateBytes, old.byteLength)
})

t.test('what shares storage with a duplicate is a duplicate too, and shares none with the first', async t => {
  const [first, other] = [noise(4 * BLOCK, 1), noise(4 * BLOCK, 2)]
  const shared = (address: number): ArchiveRecord => ({
    kind: 'reference',
    address,
    length: first.byteLength,
    origin: 'shared',
  })
  const records = filesOf([
    [data(first)],
    [data(other)],
    [data(first)],
    [shared(8 * BLOCK)],
    [shared(4 * BLOCK)],
  ])
  const { out } = await deduped(records)
  t.same(contentsOf(out), [first, other, first, first, other])
  t.same(
    references(out).map(({ address, origin }) => [address / BLOCK, origin]),
    [
      [0, 'dedup'],
      [0, 'dedup'],
      [4, 'shared'],
    ],
  )
})

t.test('an error of a source that does not mean a change ends the stream', async t => {
  const old = noise(20 * BLOCK, 'old')
  const source: Source = {
    read() {
      throw new RangeError('broken')
    },
  }
  const records = filesOf([
    [data(old, { source, offset: 0 })],
    ...Array.from({ length: 10 }, (_, i) => [data(noise(MIB, i))]),
    [data(old)],
  ])
  await t.rejects(deduped(records), { message: 'broken' })
})

t.test('without content, data passes with its CRC32', async t => {
  const bytes = noise(4 * BLOCK)
  const { out, summary } = await deduped(filesOf([[data(bytes)], [data(bytes)]]), { content: false })
  t.same(references(out), [])
  t.equal(summary.duplicateBytes, 0)
  const [first] = out.filter(record => record.kind === 'data')
  t.same(
    [...(first?.crcs ?? [])],
    [0, 1, 2, 3].map(i => crc32(bytes.subarray(i * BLOCK, (i + 1) * BLOCK))),
  )
})

const block = fc
  .integer({ min: 0, max: 5 })
  .map(seed => (seed === 0 ? Buffer.alloc(BLOCK) : noise(BLOCK, seed)))
const dataOf = (bytes: Buffer, isShared: boolean): Data => ({ ...data(bytes), mayBeShared: isShared })
/** Blocks that recur, then perhaps a part of one, in pieces; then holes and references to what came before. */
const file = fc.record({
  blocks: fc.array(block, { maxLength: 12 }),
  tail: fc.integer({ min: 0, max: BLOCK - 1 }),
  cuts: fc.array(fc.integer({ min: 1, max: 12 * BLOCK }), { maxLength: 3 }),
  hole: fc.boolean(),
  isShared: fc.boolean(),
  reference: fc.option(
    fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })),
  ),
})

function recordsOf(
  files: readonly (typeof file extends fc.Arbitrary<infer T> ? T : never)[],
): ArchiveRecord[] {
  let space = 0
  return filesOf(
    files.map(({ blocks, tail, cuts, hole, isShared, reference }) => {
      const extents: ArchiveRecord[] = []
      const before = space
      const bytes = Buffer.concat([...blocks, noise(tail, 'tail').subarray(0, tail)])
      const at = [0, ...cuts.filter(cut => cut < bytes.byteLength).sort((a, b) => a - b), bytes.byteLength]
      at.slice(1).forEach((end, i) => {
        const part = bytes.subarray(at[i], end)
        if (part.byteLength > 0) extents.push(dataOf(part, isShared))
      })
      space += bytes.byteLength
      if (hole) extents.push({ kind: 'hole', length: 1000, preallocated: false })
      if (reference && before > 0) {
        const address = Math.floor(reference[0] * (before - 1))
        const length = 1 + Math.floor(reference[1] * (before - address - 1))
        extents.push({ kind: 'reference', address, length, origin: 'shared' })
      }
      return extents
    }),
  )
}

/** Leaves every third file out, as someone else's stage might: data of it that is referred to later comes there. */
async function* withoutSome(source: AsyncIterable<ArchiveRecord>): AsyncGenerator<ArchiveRecord> {
  const space = new DataSpace<number | Uint8Array>()
  let size = 0
  let ordinal = 0
  let count = 0
  let isLeftOut = false
  for await (const record of source) {
    if (record.kind === 'entry') isLeftOut = count++ % 3 === 1
    if (record.kind === 'data') space.append(0, record.bytes.byteLength, isLeftOut ? record.bytes : size)
    if (isLeftOut) continue
    if (record.kind === 'entry') yield { ...record, ordinal: ++ordinal }
    else if (record.kind !== 'reference') {
      if (record.kind === 'data') size += record.bytes.byteLength
      yield record
    } else {
      for (const { place, skip, length } of space.resolve(record.address, record.length)) {
        if (typeof place === 'number') {
          yield { ...record, address: place + skip, length }
        } else {
          size += length
          yield data(place.subarray(skip, skip + length))
        }
      }
    }
  }
}

t.test('stages in any order give the same files', async t => {
  const split = () => blockSplitter({ blockSize: BLOCK })
  const dedup = (options: CrcDedupOptions = {}) => crcDedup({ blockSize: BLOCK, ...options })
  const compositions: Record<string, () => unknown[]> = {
    none: () => [],
    'split, dedup': () => [split(), dedup()],
    'split, dedup with few hints': () => [split(), dedup({ memory: 14 * 4 })],
    'split, sums, dedup': () => [split(), dedup({ content: false }), dedup()],
    twice: () => [split(), dedup(), dedup()],
    'dedup, archive': () => [split(), dedup(), extentEncoder({ blockSize: BLOCK }), extentDecoder()],
    'without some, dedup': () => [withoutSome, split(), dedup()],
    'dedup, without some, dedup': () => [split(), dedup(), withoutSome, split(), dedup()],
    'archive, dedup, archive': () => [
      split(),
      extentEncoder({ blockSize: BLOCK }),
      extentDecoder(),
      split(),
      dedup(),
      extentEncoder({ blockSize: BLOCK }),
      extentDecoder(),
    ],
  }
  for (const [name, stages] of Object.entries(compositions)) {
    await fc.assert(
      fc.asyncProperty(fc.array(file, { maxLength: 6 }), async files => {
        const records = recordsOf(files)
        const expected = name.includes('without') ? await collect(records, withoutSome) : records
        return sameContents(await collect(records, ...stages()), expected)
      }),
      { numRuns: 40 },
    )
    t.pass(name)
  }
})
