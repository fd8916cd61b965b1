// Table A4: archives that ask for more than they are worth.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  data,
  end,
  entry,
  hole,
  type RawRow,
  type RawSegment,
  reference,
  TAG,
} from '../../fixtures/recipes/raw.js'
import { reftar } from '../cli/run.js'
import { amplified, checkLimit, memoryOf, segmentsOf } from '../support/bombs.js'
import {
  beside,
  content,
  directory,
  fifo,
  file,
  ground,
  hardlink,
  refusals,
  u64,
  unsorted,
  verified,
  walked,
} from '../support/hostile.js'
import { ended, failure, KIB, listed, MIB, moduleCommand, restore } from '../support/trees.js'

process.umask(0o022)

const GIB = 1024 * MIB
const WATCHDOG = { timeout: 60_000 }

t.test('D1 no length is believed before it is checked', WATCHDOG, async t => {
  const read = `
    for (const archive of archives)
      for (const sink of [verify(), list()])
        await pipeline(Readable.from([archive], { objectMode: false }), sink, nowhere()).catch(() => undefined)`
  // What is read first is read for the code of it to be there.
  const prepare = `
    let archives = invalidRecipes().map(({ archive }) => archive).filter(({ byteLength }) => byteLength < 4096)
    ${read.replace('verify(), list()', 'list()')}
    const last = 2n ** 64n - 1n
    const edges = [2n ** 31n, 2n ** 32n - 1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n, last]
    const { rawArchive, entry, data, end, hole, fifo } = await import('./fixtures/recipes/raw.ts')
    const rows = [entry(), data(new Uint8Array(700)), hole(100), end()]
    archives = []
    for (const edge of edges) {
      for (let at = 8; at < 128; at += 4) {
        const head = target => {
          const view = new DataView(target.buffer, target.byteOffset)
          if (at + 8 <= 88) view.setBigUint64(at, edge, true)
          else view.setUint32(at, Number(edge & 0xffffffffn), true)
        }
        archives.push(rawArchive({ segments: [{ rows, head }] }))
      }
      for (let at = 128; at < 180; at++) {
        const head = target => {
          if (at + 8 <= target.byteLength) new DataView(target.buffer, target.byteOffset).setBigUint64(at, edge, true)
        }
        archives.push(rawArchive({ segments: [{ rows, head }] }))
      }
    }
    if (archives.length < 400) throw new Error('too few')`
  const taken = await memoryOf(t, prepare, read)
  t.comment(`${Math.round(taken / MIB)} MiB`)
  t.ok(taken < 64 * MIB, `${taken} bytes`)
})

t.test('D2 numbers that no computer adds up', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const most = Number.MAX_SAFE_INTEGER
  for (const [what, rows, code] of [
    ['a size of 2^53', file('f', {}, hole(2 ** 53)), 'LIMIT_EXCEEDED'],
    ['a size of 2^63', file('f', {}, hole(2 ** 63)), 'LIMIT_EXCEEDED'],
    ['a sum of 2^53', file('f', {}, hole(most), hole(1, 1)), 'LIMIT_EXCEEDED'],
    ['a sum over two files', [...file('f', {}, hole(most)), ...file('g', {}, hole(1))], 'LIMIT_EXCEEDED'],
    [
      'a sum of references',
      file('f', {}, data(content(10)), hole(most - 15), reference(0, 10)),
      'LIMIT_EXCEEDED',
    ],
    ['an address that wraps', file('f', {}, data(content(10)), reference(most, 10)), 'DANGLING_REFERENCE'],
    ['a length that wraps', file('f', {}, data(content(10)), reference(1, most)), 'DANGLING_REFERENCE'],
    ['2^53 reserved', file('f', { fields: [[TAG.reserved, u64(2 ** 53)]] }), 'LIMIT_EXCEEDED'],
  ] as const) {
    t.same(await refusals(place, unsorted(rows), code, false), [], what)
  }
  const largest = unsorted(file('f', {}, hole(most)))
  t.equal((await listed(largest))[0]?.size, most, 'the largest size is told without loss')
})

