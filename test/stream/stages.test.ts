// Each exported stage alone, and in other orders than those of create and extract.
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { joined } from '../../fixtures/recipes/json.js'
import {
  type ArchiveRecord,
  blockSplitter,
  crcDedup,
  DataSpace,
  extentDecoder,
  extentEncoder,
  lengthOf,
  reflinkWriter,
  sliceData,
  treeSource,
} from '../../src/index.js'
import { compareTrees } from '../support/compare-trees.js'
import { data, END, fileEntry, pieces, through } from '../support/records.js'
import { failure, KIB, MIB, noise, replay, run, sourceAndTarget } from '../support/trees.js'

process.umask(0o022)

/** Files with every kind of extent. */
function files(unit: number): readonly ArchiveRecord[] {
  return [
    fileEntry('a', 1),
    data(noise(5 * unit + 100, 'a'), true),
    { kind: 'hole', length: 4 * KIB - 100, preallocated: false },
    data(noise(10 * KIB, 'after the hole')),
    END,
    fileEntry('b', 2),
    { kind: 'reference', address: unit, length: 2 * unit, origin: 'shared' },
    { kind: 'missing', length: 4096, errno: 5 },
    { kind: 'reference', address: 5 * unit - 50, length: 150, origin: 'dedup' },
    END,
    fileEntry('c', 3),
    { kind: 'end', state: 'changed' },
    fileEntry('d', 4),
    data(noise(4 * unit, 'd')),
    END,
  ]
}

/** Several segments. */
const LARGE = files(MIB)

async function archiveOf(records: Iterable<ArchiveRecord>): Promise<Buffer> {
  return Buffer.concat(await through(await through(records, blockSplitter()), extentEncoder()))
}

/** The same with all data cut into pieces of one length. */
function* cut(records: Iterable<ArchiveRecord>, length: number): Generator<ArchiveRecord> {
  for (const record of records) {
    if (record.kind !== 'data') yield record
    else for (let at = 0; at < lengthOf(record); at += length) yield sliceData(record, at, at + length)
  }
}

t.test('treeSource gives the records of a tree', async t => {
  const directory = t.testdir({
    tree: { a: 'content of a', d: { b: '' }, e: {}, l: t.fixture('symlink', 'a') },
  })
  fs.writeFileSync(join(directory, 'tree/d/c'), noise(300 * KIB))
  const source = treeSource(['tree'], { directory })
  const records: ArchiveRecord[] = []
  for await (const record of source) records.push(record)
  const entries = records.filter(record => record.kind === 'entry')
  t.same(
    entries.map(({ ordinal, parent, name, type }) => `${ordinal} in ${parent}: ${type} ${Buffer.from(name)}`),
    [
      '1 in 0: directory tree',
      '2 in 1: file a',
      '3 in 1: directory d',
      '4 in 3: file b',
      '5 in 3: file c',
      '6 in 1: directory e',
      '7 in 1: symlink l',
    ],
  )
  t.same(
    joined(records).flatMap(record => (record.kind === 'entry' ? [] : `${record.kind} ${lengthOf(record)}`)),
    ['data 12', 'end 0', 'end 0', `data ${300 * KIB}`, 'end 0'],
  )
  t.same(replay(records).get('c'), { bytes: noise(300 * KIB), state: 'whole' })
  t.match(source.summary, { entries: 7, files: 3, logicalBytes: 300 * KIB + 12, bytesRead: 300 * KIB + 12 })
})

t.test('extentEncoder and extentDecoder are each other backwards, whatever the size of a chunk', async t => {
  for (const [size, records] of [
    [1, files(4 * KIB)],
    [4095, LARGE],
    [MIB, LARGE],
  ] as const) {
    const archive = await archiveOf(records)
    const withCrcs = await through(await through(cut(records, 77_777), blockSplitter()), crcDedup())
    const encoder = extentEncoder()
    const again = Buffer.concat(await through(withCrcs, encoder))
    t.ok(again.equals(archive), 'neither cuts nor CRCs show')
    t.match(encoder.summary, { archiveBytes: archive.byteLength, entries: 4 })
    const decoder = extentDecoder()
    const decoded = await through(pieces(archive, size), decoder)
    t.ok(isDeepStrictEqual(joined(decoded), joined(records)), `${size} at a time`)
    t.same(decoder.summary, { ...encoder.summary, losses: 0 })
  }
})

t.test(
  'extentDecoder gives the records of good segments before it tells that the archive is cut',
  async t => {
    const archive = await archiveOf(LARGE)
    const decoder = extentDecoder()
    const records: ArchiveRecord[] = []
    decoder.on('data', record => records.push(record as unknown as ArchiveRecord))
    const work = run(Readable.from(pieces(archive.subarray(0, -MIB), 100_000)), decoder)
    t.equal((await failure(work)).code, 'TRUNCATED')
    const expected = joined(LARGE)
    const found = joined(records)
    t.ok(found.length > 1 && found.length < expected.length, `${found.length} of ${expected.length} records`)
    t.ok(isDeepStrictEqual(found.slice(0, -1), expected.slice(0, found.length - 1)))
  },
)

