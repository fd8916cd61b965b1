// Table A5: references, and where their bytes come from.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import { data, entry, hole, missing, type RawRow, reference } from '../../fixtures/recipes/raw.js'
import { create } from '../../src/create.js'
import type { ArchiveRecord } from '../../src/record.js'
import { reflinkWriter } from '../../src/stream/reflink-writer.js'
import { CLI, reftar, run as runProgram } from '../cli/run.js'
import { Extractor, tracing } from '../support/extractor.js'
import { cloneRange, sharedBytes } from '../support/fiemap.js'
import { forgedPair } from '../support/forge.js'
import {
  beside,
  content,
  empty,
  fifo,
  file,
  type Ground,
  ground,
  leftovers,
  mode,
  NOBODY,
  owner,
  refusals,
  STRANGER,
  symlink,
  unsorted,
  verified,
} from '../support/hostile.js'
import { callsOf } from '../support/trace-log.js'
import {
  archive,
  BECOME_NOBODY,
  decoded,
  ended,
  failure,
  KIB,
  MIB,
  moduleCommand,
  noise,
  overwrite,
  problems,
  reflink,
  restore,
  run,
} from '../support/trees.js'

process.umask(0o022)

const A = content(64 * KIB, 'a')
const EVERYWHERE = ['btrfs', 'xfs', 'xfs-16k', 'ext4', 'tmpfs'] as const

function read(place: Ground, name: string): Buffer {
  return fs.readFileSync(join(place.target, name))
}

t.test('X1 a name that was taken before, or comes twice, is no source', async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const rows = [
    ...file('src', {}, data(A)),
    ...file('src', {}, data(content(64 * KIB, 'z'))),
    ...file('dst', {}, reference(0, A.byteLength)),
  ]
  t.same(await refusals(place, unsorted(rows), 'BAD_STRUCTURE'), [], 'the example of THREATS')
  const honest = unsorted([...file('src', {}, data(A)), ...file('dst', {}, reference(0, A.byteLength))])
  for (const [what, put] of [
    ['a file', path => fs.writeFileSync(path, 'evil')],
    ['a symlink', path => fs.symlinkSync('../victim', path)],
    ['a FIFO', path => execFileSync('mkfifo', [path])],
    ['a directory', path => fs.mkdirSync(path)],
  ] satisfies [string, (path: string) => void][]) {
    for (const existing of ['keep', 'overwrite'] as const) {
      if (what === 'a directory' && existing === 'overwrite') continue
      put(join(place.target, 'src'))
      const { events, summary } = await restore(honest, place.target, { existing })
      t.ok(read(place, 'dst').equals(A), `${what}, ${existing}`)
      t.same(problems(events), existing === 'keep' ? ['TARGET_EXISTS src'] : [])
      t.equal(summary.target.clonedBytes, A.byteLength, 'cloned from what this run has made')
      empty(place.target)
    }
  }
})

t.test('X1 X2 the source is out of the reach of others while it is cloned', tracing, async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const extractor = await Extractor.start(t)
  const path = join(place.base, 'archive')
  fs.writeFileSync(
    path,
    unsorted([...file('dst', {}, data(A)), ...file('more', {}, reference(0, A.byteLength))]),
  )
  fs.chmodSync(place.target, 0o777)
  fs.chmodSync(place.base, 0o755)
  const attack = [
    'import os, sys',
    'os.setgroups([]); os.setgid(65534); os.setuid(65534)',
    'os.chdir(sys.argv[1])',
    'for staging in [name for name in os.listdir(".") if name.startswith(".reftar-")]:',
    '    for attempt in [lambda: open(staging + "/dst", "r+b"), lambda: os.unlink(staging + "/dst"),',
    '                    lambda: os.rename("evil", staging + "/dst"), lambda: os.listdir(staging)]:',
    '        try:',
    '            attempt()',
    '            print("done")',
    '        except PermissionError: print("refused")',
  ].join('\n')
  fs.writeFileSync(join(place.target, 'evil'), 'evil')
  fs.chownSync(join(place.target, 'evil'), NOBODY, NOBODY)
  let said = ''
  const outcome = await extractor.heldAt(
    { file: path, target: place.target },
    {
      call: 'ioctl',
      meanwhile: () => {
        said = execFileSync('python3', ['-c', attack, place.target], { encoding: 'utf8' })
      },
    },
  )
  t.equal(outcome.held, 1)
  t.equal(said, 'refused\n'.repeat(4))
  t.equal(outcome.code, undefined, outcome.message ?? 'done')
  t.ok(read(place, 'dst').equals(A) && read(place, 'more').equals(A))
})