t.test('D3 nothing is read without progress', WATCHDOG, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  for (const extent of [data(new Uint8Array(0)), hole(0), reference(0, 0)]) {
    const rows = file('f', {}, data(content(10)), ...Array.from({ length: 1000 }, () => extent))
    t.same(await refusals(place, unsorted(rows), 'BAD_FIELD', false), [])
  }
  const whole = unsorted([directory('d'), ...file('f', { parent: 1 }, data(content(1000)))], {
    blockSize: 512,
  })
  const codes = new Set<string>()
  for (let length = 0; length < whole.byteLength; length++) {
    const cut = whole.subarray(0, length)
    for (const read of [walked, verified, (archive: Uint8Array) => restore(archive, place.target)])
      codes.add((await failure(read(cut))).code)
  }
  t.same([...codes], ['TRUNCATED'], `an end after any of ${whole.byteLength} bytes`)
  t.same(fs.readdirSync(place.target), [])
})

t.test('D5 directories within each other are no recursion', WATCHDOG, async t => {
  const place = ground(t, 'tmpfs')
  if (!place) return
  const depth = 20_000
  const rows = Array.from({ length: depth }, (_, i) => directory('d', i))
  const path = join(place.base, 'archive')
  fs.writeFileSync(path, unsorted([], { segments: segmentsOf(rows, 20_000) }))
  const script = `
    const { createReadStream } = await import('node:fs')
    const { pipeline } = await import('node:stream/promises')
    const { verify } = await import('./src/verify.ts')
    const sink = verify()
    await pipeline(createReadStream(${JSON.stringify(path)}), sink)
    console.log(sink.summary.archive.entries)`
  const command = moduleCommand(script)
  const { code, output } = await ended(
    command[0],
    ...command.slice(1, 4),
    '--stack-size=200',
    ...command.slice(4),
  )
  t.equal(code, 0, output)
  t.equal(output.trim(), String(depth), 'with next to no stack')
  const shallow = await reftar(['extract', '-f', path, '-C', place.target, '--max-depth=1000'])
  t.equal(shallow.code, 2)
  t.match(shallow.stderr, /depth reach 1001, the limit is 1000 .*--max-depth raises it/)
  t.same(fs.readdirSync(place.target), [])
})

for (const [what, depth, more, work] of [
  ['extract', 2000, 0, '[extract(target)]'],
  ['extract, of what can be linked to', 500, 2000, '[extract(target)]'],
  ['list', 1000, 1000, '[list(), nowhere()]'],
] as const) {
  t.test(
    `D5 long names within each other take no memory for each of their paths: ${what}`,
    WATCHDOG,
    async t => {
      const place = ground(t, 'tmpfs')
      if (!place) return
      const name = 'n'.repeat(255)
      const rows: RawRow[] = Array.from({ length: depth }, (_, i) => directory(name, i))
      for (let i = 0; i < more; i++) rows.push(fifo(`f${i}`, depth, [], 1))
      const path = join(place.base, 'archive')
      fs.writeFileSync(path, unsorted([], { segments: segmentsOf(rows, 1000) }))
      const taken = await memoryOf(
        t,
        `const target = ${JSON.stringify(place.target)}`,
        `await pipeline(fs.createReadStream(${JSON.stringify(path)}), ...${work})`,
      )
      t.comment(`${fs.statSync(path).size} bytes of archive, ${Math.round(taken / MIB)} MiB`)
      // Each path on its way out is garbage; kept, they would be 510 MiB.
      t.ok(taken < 200 * MIB, `${Math.round(taken / MIB)} MiB`)
    },
  )
}

t.test('D5 many empty entries at once', WATCHDOG, async t => {
  const place = ground(t, 'tmpfs')
  if (!place) return
  const rows = Array.from({ length: 150_000 }, (_, i) => fifo(i.toString(36).padStart(4, '0')))
  const archive = unsorted([], { segments: segmentsOf(rows, 60_000), flags: 1 })
  t.equal(await verified(archive), 0)
  const few = await failure(restore(archive, place.target, { limits: { entries: 100_000 } }))
  t.equal(few.code, 'LIMIT_EXCEEDED')
  t.equal(few.limit, 'entries')
  t.same(fs.readdirSync(place.target), [])
})

