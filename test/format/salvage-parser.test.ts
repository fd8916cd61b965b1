import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { FIXTURES } from '../../fixtures/generate.js'
import { checksums } from '../../fixtures/recipes/checksums.js'
import { byteByByte, decode } from '../../fixtures/recipes/decode.js'
import { joined, jsonRecord } from '../../fixtures/recipes/json.js'
import {
  data,
  end,
  entry,
  flip,
  hole,
  missing,
  putU64,
  type RawArchive,
  type RawRow,
  rawArchive,
  reference,
  TAG,
  TYPE,
} from '../../fixtures/recipes/raw.js'
import { noise } from '../../fixtures/recipes/valid.js'
import type { Checksums } from '../../src/format/checksums.js'
import type { Limits } from '../../src/format/limits.js'
import { SalvageParser } from '../../src/format/salvage-parser.js'
import type { ArchiveRecord } from '../../src/record.js'
import { u64 } from '../support/hostile.js'

interface Salvaged {
  readonly records: readonly ArchiveRecord[]
  readonly losses: readonly string[]
}

function salvage(
  pieces: Iterable<Uint8Array>,
  limits: Partial<Limits> = {},
  using: Checksums = checksums,
): Salvaged {
  const losses: string[] = []
  const parser = new SalvageParser(using, limits, message => losses.push(message))
  const records: ArchiveRecord[] = []
  for (const piece of pieces) for (const some of parser.push(piece)) records.push(...some)
  for (const some of parser.end()) records.push(...some)
  return { records, losses }
}

/** Of an archive as a whole, and byte by byte. */
function salvaged(archive: RawArchive): Salvaged {
  const bytes = rawArchive(archive)
  const found = salvage([bytes])
  if (!isDeepStrictEqual(salvage(byteByByte(bytes)), found))
    throw new Error('how it is cut makes a difference')
  return found
}

/** What records say, in short: names, lengths and states. */
function brief(records: readonly ArchiveRecord[]): string {
  const words = records.map(record => {
    if (record.kind === 'entry') return Buffer.from(record.name).toString('latin1')
    if (record.kind === 'end') return record.state
    return `${record.kind}:${record.kind === 'data' ? record.bytes.byteLength : record.length}`
  })
  return words.join(' ')
}

const BLOCK = noise(512, 1)
const fifo = (name: string, parent = 0) => entry({ type: TYPE.fifo, name, parent })
const file = (name: string, ...extents: readonly RawRow[]) => [entry({ name, flags: 1 }), ...extents, end()]

t.test('of an archive that is whole, it makes the same records as the parser does', async t => {
  for (const name of readdirSync(join(FIXTURES, 'valid')).filter(name => name.endsWith('.reftar'))) {
    const bytes = new Uint8Array(readFileSync(join(FIXTURES, 'valid', name)))
    const wanted = JSON.stringify(joined(decode([bytes])).map(jsonRecord))
    const cuts = bytes.byteLength < 2 ** 16 ? [[bytes], byteByByte(bytes)] : [[bytes]]
    for (const pieces of cuts) {
      const { records, losses } = salvage(pieces)
      t.equal(JSON.stringify(joined(records).map(jsonRecord)), wanted, name)
      t.same(losses, [], name)
    }
  }
})

t.test('without a header, the block size is where the first segment stands', async t => {
  for (const blockSize of [512, 1024, 4096, 65536]) {
    const rows = [...file('a', data(noise(blockSize * 2, 1))), ...file('b', reference(blockSize, blockSize))]
    const bytes = rawArchive({ blockSize, segments: [{ rows }] })
    const wanted = joined(decode([bytes])).map(jsonRecord)
    for (const at of [0, 9, 40]) {
      const damaged = bytes.with(at, (bytes[at] as number) ^ 0xff)
      const { records, losses } = salvage([damaged])
      t.same(joined(records).map(jsonRecord), wanted, `${blockSize}, byte ${at}`)
      t.same(losses, [`${blockSize} bytes of the archive are damaged`])
    }
  }
})

