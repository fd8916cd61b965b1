import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { decode } from '../../fixtures/recipes/decode.js'
import { encode, encodeSplit } from '../../fixtures/recipes/encode.js'
import { joined } from '../../fixtures/recipes/json.js'
import { reseal, text } from '../../fixtures/recipes/raw.js'
import { noise, validRecipes } from '../../fixtures/recipes/valid.js'
import { ReftarError } from '../../src/errors.js'
import type { ArchiveRecord, Entry } from '../../src/record.js'

/** SLOW=10 makes ten times as many. */
const { SLOW = '1' } = process.env
const RUNS = 100 * Number(SLOW)
const OPTIONS = { blockSize: 512, sorted: true, payloadDigest: true }

const length = fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.constantFrom(1, 511, 512, 513, 1024, 1536))
const part = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true })
const extent = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('data' as const), length, flag: fc.boolean() }) },
  fc.record({ kind: fc.constant('hole' as const), length, flag: fc.boolean() }),
  fc.record({ kind: fc.constant('missing' as const), length, errno: fc.integer({ min: 1, max: 4095 }) }),
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('reference' as const),
      from: part,
      share: part,
      flag: fc.boolean(),
    }),
  },
)
const files = fc.array(fc.record({ extents: fc.array(extent, { maxLength: 8 }), changed: fc.boolean() }), {
  maxLength: 6,
})
type Files = typeof files extends fc.Arbitrary<infer T> ? T : never

/** A valid stream of records: references point at a random part of the data so far. */
function build(list: Files): ArchiveRecord[] {
  const records: ArchiveRecord[] = []
  let address = 0
  for (const [i, { extents, changed }] of list.entries()) {
    const name = text(String.fromCharCode(97 + i))
    const entry: Entry = {
      kind: 'entry',
      ordinal: i + 1,
      parent: 0,
      name,
      type: 'file',
      linked: false,
      metadata: {},
    }
    records.push(entry)
    for (const one of extents) {
      if (one.kind === 'data') {
        records.push({ kind: 'data', bytes: noise(one.length, address + 1), mayBeShared: one.flag })
        address += one.length
      } else if (one.kind === 'hole') {
        records.push({ kind: 'hole', length: one.length, preallocated: one.flag })
      } else if (one.kind === 'missing') {
        records.push({ kind: 'missing', length: one.length, errno: one.errno })
      } else if (address > 0) {
        const from = Math.floor(one.from * address)
        const length = 1 + Math.floor(one.share * (address - from))
        records.push({ kind: 'reference', address: from, length, origin: one.flag ? 'dedup' : 'shared' })
      }
    }
    records.push({ kind: 'end', state: changed ? 'changed' : 'whole' })
  }
  return records
}

/** The same stream with every extent cut at some of its bytes. */
function cut(records: readonly ArchiveRecord[], sizes: readonly number[]): ArchiveRecord[] {
  let next = 0
  const out: ArchiveRecord[] = []
  for (const record of records) {
    if (record.kind === 'entry' || record.kind === 'end') {
      out.push(record)
      continue
    }
    const total = record.kind === 'data' ? record.bytes.byteLength : record.length
    for (let at = 0; at < total; ) {
      const end = Math.min(total, at + (sizes[next++ % sizes.length] ?? total))
      if (record.kind === 'data') out.push({ ...record, bytes: record.bytes.subarray(at, end) })
      else if (record.kind === 'reference')
        out.push({ ...record, address: record.address + at, length: end - at })
      else out.push({ ...record, length: end - at })
      at = end
    }
  }
  return out
}