t.test('D6 holes as large as can be', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const bomb = unsorted(file('f', {}, hole(2 ** 50)))
  await restore(bomb, place.target)
  const { size, blocks } = fs.statSync(join(place.target, 'f'))
  t.same([size, blocks], [2 ** 50, 0], 'are no storage')
  fs.rmSync(join(place.target, 'f'))
  await checkLimit(t, place, bomb, { logicalBytes: 2 ** 40 }, 'logicalBytes')
  const path = join(place.base, 'archive')
  fs.writeFileSync(path, bomb)
  for (const argv of [['list'], ['verify'], ['extract', '-C', place.target]]) {
    const { code, stderr } = await reftar([...argv, '-f', path, '--max-size=1000000'])
    t.equal(code, 2)
    t.match(stderr, /'f': logicalBytes reach \d+, the limit is 1000000 \(at byte \d+\): --max-size raises it/)
  }

  const small = ground(t, 'ext4')
  if (!small) return
  const error = await failure(restore(bomb, small.target))
  t.same(
    [error.code, fs.readdirSync(small.target)],
    ['SYSTEM_CALL', []],
    'what the filesystem cannot hold fails',
  )
})

t.test('D6 ten thousands of extents with gaps between', WATCHDOG, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const bytes = content(20_000)
  const rows = Array.from(bytes, (_, i) => [data(bytes.subarray(i, i + 1)), hole(1)]).flat()
  await restore(unsorted(file('f', {}, ...rows), { blockSize: 512 }), place.target)
  const found = fs.readFileSync(join(place.target, 'f'))
  t.ok(found.length === 40_000 && bytes.every((byte, i) => found[2 * i] === byte && found[2 * i + 1] === 0))
})

t.test('D6 storage that is reserved counts as what it takes', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const reserved = unsorted(file('f', { fields: [[TAG.reserved, u64(64 * MIB)]] }))
  await checkLimit(t, place, reserved, { logicalBytes: MIB }, 'logicalBytes', [{}])
})

t.test('D7 references that make more than an archive is worth', WATCHDOG, async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const before = beside(place)
  // Half a terabyte of files from 7 MB of archive.
  const bomb = amplified(4 * MIB - 4096, 1, 125_000)
  // Within the first 64 GiB, a target that cannot clone is full before.
  await checkLimit(t, place, bomb, {}, 'expansion', [{}, { existing: 'overwrite' }])
  t.equal((await failure(verified(bomb))).limit, 'expansion')
  t.equal((await failure(verified(bomb, place.target))).limit, 'expansion')
  await checkLimit(t, place, bomb, { logicalBytes: GIB }, 'logicalBytes')
  await checkLimit(t, place, bomb, { references: 1000 }, 'references')
  const path = join(place.base, 'archive')
  fs.writeFileSync(path, bomb)
  for (const [option, value] of [
    ['--max-expansion', '1'],
    ['--max-size', '1000000000'],
    ['--max-references', '10'],
  ]) {
    const { code, stderr } = await reftar(['extract', '-f', path, '-C', place.target, `${option}=${value}`])
    t.equal(code, 2)
    t.match(stderr, new RegExp(`: ${option} raises it\n$`))
  }
  fs.rmSync(path)
  t.same(fs.readdirSync(place.target), [])
  t.same(beside(place).slice(1), before.slice(1))
})

t.test('D7 the limits hold for a salvage, too', WATCHDOG, async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const salvage = [{ salvage: true }]
  await checkLimit(t, place, amplified(MIB, 2, 1000), { logicalBytes: GIB }, 'logicalBytes', salvage)
  await checkLimit(t, place, amplified(MIB, 2, 1000), { references: 1000 }, 'references', salvage)
  await checkLimit(t, place, amplified(MIB, 2000, 1), { entries: 1000 }, 'entries', salvage)
  const bomb = amplified(4 * MIB - 4096, 2, 10_000)
  await checkLimit(t, place, bomb, { expansion: 1 }, 'expansion', salvage)
})

