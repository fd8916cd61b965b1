import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { checksums } from '../../fixtures/recipes/checksums.js'
import { decode } from '../../fixtures/recipes/decode.js'
import { encode } from '../../fixtures/recipes/encode.js'
import { text } from '../../fixtures/recipes/raw.js'
import { noise } from '../../fixtures/recipes/valid.js'
import { ReftarError } from '../../src/errors.js'
import { FS_COMPR_FL, FS_NOCOW_FL } from '../../src/format/inode-flags.js'
import { type RangeReader, readNeeds, readTotals } from '../../src/format/storage-needs.js'
import type { ArchiveRecord, Metadata } from '../../src/record.js'

const OPTIONS = { blockSize: 4096, sorted: true, payloadDigest: true }
const FIXTURES = new URL('../../fixtures/', import.meta.url)
const MIB = 1024 * 1024

/** What comes of it, and how many bytes it asked for. */
function drive<T>(ranges: RangeReader<T>, archive: Uint8Array): { result: T; asked: number } {
  let asked = 0
  for (let step = ranges.next(); ; ) {
    if (step.done) return { result: step.value, asked }
    const { offset, length } = step.value
    asked += length
    step = ranges.next(archive.subarray(offset, offset + length))
  }
}

function* file(ordinal: number, metadata: Metadata, ...extents: ArchiveRecord[]): Iterable<ArchiveRecord> {
  const name = text(String(ordinal).padStart(6, '0'))
  yield { kind: 'entry', ordinal, parent: 0, name, type: 'file', linked: false, metadata }
  yield* extents
  yield { kind: 'end', state: 'whole' }
}

const PLAIN: Metadata = { flags: 0, xattrs: [] }
const data = (length: number): ArchiveRecord => ({ kind: 'data', bytes: noise(length), mayBeShared: true })
const hole = (length: number, preallocated = false): ArchiveRecord => ({ kind: 'hole', length, preallocated })

t.test('what large files have, and of large archives not much is read', async t => {
  const shared: ArchiveRecord = { kind: 'reference', address: 0, length: 5 * MIB, origin: 'shared' }
  const archive = await encode(OPTIONS, [
    ...file(1, PLAIN, data(9 * MIB + 100)),
    ...file(2, PLAIN, shared, hole(MIB), data(8192), hole(2 * MIB, true)),
    ...file(3, PLAIN, { ...shared, length: 4096, origin: 'dedup' }, hole(MIB)),
    ...file(4, PLAIN, { ...shared, length: 8192, origin: 'dedup' }, { kind: 'missing', length: 9, errno: 5 }),
    ...file(5, PLAIN, data(4096)),
    ...file(6, PLAIN, data(4097)),
  ])
  const { result, asked } = drive(readNeeds(archive.byteLength, checksums), archive)
  t.match(result, {
    bytes: {
      dataBytes: 9 * MIB + 100 + 8192 + 2 * MIB + 4097,
      sharedBytes: 5 * MIB,
      duplicateBytes: 8192,
      holeBytes: MIB,
      missingBytes: 9,
    },
    mayCompress: false,
  })
  t.ok(asked < archive.byteLength / 50, `${asked} of ${archive.byteLength} bytes`)
  const totals = drive(readTotals(archive.byteLength, checksums), archive)
  t.match(totals.result, { entries: 6, dataBytes: 9 * MIB + 100 + 8192 + 4096 + 4097 })
  t.equal(totals.asked, 112)
})

t.test('tables of any length', async t => {
  const records = Array.from({ length: 9000 }, (_, i) => [
    ...file(i + 1, PLAIN, hole(100), data(5000)),
  ]).flat()
  const archive = await encode(OPTIONS, records)
  const { bytes } = drive(readNeeds(archive.byteLength, checksums), archive).result
  t.match(bytes, { dataBytes: 9000 * 5000, holeBytes: 9000 * 100 })
})

t.test('what may be stored compressed', async t => {
  const xattrs = (name: string) => [{ name: text(name), value: text('zstd') }]
  const cases: readonly [metadata: Metadata, mayCompress: boolean][] = [
    [PLAIN, false],
    [{ flags: FS_NOCOW_FL, xattrs: xattrs('user.any') }, false],
    [{ flags: FS_COMPR_FL, xattrs: [] }, true],
    [{ flags: 0, xattrs: xattrs('btrfs.compression') }, true],
    [{ xattrs: [] }, true],
    [{ flags: 0 }, true],
  ]
  for (const [metadata, mayCompress] of cases) {
    const directory: ArchiveRecord = {
      kind: 'entry',
      ordinal: 1,
      parent: 0,
      name: text('0'),
      type: 'directory',
      linked: false,
      metadata: {},
    }
    const archive = await encode(OPTIONS, [directory, ...file(2, metadata), ...file(3, PLAIN)])
    t.equal(drive(readNeeds(archive.byteLength, checksums), archive).result.mayCompress, mayCompress)
  }
})

t.test('every vector', async t => {
  for (const name of readdirSync(new URL('valid', FIXTURES)).filter(name => name.endsWith('.reftar'))) {
    const archive = readFileSync(new URL(`valid/${name}`, FIXTURES))
    const totals = drive(readTotals(archive.byteLength, checksums), archive).result
    const { bytes } = drive(readNeeds(archive.byteLength, checksums), archive).result
    const records = decode([archive])
    t.equal(totals.entries, records.filter(({ kind }) => kind === 'entry').length, name)
    t.ok(bytes.logicalBytes <= totals.logicalBytes, name)
  }
  for (const name of readdirSync(new URL('invalid', FIXTURES)).filter(name => name.endsWith('.reftar'))) {
    const archive = readFileSync(new URL(`invalid/${name}`, FIXTURES))
    for (const read of [readTotals, readNeeds]) {
      try {
        drive<unknown>(read(archive.byteLength, checksums), archive)
      } catch (error) {
        if (!(error instanceof ReftarError) || error.offset === undefined) throw error
      }
      t.pass(`${name}: it ends`)
    }
  }
})