t.test('without a header and its first segment, nothing refers to what is not known', async t => {
  const short = (name: string, seed: number) => file(name, data(noise(100, seed)))
  const clone = (name: string, address: number) => [entry({ name }), reference(address, 100), end()]
  for (const blockSize of [512, 4096, 65536]) {
    const first = { rows: [...short('a', 1), ...short('b', 2)] }
    const others = [
      { rows: [...short('c', 3), ...short('d', 4), ...clone('e', 2 * blockSize)] },
      { rows: file('f', data(noise(blockSize, 5))) },
      { rows: clone('g', 3 * blockSize) },
    ]
    const whole = rawArchive({ blockSize, segments: [first, ...others] })
    const lost = whole.slice().fill(0, 0, blockSize + 200)
    const { records, losses } = salvage([lost])
    t.same(salvage(byteByByte(lost)), { records, losses }, 'however it is cut')
    const before = 'c data:100 whole d data:100 whole e missing:100 lost'
    // What was guessed rightly is known all along, once a whole block proves it.
    const g = blockSize === 4096 ? 'reference:100 whole' : 'missing:100 lost'
    t.equal(brief(records), `${before} f data:${blockSize} whole g ${g}`, `${blockSize}`)
    t.not(losses.length, 0)

    const ahead = rawArchive({
      blockSize,
      segments: [first, { rows: file('f', data(noise(blockSize, 5))) }, ...others],
    })
    const known = salvage([ahead.fill(0, 0, blockSize + 200)]).records
    t.match(brief(known), /^f data:\d+ whole c .* e reference:100 whole/, 'a whole block comes first')
  }
})

t.test('what fails in the checksums is not taken for damage', async t => {
  const archive = rawArchive({ segments: [{ rows: file('a') }] })
  const failing = (call: number): Checksums => ({
    ...checksums,
    crc32: bytes => {
      if (--call === 0) throw new TypeError('out of order')
      return checksums.crc32(bytes)
    },
  })
  for (const [call, what] of [
    [1, 'header'],
    [2, 'segment'],
    [3, 'trailer'],
  ] as const)
    t.throws(() => salvage([archive], {}, failing(call)), { message: 'out of order' }, what)
  t.same(salvage([archive], {}, failing(4)).losses, [])
})

t.test('limits hold for what is salvaged', async t => {
  const archive = rawArchive({ segments: [{ rows: [fifo('a'), fifo('b')] }] })
  t.throws(() => salvage([archive], { entries: 1 }), { code: 'LIMIT_EXCEEDED' })
  t.equal(brief(salvage([archive], { entries: 2 }).records), 'a b')
})

t.test('a segment that goes back is passed over', async t => {
  for (const back of [{ firstOrdinal: 1 }, { firstBlock: 0 }]) {
    const { records, losses } = salvaged({
      segments: [{ rows: file('a', data(BLOCK)) }, { rows: file('b', data(BLOCK)), ...back }],
    })
    t.equal(brief(records), 'a data:512 whole')
    t.match(losses, [/^\d+ bytes of the archive are damaged$/, '1 entries are lost, and their names'])
  }
})

t.test('a file that goes on elsewhere than where it was left is lost', async t => {
  const going = (continuedSize: number) =>
    salvaged({ segments: [{ rows: [entry(), data(BLOCK)] }, { rows: [data(BLOCK), end()], continuedSize }] })
  t.equal(brief(going(512).records), 'a data:512 data:512 whole')
  t.equal(brief(going(100).records), 'a data:512 data:512 lost')
  t.equal(brief(going(0).records), 'a data:512 data:512 lost')
  t.equal(brief(going(2048).records), 'a data:512 missing:1536 data:512 lost')
})

t.test('a file whose beginning is lost has a number for a name, and what others refer to', async t => {
  const { records, losses } = salvaged({
    segments: [
      { rows: [fifo('a'), entry({ name: 'b' }), data(BLOCK)], sealed: flip(20) },
      { rows: [data(noise(512, 2)), end(), ...file('c', reference(512, 512), reference(0, 512))] },
    ],
  })
  t.equal(brief(records), '#2 missing:512 data:512 lost c reference:512 missing:512 lost')
  t.match(losses, [/damaged$/, '1 entries are lost, and their names'])
})