t.test('extentEncoder tells what no archive can hold', async t => {
  const cases: [string, ArchiveRecord[]][] = [
    ['INVALID_ARGUMENT', [fileEntry('a', 1), data(noise(4097)), END]],
    ['BAD_STRUCTURE', [fileEntry('a', 2)]],
    ['BAD_STRUCTURE', [fileEntry('b', 1), END, fileEntry('a', 2), END]],
    ['BAD_STRUCTURE', [fileEntry('a', 1)]],
    ['UNSAFE_NAME', [fileEntry('..', 1)]],
    [
      'DANGLING_REFERENCE',
      [fileEntry('a', 1), { kind: 'reference', address: 0, length: 1, origin: 'shared' }],
    ],
  ]
  for (const [code, records] of cases) {
    t.equal((await failure(through(records, extentEncoder()))).code, code)
  }
  const unsorted = [fileEntry('b', 1), END, fileEntry('a', 2), END]
  t.ok((await through(unsorted, extentEncoder({ sorted: false }))).length > 0)
})

t.test('reflinkWriter writes records from anywhere', async t => {
  const target = t.testdir({})
  const writer = reflinkWriter(target)
  await run(Readable.from(LARGE), writer)
  const expected = replay(LARGE)
  t.same(fs.readdirSync(target).sort(), [...expected.keys()])
  for (const [name, { bytes }] of expected) t.ok(fs.readFileSync(join(target, name)).equals(bytes), name)
  t.match(writer.summary, { entries: 4, files: 4, missingBytes: 4096, problems: 2 })
})

t.test('a tree goes from treeSource to reflinkWriter, with any of the other stages between them', async t => {
  const betweens: Record<string, () => unknown[]> = {
    nothing: () => [],
    'blocks of another size': () => [blockSplitter({ blockSize: 512 })],
    'two block sizes': () => [blockSplitter({ blockSize: 65536 }), blockSplitter({ blockSize: 512 })],
    'CRCs only': () => [blockSplitter(), crcDedup(), blockSplitter({ blockSize: 1024 })],
    'an archive in an archive pipeline': () => [
      blockSplitter(),
      extentEncoder(),
      extentDecoder(),
      blockSplitter({ blockSize: 8192 }),
      crcDedup({ blockSize: 8192 }),
      extentEncoder({ blockSize: 8192 }),
      extentDecoder(),
    ],
  }
  for (const [what, between] of Object.entries(betweens)) {
    const { source, target } = sourceAndTarget(t.testdir({}))
    fs.mkdirSync(join(source, 'd'))
    fs.writeFileSync(join(source, 'd/a'), noise(MIB + 77, 'a'))
    fs.writeFileSync(join(source, 'z'), 'small')
    await run(treeSource(['.'], { directory: source }), ...between(), reflinkWriter(target))
    t.same(compareTrees(source, target), [], what)
  }
})

t.test('a stage of somebody else drops data, and keeps references right by a DataSpace', async t => {
  /** Without its first file; whatever refers to that is given up. */
  async function* withoutFirst(records: AsyncIterable<ArchiveRecord>): AsyncGenerator<ArchiveRecord> {
    const space = new DataSpace<number | undefined>()
    let address = 0
    let ordinal = 0
    for await (const record of records) {
      if (record.kind === 'entry') ordinal = record.ordinal
      const isKept = ordinal > 1
      if (record.kind === 'data') {
        space.append(0, lengthOf(record), isKept ? address : undefined)
        if (isKept) address += lengthOf(record)
      }
      if (!isKept) continue
      if (record.kind === 'entry') yield { ...record, ordinal: ordinal - 1 }
      else if (record.kind !== 'reference') yield record
      else
        for (const { place, skip, length } of space.resolve(record.address, record.length)) {
          if (place !== undefined) yield { ...record, address: place + skip, length }
        }
    }
  }
  const records: ArchiveRecord[] = [
    fileEntry('a', 1),
    data(noise(1000, 'a')),
    END,
    fileEntry('b', 2),
    data(noise(5000, 'b')),
    END,
    fileEntry('c', 3),
    { kind: 'reference', address: 900, length: 4100, origin: 'shared' },
    END,
  ]
  const decoder = extentDecoder()
  const found: ArchiveRecord[] = []
  decoder.on('data', record => found.push(record as unknown as ArchiveRecord))
  await run(Readable.from(records), withoutFirst, blockSplitter(), extentEncoder(), decoder)
  const files = replay(found)
  t.same([...files.keys()], ['b', 'c'])
  t.ok(files.get('c')?.bytes.equals(noise(5000, 'b').subarray(0, 4000)))
})