t.test('X1 a source that was replaced is noticed, whoever has done it', tracing, async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const extractor = await Extractor.start(t)
  const path = join(place.base, 'archive')
  const rows = [...file('src', {}, data(A)), ...file('dst', {}, reference(0, A.byteLength))]
  fs.writeFileSync(path, unsorted(rows))
  const before = beside(place)
  for (const [what, put] of [
    ['a file', source => fs.writeFileSync(source, content(64 * KIB, 'evil'))],
    ['a symlink', source => fs.symlinkSync(place.victim, source)],
    ['a FIFO', source => execFileSync('mkfifo', [source])],
  ] satisfies [string, (source: string) => void][]) {
    const outcome = await extractor.heldAt(
      { file: path, target: place.target },
      {
        // The target, its staging directory, two files, and then the source once more.
        call: 'openat',
        when: 6,
        meanwhile: () => {
          const [staging = ''] = fs.readdirSync(place.target)
          const source = join(place.target, staging, 'src')
          fs.renameSync(source, `${source}-moved`)
          put(source)
        },
      },
    )
    t.equal(outcome.held, 1)
    t.match(outcome.code, /^(TARGET_CHANGED|SYSTEM_CALL)$/, `${what}: ${outcome.message}`)
    t.same(fs.readdirSync(place.target), [], what)
    t.same(beside(place), before)
  }
})

/** Data in the first of two files, and a reference in the second. */
function referring(...more: readonly RawRow[]): Uint8Array {
  return unsorted([...file('src', {}, hole(4096), data(A), hole(8192, 1)), ...file('dst', {}, ...more)])
}

t.test('X3 X5 a reference to what was not written, or not yet', async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  fs.writeFileSync(join(place.target, 'src-of-before'), content(64 * KIB, 'old'))
  const own = (...extents: readonly RawRow[]) => unsorted(file('f', {}, ...extents))
  for (const [what, bytes] of Object.entries({
    'to nothing': own(reference(0, 1)),
    forward: own(reference(0, 4096), data(A)),
    'to the next file': unsorted([...file('a', {}, reference(0, 4096)), ...file('b', {}, data(A))]),
    'to itself': own(data(content(4096)), reference(4096, 4096)),
    'to its own future': own(data(content(4096)), reference(0, 8192), data(content(4096, 'more'))),
    'two in a circle': unsorted([
      ...file('a', {}, reference(4096, 4096)),
      ...file('b', {}, reference(0, 4096)),
    ]),
    'to a hole': own(hole(4096), reference(0, 4096)),
    'to reserved storage': referring(reference(A.byteLength, 4096)),
    'to what is missing': own(missing(4096), reference(0, 4096)),
    'behind the end': referring(reference(A.byteLength - 100, 200)),
    'wholly behind the end': referring(reference(2 * A.byteLength, 10)),
    'to the rest of a block': own(data(content(100)), reference(100, 10)),
    'across the rest of a block': unsorted([
      ...file('a', {}, data(content(100))),
      ...file('b', {}, data(A)),
      ...file('c', {}, reference(0, 5000)),
    ]),
  })) {
    t.same(await refusals(place, bytes, 'DANGLING_REFERENCE'), [], what)
  }
})