t.test('D7 nothing doubles: a reference never points at a reference', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const rows = [
    ...file('a', {}, data(content(4096))),
    ...file('b', {}, reference(0, 4096), hole(4096)),
    ...file('c', {}, reference(4096, 4096)),
  ]
  t.same(await refusals(place, unsorted(rows), 'DANGLING_REFERENCE'), [])
})

t.test('D7 many references to one block', WATCHDOG, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const count = 20_000
  const bytes = content(8 * KIB)
  const rows = [
    ...file('a', {}, data(bytes)),
    // Neighbours that could be one have to be one.
    ...file('b', {}, ...Array.from({ length: count }, () => reference(0, 4 * KIB))),
  ]
  await restore(unsorted(rows), place.target)
  const made = fs.readFileSync(join(place.target, 'b'))
  t.equal(made.length, count * 4 * KIB)
  let equal = 0
  for (let at = 0; at < made.length; at += 4 * KIB)
    if (made.compare(bytes, 0, 4 * KIB, at, at + 4 * KIB) === 0) equal++
  t.equal(equal, count)
})

t.test('D8 more links than a file can have', WATCHDOG, async t => {
  const place = ground(t, 'ext4')
  if (!place) return
  const before = beside(place)
  const links = Array.from({ length: 65_000 }, (_, i) => hardlink(`h${i}`, 1))
  const archive = unsorted([], { segments: segmentsOf([...file('f', { flags: 1 }), ...links], 30_000) })
  const error = await failure(restore(archive, place.target))
  t.equal(error.code, 'SYSTEM_CALL')
  t.match(error.message, /EMLINK/)
  t.equal(Buffer.from(error.path ?? []).toString(), 'h64999')
  t.same(fs.readdirSync(place.target), [])
  t.same(beside(place), before)
})

/** The least time that some work takes of the processor, in milliseconds. */
async function timeOf(work: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < 3; i++) {
    const before = process.cpuUsage()
    await work()
    const { user, system } = process.cpuUsage(before)
    least = Math.min(least, (user + system) / 1000)
  }
  return least
}

const SCALES: Readonly<Record<string, (count: number) => RawSegment[]>> = {
  'entries in one directory': count =>
    segmentsOf(
      Array.from({ length: count }, (_, i) => fifo(`f${i}`)),
      30_000,
    ),
  'files and hard links to them': count =>
    segmentsOf(
      Array.from({ length: count / 2 }, (_, i) => [
        fifo(`f${i}`, 0, [], 1),
        hardlink(`h${i}`, 2 * i + 1),
      ]).flat(),
      30_000,
    ),
  'directories beside each other': count =>
    segmentsOf(
      Array.from({ length: count }, (_, i) => directory(`d${i}`)),
      30_000,
    ),
  'references to everywhere': count => {
    const rows: RawRow[] = [entry({ name: 'a' })]
    for (let i = 0; i < count / 10; i++) rows.push(data(content(100, `${i}`)), hole(412))
    rows.push(end(), entry({ name: 'b' }))
    for (let i = 0; i < count; i++) rows.push(reference(((i * 7919) % (count / 10)) * 512, 50))
    return segmentsOf([...rows, end()], 8000)
  },
}

t.test('D9 twice as much takes twice as long', { timeout: 120_000 }, async t => {
  for (const [what, make] of Object.entries(SCALES)) {
    // With less, only the larger one takes the time that it takes to start a thread for digests.
    const [once, twice] = [40_000, 80_000].map(count =>
      unsorted([], { blockSize: 512, segments: make(count) }),
    ) as [Uint8Array, Uint8Array]
    await verified(once)
    const [first, second] = [await timeOf(() => verified(once)), await timeOf(() => verified(twice))]
    t.comment(`${what}: ${Math.round(first)} and ${Math.round(second)} ms`)
    t.ok(second / first < 3.5, `${what}: ${(second / first).toFixed(1)}`)
  }
})