t.test('what makes no tree ends its segment, and the next one goes on', async t => {
  const bad: Record<string, [rows: readonly RawRow[], told: RegExp]> = {
    'a parent that is not open': [[fifo('x', 7)], /parent that is not open/],
    'a hole outside of a file': [[hole(5)], /hole outside of a file/],
    'an end outside of a file': [[end()], /end outside of a file/],
    'a name that is unsafe': [[fifo('..')], /"\." or "\.\."/],
    'a reference to what is not there': [[entry({ name: 'x' }), reference(2 ** 40, 1)], /finds no data/],
  }
  for (const [what, [rows, told]] of Object.entries(bad)) {
    const { records, losses } = salvaged({
      segments: [{ rows: [fifo('a'), ...rows, fifo('b')] }, { rows: [fifo('c')] }],
    })
    const kept = what.startsWith('a reference') ? 'a x lost c' : 'a c'
    t.equal(brief(records), kept, what)
    t.match(losses[0], told, what)
  }
})

t.test('a hard link to what is lost is lost', async t => {
  const link = (to: number) =>
    entry({ type: TYPE.hardlink, name: `to-${to}`, fields: [[TAG.linkTo, u64(to)]] })
  const { records, losses } = salvaged({
    segments: [{ rows: file('a'), sealed: flip(20) }, { rows: [...file('b'), link(1), link(2)] }],
  })
  t.equal(brief(records), 'b whole to-2')
  t.match(records[2], { metadata: { linkTo: 1 } }, 'by the ordinal that goes with the records')
  t.match(losses.at(-1), /hard link to an entry that is lost/)
})

t.test('extents of every kind come through', async t => {
  const { records } = salvaged({
    flags: 0,
    segments: [{ rows: file('a', data(BLOCK), hole(700), missing(12), reference(0, 512)) }],
  })
  t.equal(brief(records), 'a data:512 hole:700 missing:12 reference:512 whole')
})

t.test('a trailer elsewhere, or with another CRC32, is none', async t => {
  const segments = [{ rows: [fifo('a')] }]
  for (const archive of [
    { segments, trailer: putU64(8, 5n) },
    { segments, sealedTrailer: flip(-1) },
  ]) {
    const { records, losses } = salvaged(archive)
    t.equal(brief(records), 'a')
    t.match(losses, [/^112 bytes of the archive are damaged$/, 'the archive ends before its trailer'])
  }
})

t.test('an archive that ends in the middle of something', async t => {
  const whole = rawArchive({
    segments: [{ rows: file('a', data(BLOCK)) }, { rows: file('b', data(noise(300))) }],
  })
  const second = Buffer.from(whole).lastIndexOf('\x89rtseg', undefined, 'latin1')
  for (const [what, length, kept] of [
    ['its header', 100, ''],
    ['its header, without a block size', 10, ''],
    ['a magic', second + 7, 'a data:512 whole'],
    ['a segment header', second + 120, 'a data:512 whole'],
    ['tables', second + 130, 'a data:512 whole'],
    ['a block', whole.byteLength - 112 - 1, 'a data:512 whole b missing:300 lost'],
    ['a trailer', whole.byteLength - 1, 'a data:512 whole b data:300 whole'],
  ] as const) {
    const cut = whole.subarray(0, length)
    const { records, losses } = salvage([cut])
    t.equal(brief(records), kept, what)
    t.match(losses.at(-1), 'the archive ends before its trailer', what)
    t.same(salvage(byteByByte(cut)), { records, losses }, what)
  }
})

t.test('bytes behind the trailer are told, and not read', async t => {
  const archive = rawArchive({ segments: [{ rows: [fifo('a')] }] })
  const { records, losses } = salvage([archive, rawArchive({ segments: [{ rows: [fifo('b')] }] })])
  t.equal(brief(records), 'a')
  t.match(losses, [/bytes of the archive are damaged/])
})