t.test('X3 records that no parser has checked refer to nothing but what was written', async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const make = (address: number, length: number): ArchiveRecord[] => [
    {
      kind: 'entry',
      ordinal: 1,
      parent: 0,
      linked: false,
      name: Buffer.from('f'),
      type: 'file',
      metadata: {},
    },
    { kind: 'data', bytes: Buffer.from(A), mayBeShared: true },
    { kind: 'reference', address, length, origin: 'shared' },
    { kind: 'end', state: 'whole' },
  ]
  for (const [address, length] of [
    [0, A.byteLength + 1],
    [A.byteLength, 1],
    [-1, 10],
    [0.5, 10],
    [Number.NaN, 10],
    [2 ** 53, 4096],
    [0, Number.MAX_SAFE_INTEGER],
  ] as const) {
    const writing = run(Readable.from(make(address, length)), reflinkWriter(place.target))
    t.equal((await failure(writing)).code, 'DANGLING_REFERENCE', `${address} ${length}`)
    t.same(fs.readdirSync(place.target), [])
  }
})

t.test('X4 the kernel takes a length of 0 for all the rest: it never gets one', tracing, async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  // The trap: the oracle clones all of a file by a length of 0.
  fs.writeFileSync(join(place.base, 'whole'), A)
  fs.writeFileSync(join(place.base, 'clone'), '')
  cloneRange(join(place.base, 'whole'), 0, 0, join(place.base, 'clone'), 0)
  t.equal(fs.statSync(join(place.base, 'clone')).size, A.byteLength)

  for (const origin of [0, 1]) {
    t.same(await refusals(place, referring(reference(0, 0, origin)), 'BAD_FIELD', false), [])
  }
  // Of every length and at every offset about a block.
  const sizes = [1, 2, 4095, 4096, 4097, 8191, 8192, 8193]
  const rows: RawRow[] = [...file('src', {}, data(A))]
  for (const size of sizes) {
    for (const start of [0, 1, 4095, 4096]) {
      rows.push(...file(`whole-${size}-${start}`, {}, reference(start, size)))
      rows.push(...file(`behind-${size}-${start}`, {}, hole(4096), reference(start, size), hole(size)))
    }
  }
  // The last bytes of the source, which the kernel clones with what is behind them.
  rows.push(
    ...file('tail', {}, data(content(100, 'tail'))),
    ...file('tails', {}, reference(64 * KIB, 100), hole(5000)),
  )
  const path = join(place.base, 'archive')
  fs.writeFileSync(path, unsorted(rows))
  const extractor = await Extractor.start(t)
  const log = join(place.base, 'log')
  const outcome = await extractor.traced(['-o', log, '-e', 'trace=ioctl'], () =>
    extractor.extract({ file: path, target: place.target }),
  )
  t.equal(outcome.code, undefined, outcome.message ?? 'done')
  const clones = callsOf(fs.readFileSync(log, 'utf8')).filter(({ line }) => line.includes('CLONE'))
  t.ok(clones.length > 10, `${clones.length} clones`)
  t.same(
    clones.filter(({ line }) => !/src_length=[1-9]/.test(line)).map(({ line }) => line),
    [],
  )
  for (const size of sizes) {
    for (const start of [0, 1, 4095, 4096]) {
      const bytes = Buffer.from(A.subarray(start, start + size))
      t.ok(read(place, `whole-${size}-${start}`).equals(bytes), `${size} at ${start}`)
      const behind = Buffer.concat([Buffer.alloc(4096), bytes, Buffer.alloc(size)])
      t.ok(read(place, `behind-${size}-${start}`).equals(behind), `${size} at ${start}, in a file`)
    }
  }
})