t.test('what was encoded decodes to the same, and how it was cut does not show', async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 1500 }), { minLength: 1, maxLength: 10 })
  await fc.assert(
    fc.asyncProperty(files, sizes, sizes, async (list, recordSizes, byteSizes) => {
      const records = build(list)
      const archive = await encode(OPTIONS, records)
      const recut = await encode(OPTIONS, cut(records, recordSizes))
      if (Buffer.compare(archive, recut) !== 0) throw new Error('the cut shows')
      const pieces: Uint8Array[] = []
      for (let at = 0, i = 0; at < archive.byteLength; i++) {
        const size = byteSizes[i % byteSizes.length] ?? 1
        pieces.push(archive.slice(at, at + size))
        at += size
      }
      const decoded = decode(pieces)
      if (!isDeepStrictEqual(joined(decoded), joined(records))) throw new Error('decoded to something else')
      if (Buffer.compare(encodeSplit(OPTIONS, decoded), archive) !== 0)
        throw new Error('encodes to other bytes')
    }),
    { numRuns: RUNS },
  )
})

/** Small archives of every kind, which are then damaged. */
const seeds = new Map<string, { archive: Uint8Array; options: typeof OPTIONS }>()

const damage = fc.array(
  fc.record({
    kind: fc.constantFrom(
      'set' as const,
      'flip' as const,
      'delete' as const,
      'insert' as const,
      'copy' as const,
    ),
    at: part,
    from: part,
    value: fc.nat(255),
    length: fc.integer({ min: 1, max: 16 }),
  }),
  { minLength: 1, maxLength: 4 },
)
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never

/** Of the first segment. */
function rowsLength(archive: Uint8Array): number {
  return Buffer.from(archive).readUInt32LE(512 + 64)
}

/** Damages one part of the archive more than the empty rest of its header. */
function damaged(archive: Uint8Array, list: Damage): Uint8Array {
  let bytes = Buffer.from(archive)
  for (const { kind, at, from, value, length } of list) {
    const skipped = at < 0.05 ? 0 : 512
    const place = skipped + Math.floor(at * Math.max(1, bytes.length - skipped))
    const source = Math.floor(from * bytes.length)
    if (kind === 'set') bytes[place] = value
    else if (kind === 'flip') bytes[place] = (bytes[place] ?? 0) ^ (1 << (value & 7))
    else if (kind === 'copy') bytes.copy(bytes, place, source, source + length)
    else if (kind === 'delete')
      bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + length)])
    else
      bytes = Buffer.concat([
        bytes.subarray(0, place),
        bytes.subarray(source, source + length),
        bytes.subarray(place),
      ])
  }
  return new Uint8Array(bytes)
}

t.test(
  'damage gives a ReftarError or, where all checksums were made right again, a canonical archive',
  async t => {
    for (const { name, options, records, raw } of validRecipes()) {
      if (!raw && options.blockSize === 512 && !name.startsWith('tables')) {
        seeds.set(name, { archive: await encode(options, records), options })
      }
    }
    let accepted = 0
    fc.assert(
      fc.property(
        fc.constantFrom(...seeds.values()),
        damage,
        fc.boolean(),
        ({ archive, options }, list, sealed) => {
          const bytes = sealed ? reseal(damaged(archive, list)) : damaged(archive, list)
          let records: ArchiveRecord[]
          try {
            records = decode([bytes.slice()])
          } catch (error) {
            if (error instanceof ReftarError && error.code !== 'INVALID_ARGUMENT') return
            throw error
          }
          if (!sealed && Buffer.compare(bytes, archive) !== 0) throw new Error('damage was not noticed')
          accepted++
          const flags = { ...options, sorted: bytes[20] === 1, payloadDigest: bytes[12] === 0 }
          const again = encodeSplit(flags, records)
          if (Buffer.compare(again, bytes) === 0) return
          // Damage can turn a critical field into an ignorable one, which is lost: then there is less in the rows.
          if (rowsLength(again) >= rowsLength(bytes))
            throw new Error('accepted a second way to write the same')
        },
      ),
      { numRuns: RUNS * 50 },
    )
    t.ok(accepted > 0, `${accepted} damaged archives were good ones`)
  },
)
