import t from 'tap'
import { checksums } from '../../fixtures/recipes/checksums.js'
import { decode } from '../../fixtures/recipes/decode.js'
import { encode, encodeSplit } from '../../fixtures/recipes/encode.js'
import { joined } from '../../fixtures/recipes/json.js'
import { text } from '../../fixtures/recipes/raw.js'
import { noise } from '../../fixtures/recipes/valid.js'
import { ArchiveEncoder, type ClosedSegment } from '../../src/format/archive-encoder.js'
import { SEGMENT_HEADER_SIZE, SEGMENT_TABLES } from '../../src/format/constants.js'
import { tablesLength } from '../../src/format/segment.js'
import type { ArchiveRecord, Entry } from '../../src/record.js'

const OPTIONS = { blockSize: 512, sorted: true, payloadDigest: true }
const file = (name: string, ordinal = 1): Entry => ({
  kind: 'entry',
  ordinal,
  parent: 0,
  name: text(name),
  type: 'file',
  linked: false,
  metadata: {},
})
const data = (bytes: Uint8Array): ArchiveRecord => ({ kind: 'data', bytes, mayBeShared: false })
const END: ArchiveRecord = { kind: 'end', state: 'whole' }

t.test('records that no reader would take are refused', t => {
  const refused = (code: string, ...records: ArchiveRecord[]) =>
    t.throws(
      () => encodeSplit(OPTIONS, [file('a'), data(noise(512)), ...records, END]),
      { code },
      JSON.stringify(records),
    )
  for (const length of [0, -1, 0.5, Number.NaN, 2 ** 53]) {
    refused('INVALID_ARGUMENT', { kind: 'hole', length, preallocated: false })
    refused('INVALID_ARGUMENT', { kind: 'missing', length, errno: 5 })
    refused('INVALID_ARGUMENT', { kind: 'reference', address: 0, length, origin: 'shared' })
  }
  for (const errno of [0, -5, 4096, 1.5]) refused('INVALID_ARGUMENT', { kind: 'missing', length: 1, errno })
  for (const address of [-1, 0.5, 1, Number.NaN, 512]) {
    refused('DANGLING_REFERENCE', { kind: 'reference', address, length: 512, origin: 'shared' })
  }
  refused('INVALID_ARGUMENT', data(new Uint8Array(0)))
  refused('INVALID_ARGUMENT', data(noise(513)))
  refused('BAD_STRUCTURE', data(noise(100)), data(noise(100)))
  refused('BAD_STRUCTURE', file('b', 2))
  refused('INVALID_ARGUMENT', { kind: 'end', state: 'lost' })
  refused('BAD_STRUCTURE', END, data(noise(512)))
  refused('BAD_STRUCTURE', END, { kind: 'hole', length: 1, preallocated: false })
  t.throws(() => encodeSplit(OPTIONS, [file('a')]), { code: 'BAD_STRUCTURE' })
  t.throws(() => encodeSplit(OPTIONS, [file('..')]), { code: 'UNSAFE_NAME' })
  t.throws(
    () =>
      encodeSplit(OPTIONS, [
        { ...file('a'), linked: true },
        END,
        { ...file('b', 2), type: 'hardlink', metadata: { linkTo: 1, mode: 0 } },
      ]),
    { code: 'INVALID_ARGUMENT' },
  )
  t.end()
})

t.test('blocks fill a segment to 4 MiB, and how they came does not show', async t => {
  const bytes = noise(9 * 1024 * 1024 + 100, 5)
  const inPieces = (size: number) =>
    Array.from({ length: Math.ceil(bytes.byteLength / size) }, (_, i) =>
      data(bytes.subarray(i * size, (i + 1) * size)),
    )
  for (const blockSize of [512, 4096, 65536]) {
    const options = { ...OPTIONS, blockSize }
    const records = [file('a'), data(noise(100)), END, file('b', 2), data(bytes), END]
    const whole = await encode(options, records)
    for (const size of [1000, 65536, 1024 * 1024]) {
      const cut = [...records.slice(0, 4), ...inPieces(size), END]
      t.ok(
        Buffer.compare(await encode(options, cut), whole) === 0,
        `blocks of ${blockSize}, pieces of ${size}`,
      )
    }
    const decoded = decode([whole])
    t.same(joined(decoded).length, 6)
    t.ok(decoded.every(record => record.kind !== 'data' || record.bytes.byteLength <= 4 * 1024 * 1024))
  }
})

t.test('tables fill a segment to its last byte, whichever row comes then', t => {
  /** Holes of which no two are one row, of 12 bytes each. */
  const holes = (count: number) =>
    Array.from({ length: count }, (_, i): ArchiveRecord => {
      return { kind: 'hole', length: 1, preallocated: i % 2 === 0 }
    })
  const next: Record<string, readonly [ArchiveRecord, number]> = {
    'an end': [END, 4],
    'a hole': [{ kind: 'hole', length: 2, preallocated: false }, 12],
    'a reference': [{ kind: 'reference', address: 0, length: 1, origin: 'dedup' }, 20],
    data: [data(noise(1)), 8 + 4],
  }
  for (const [what, [record, size]] of Object.entries(next)) {
    // So many bytes are free when it comes: too few, or just enough.
    for (const free of [size - 1, size]) {
      const first = [file('a'), data(noise(1)), END]
      const before = 18 + 1 + 8 + 4 + 4
      const name = 'b'.repeat(1 + ((SEGMENT_TABLES - before - free - 18 - 1) % 12))
      const count = (SEGMENT_TABLES - before - free - 18 - name.length) / 12
      const rest = record.kind === 'end' ? [] : [END]
      const records = [...first, file(name, 2), ...holes(count), record, ...rest]
      const encoder = new ArchiveEncoder(OPTIONS, checksums)
      const segments: ClosedSegment[] = []
      for (const each of records) segments.push(...encoder.add(each))
      segments.push(...encoder.finish())
      const { position, layout, payloadLength } = segments.at(-1) as ClosedSegment
      const head = SEGMENT_HEADER_SIZE + tablesLength(layout)
      t.equal(encoder.offset, position.offset + head + payloadLength, 'where the trailer goes')
      const lengths = segments.map(({ names, rows, crcs }) => names.length + rows.length + crcs.length * 4)
      const isLast = free === size && rest.length === 0
      t.equal(lengths[0], SEGMENT_TABLES - free + (free === size ? size : 0), `${what}, ${free} bytes free`)
      t.equal(lengths.length, isLast ? 1 : 2)
      t.same(joined(decode([encodeSplit(OPTIONS, records)])), joined(records), what)
    }
  }
  t.end()
})

t.test('deep below directories too, it does not show how records were cut', async t => {
  const depth = 65535
  const directories: ArchiveRecord[] = Array.from({ length: depth }, (_, i) => ({
    ...file('d', i + 1),
    parent: i,
    type: 'directory',
  }))
  const leaf = { ...file('f', depth + 1), parent: depth }
  const hole = (length: number): ArchiveRecord => ({ kind: 'hole', length, preallocated: false })
  const bytes = noise(64 * 1024, 2)
  const whole = await encode(OPTIONS, [...directories, leaf, data(bytes), hole(200), END])
  const cut = [data(bytes.subarray(0, 10_000)), data(bytes.subarray(10_000)), hole(100), hole(100)]
  t.ok(Buffer.compare(await encode(OPTIONS, [...directories, leaf, ...cut, END]), whole) === 0)
  t.equal(decode([whole]).length, depth + 4)
})