t.test('X5 a file that refers to itself', async t => {
  for (const name of EVERYWHERE) {
    const place = ground(t, name)
    if (!place) return
    // Neighbours, at a distance, and again what is already there.
    const rows = file(
      'f',
      {},
      data(A),
      reference(0, 64 * KIB),
      hole(4096),
      reference(32 * KIB, 32 * KIB),
      reference(4096, 4096),
    )
    await restore(unsorted(rows), place.target)
    const bytes = Buffer.from(A)
    const whole = Buffer.concat([
      bytes,
      bytes,
      Buffer.alloc(4096),
      bytes.subarray(32 * KIB),
      bytes.subarray(4096, 8192),
    ])
    t.ok(read(place, 'f').equals(whole), name)
  }
})

t.test('X6 references that begin and end anywhere are what a copy would be', async t => {
  const source = content(64 * KIB + 777, 'odd')
  const cases: { name: string; rows: RawRow[]; expected: Buffer }[] = []
  for (const [at, length] of [
    [0, 64 * KIB + 777],
    [1, 8192],
    [4095, 4098],
    [4096, 4096],
    [5000, 50_000],
    [60_000, 6313],
    [64 * KIB, 777],
    [64 * KIB + 700, 77],
  ] as const) {
    for (const before of [0, 1, 4096, 4097]) {
      for (const behind of [0, 100, 8192]) {
        const name = `${at}-${length}-${before}-${behind}`
        const tail = content(behind + 1, name)
        const rows = [
          ...(before > 0 ? [hole(before)] : []),
          reference(at, length),
          ...(behind > 0 ? [data(tail.subarray(0, behind))] : []),
        ]
        const expected = Buffer.concat([
          Buffer.alloc(before),
          source.subarray(at, at + length),
          tail.subarray(0, behind),
        ])
        cases.push({ name, rows: file(name, {}, ...rows), expected })
      }
    }
  }
  const bytes = unsorted([...file('src', {}, data(source)), ...cases.flatMap(({ rows }) => rows)])
  for (const name of EVERYWHERE) {
    const place = ground(t, name)
    if (!place) return
    for (const how of ['auto', 'never'] as const) {
      await restore(bytes, place.target, { reflink: how })
      const wrong = cases
        .filter(({ name, expected }) => !read(place, name).equals(expected))
        .map(({ name }) => name)
      t.same(wrong, [], `${name}, ${how}`)
      empty(place.target)
    }
  }
})

t.test('X7 beyond what a process may write', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const path = join(place.base, 'archive')
  fs.writeFileSync(
    path,
    unsorted([
      ...file('a', {}, data(content(MIB))),
      ...file('b', {}, reference(0, MIB), hole(2 ** 40), reference(0, MIB)),
    ]),
  )
  const script = [
    'import resource, subprocess, sys',
    'resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))',
    'sys.exit(subprocess.call(sys.argv[2:]))',
  ].join('\n')
  for (const limit of [500_000, 2 * MIB]) {
    // Without what the test runner injects, which dies of the signal.
    const argv = [
      'env',
      '-u',
      'NODE_OPTIONS',
      process.execPath,
      CLI,
      'extract',
      '-f',
      path,
      '-C',
      place.target,
    ]
    const { code, stderr } = await runProgram(['python3', '-c', script, String(limit), ...argv])
    t.equal(code, 2, `${limit}: ${stderr}`)
    t.match(stderr, /EFBIG/)
    t.same(fs.readdirSync(place.target), [])
  }
  const far = unsorted([
    ...file('a', {}, data(A)),
    ...file('b', {}, hole(2 ** 53 - 2 ** 20), reference(0, 4096)),
  ])
  const small = ground(t, 'ext4')
  if (!small) return
  t.equal((await failure(restore(far, small.target))).code, 'SYSTEM_CALL')
  t.same(fs.readdirSync(small.target), [])
})

t.test('X8 a source that is not wanted still gives its bytes, and is not made', async t => {
  for (const name of EVERYWHERE) {
    const place = ground(t, name)
    if (!place) return
    const inTarget = (path: string) => join(place.target, path)
    fs.writeFileSync(inTarget('src'), 'mine')
    fs.symlinkSync('nowhere', inTarget('d'))
    const rows = [
      entry({ type: 2, name: 'd' }),
      ...file('inner', { parent: 1, flags: 1 }, data(A)),
      ...file('src', {}, data(content(64 * KIB, 'b'))),
      ...file('dst', {}, reference(0, 128 * KIB)),
      entry({ type: 4, name: 'hard', fields: [[0x85, Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0)]] }),
    ]
    const { events } = await restore(unsorted(rows), place.target, { existing: 'keep' })
    t.same(problems(events), ['TARGET_EXISTS d', 'TARGET_EXISTS src'], name)
    t.ok(read(place, 'dst').equals(Buffer.concat([A, content(64 * KIB, 'b')])), name)
    t.ok(read(place, 'hard').equals(Buffer.from(A)), name)
    t.equal(read(place, 'src').toString(), 'mine')
    t.same(fs.readdirSync(place.target).sort(), ['d', 'dst', 'hard', 'src'])
    t.same(leftovers(place.target), [])
  }
})

t.test('X9 what refers to a source that is lost is lost, and named', async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const rows = [
    ...file('src', {}, data(A)),
    ...file('dst', {}, reference(0, A.byteLength)),
    ...file('zz', {}, data(content(4096))),
  ]
  const bytes = unsorted(rows)
  const at = Buffer.from(bytes).indexOf(Buffer.from(A.subarray(4096, 4200)))
  bytes[at] = (bytes[at] ?? 0) ^ 1
  const { events } = await restore(bytes, place.target, { salvage: true })
  t.same([...new Set(problems(events))].filter(line => !line.endsWith(' ')).sort(), [
    'CHECKSUM_MISMATCH dst',
    'CHECKSUM_MISMATCH src',
    'SYSTEM_CALL dst',
    'SYSTEM_CALL src',
  ])
  t.same(fs.readdirSync(place.target), ['zz'])
  t.equal((await failure(restore(bytes, place.target, { keepPartial: true }))).code, 'CHECKSUM_MISMATCH')
  t.same(fs.readdirSync(place.target), ['zz'], 'without it, nothing comes of a segment that is damaged')
})

const asRoot = { skip: process.getuid?.() === 0 ? false : 'needs root' } as const

t.test('X10 sharing gives nobody more than the modes and owners say', asRoot, async t => {
  for (const name of ['btrfs', 'xfs', 'ext4'] as const) {
    const place = ground(t, name)
    if (!place) return
    const secret = { fields: [mode(0), owner(STRANGER, STRANGER)] }
    const open = { fields: [mode(0o644), owner(NOBODY, NOBODY)] }
    const rows = [
      ...file('secret', secret, data(A)),
      ...file('open', open, reference(0, 64 * KIB)),
      ...file('secret-too', secret, reference(0, 64 * KIB)),
    ]
    await restore(unsorted(rows), place.target)
    const looks = ['secret', 'open', 'secret-too'].map(file => {
      const { mode, uid } = fs.statSync(join(place.target, file))
      return [mode & 0o7777, uid]
    })
    t.same(
      looks,
      [
        [0, STRANGER],
        [0o644, NOBODY],
        [0, STRANGER],
      ],
      name,
    )
    for (const file of ['secret', 'open', 'secret-too']) t.ok(read(place, file).equals(Buffer.from(A)), file)
    if (name !== 'ext4')
      t.equal(sharedBytes(join(place.target, 'secret'), join(place.target, 'open')), 64 * KIB)
  }
})

t.test('X10 who may not read a file learns nothing of it by making an archive', asRoot, async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  fs.chmodSync(place.base, 0o755)
  const inTarget = (name: string) => join(place.target, name)
  fs.writeFileSync(inTarget('a'), A, { mode: 0o600 })
  fs.writeFileSync(inTarget('guess'), A, { mode: 0o644 })
  const script = `
    const { create } = await import('./src/create.ts')
    ${BECOME_NOBODY}
    const source = create(['.'], { directory: ${JSON.stringify(place.target)} })
    let length = 0
    for await (const chunk of source) length += chunk.length
    const { dedup, tree } = source.summary
    console.log(JSON.stringify([dedup.duplicateBytes, tree.bytesRead, tree.problems]))`
  const { code, output } = await ended(...moduleCommand(script))
  t.equal(code, 0, output)
  t.same(JSON.parse(output), [0, A.byteLength, 1], 'nothing is found equal, and the file is named')
})

t.test('X11 blocks with equal hashes are not taken for equal', async t => {
  for (const name of ['btrfs', 'ext4'] as const) {
    const place = ground(t, name)
    if (!place) return
    const [one, other] = await forgedPair(4096)
    t.notOk(one.equals(other))
    const source = join(place.base, 'source')
    fs.mkdirSync(source)
    // The one that an attacker puts first, and the one of somebody else.
    fs.writeFileSync(join(source, 'a'), one)
    fs.writeFileSync(join(source, 'b'), other)
    fs.writeFileSync(join(source, 'c'), Buffer.concat([other, one, other]))
    const { bytes, summary } = await archive(['.'], { directory: source })
    t.ok(summary.dedup.duplicateBytes > 0, 'what is equal is found')
    await restore(bytes, place.target)
    t.ok(read(place, 'b').equals(other) && read(place, 'a').equals(one), name)
    t.ok(read(place, 'c').equals(Buffer.concat([other, one, other])), name)
  }
})

t.test('X11 a checksum of an archive is no identity: what a reference points at is what it gets', async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const [one, other] = await forgedPair(4096)
  const rows = [
    ...file('a', {}, data(one)),
    ...file('b', {}, data(other)),
    ...file('c', {}, reference(4096, 4096)),
  ]
  await restore(unsorted(rows), place.target)
  t.ok(read(place, 'c').equals(other))
})

t.test('X12 a map that lies, of storage that gets other owners while it is read', async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const source = join(place.base, 'source')
  fs.mkdirSync(source)
  const inSource = (name: string) => join(source, name)
  fs.writeFileSync(inSource('a'), noise(MIB, 'a'))
  reflink(inSource('a'), inSource('b'))
  fs.writeFileSync(inSource('c'), noise(64 * KIB, 'c'))
  let changed = false
  const onEvent = () => {
    if (changed) return
    changed = true
    // The first was read and mapped: its storage goes to others before the second is.
    fs.rmSync(inSource('b'))
    fs.writeFileSync(inSource('b'), noise(MIB, 'new b'))
    overwrite(inSource('c'), 0, noise(4096, 'new c'))
  }
  const chunks: Uint8Array[] = []
  for await (const chunk of create(['.'], { directory: source, onEvent })) chunks.push(chunk)
  t.ok(changed)
  await restore(Buffer.concat(chunks), place.target)
  t.ok(read(place, 'a').equals(noise(MIB, 'a')))
  t.ok(read(place, 'b').equals(noise(MIB, 'new b')), 'what was there when it was read')
  t.ok(read(place, 'c').subarray(0, 4096).equals(noise(4096, 'new c')))
})

t.test('X13 files that cannot be cloned to are copied to', async t => {
  for (const name of ['btrfs', 'ext4', 'tmpfs'] as const) {
    const place = ground(t, name)
    if (!place) return
    const nocow = { fields: [[0x88, Uint8Array.of(0, 0, 0x80, 0)] as const] }
    const rows = [
      ...file('a', {}, data(A)),
      ...file('b', nocow, reference(0, 64 * KIB)),
      ...file('c', {}, reference(0, 64 * KIB)),
    ]
    const { summary } = await restore(unsorted(rows), place.target)
    t.ok(read(place, 'b').equals(Buffer.from(A)) && read(place, 'c').equals(Buffer.from(A)))
    const { clonedBytes, copiedBytes, copyReasons } = summary.target
    const copied = name === 'btrfs' ? 64 * KIB : 128 * KIB
    t.same([clonedBytes, copiedBytes], [128 * KIB - copied, copied], name)
    t.same(Object.values(copyReasons), [copied], 'with the reason')
    empty(place.target)
    t.equal(
      (await failure(restore(unsorted(rows), place.target, { reflink: 'always' }))).code,
      'CLONE_REFUSED',
    )
    t.same(fs.readdirSync(place.target), [])
  }
})

t.test('X14 bytes that the source would not give are never passed off as zeros', async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const rows = [
    ...file('a', {}, data(A), missing(4096, 5), data(content(100, 'behind'))),
    ...file('b', {}, reference(0, 64 * KIB)),
  ]
  const { events, summary } = await restore(unsorted(rows), place.target)
  t.same(problems(events), ['SYSTEM_CALL a'])
  t.equal(summary.target.missingBytes, 4096)
  t.ok((await verified(unsorted(rows), place.target)) > 0, 'verify tells it too')
})

t.test('X17 memory of before is never in an archive', async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const source = join(place.base, 'source')
  fs.mkdirSync(source)
  const inSource = (name: string) => join(source, name)
  fs.writeFileSync(inSource('short'), 'short')
  fs.writeFileSync(inSource('zeros'), Buffer.alloc(100_001))
  fs.writeFileSync(inSource('sparse'), '')
  fs.truncateSync(inSource('sparse'), MIB)
  overwrite(inSource('sparse'), 500_000, Buffer.alloc(10, 1))
  fs.writeFileSync(inSource('shrinks'), Buffer.alloc(3 * MIB, 2))
  fs.writeFileSync(inSource('tail'), Buffer.alloc(4 * MIB + 17, 3))
  fs.symlinkSync('shrinks', inSource('link'))
  const poison = 0xa5
  const { allocUnsafe, allocUnsafeSlow } = Buffer
  t.teardown(() => Object.assign(Buffer, { allocUnsafe, allocUnsafeSlow }))
  let poisoned = 0
  const fill = (allocate: (size: number) => Buffer) => (size: number) => {
    poisoned += size
    return allocate(size).fill(poison)
  }
  Object.assign(Buffer, { allocUnsafe: fill(allocUnsafe), allocUnsafeSlow: fill(allocUnsafeSlow) })
  const onEvent = () => {
    if (fs.statSync(inSource('shrinks')).size > MIB) fs.truncateSync(inSource('shrinks'), MIB + 100)
  }
  for (const dedup of ['content', 'none'] as const) {
    fs.writeFileSync(inSource('shrinks'), Buffer.alloc(3 * MIB, 2))
    const chunks: Uint8Array[] = []
    for await (const chunk of create(['.'], { directory: source, onEvent, dedup }))
      chunks.push(Uint8Array.from(chunk))
    const bytes = Buffer.concat(chunks)
    t.ok(poisoned > MIB, `${poisoned} bytes of memory were poisoned`)
    t.equal(bytes.indexOf(Buffer.alloc(8, poison)), -1, `dedup: ${dedup}`)
    const records = await decoded(bytes)
    const foreign = records.filter(record => record.kind === 'data' && record.bytes.includes(poison))
    t.same(foreign.length, 0)
  }
})

t.test('X16 an archive in its own tree, and what is no file', async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const rows = [fifo('fifo'), symlink('l', '/proc/self/environ'), ...file('f', {}, data(A))]
  await restore(unsorted(rows), place.target)
  const made = await reftar(['create', '-f', join(place.target, 'own.reftar'), '-C', place.target, '.'])
  t.equal(made.code, 0)
  const own = read(place, 'own.reftar')
  const names = (await decoded(own)).flatMap(record =>
    record.kind === 'entry' ? Buffer.from(record.name).toString() : [],
  )
  t.same(names, ['', 'f', 'fifo', 'l'], 'is not in itself')
  t.notOk(own.includes('PATH='), 'what a symlink leads to is not in it')
})
