import { spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import t from 'tap'
import { encode } from '../fixtures/recipes/encode.js'
import type { ArchiveRecord, Data, EntryType, Metadata, Origin } from '../src/record.js'
import { reflinkWriter, type WriteOptions, type WriteSummary } from '../src/stream/reflink-writer.js'
import { compareTrees, dataRanges } from './support/compare-trees.js'
import { cloneRange, FIEMAP_EXTENT_UNWRITTEN, fiemap, sharedBytes } from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import {
  archive,
  decoded,
  descriptorsAfter,
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
  settledDescriptors,
  sourceAndTarget,
} from './support/trees.js'

process.umask(0o022)

const isRoot = process.getuid?.() === 0

interface Made {
  readonly summary: WriteSummary
  readonly problems: string[]
}

/** Writes records that were made by hand. */
async function write(
  target: string,
  records: Iterable<ArchiveRecord>,
  options: WriteOptions = {},
): Promise<Made> {
  const told: string[] = []
  const onEvent: WriteOptions['onEvent'] = event => told.push(...problems([event]))
  const sink = reflinkWriter(target, { ...options, onEvent })
  await run(Readable.from(records), sink)
  return { summary: sink.summary, problems: told }
}

let ordinal = 0

function entry(name: string, type: EntryType, metadata: Metadata = {}, more = {}): ArchiveRecord {
  const base = { kind: 'entry', ordinal: ++ordinal, parent: 0, linked: false } as const
  return { ...base, name: Buffer.from(name), type, metadata, ...more }
}

function data(bytes: Uint8Array): Data {
  return { kind: 'data', bytes, mayBeShared: true }
}

function reference(address: number, length: number, origin: Origin): ArchiveRecord {
  return { kind: 'reference', address, length, origin }
}

function file(name: string, ...extents: readonly ArchiveRecord[]): ArchiveRecord[] {
  return [entry(name, 'file'), ...extents, { kind: 'end', state: 'whole' }]
}

/** Clones of all kinds: whole, at other offsets, within one file, with a tail. */
function fill(source: string): number {
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(name => join(source, name)) as [
    string,
    string,
    string,
    string,
  ]
  fs.writeFileSync(a, noise(MIB + 100))
  reflink(a, b)
  overwrite(b, 256 * KIB, noise(64 * KIB, 'b'))
  fs.writeFileSync(c, '')
  cloneRange(a, 128 * KIB, 256 * KIB, c, 0)
  cloneRange(a, 512 * KIB, 128 * KIB, c, 512 * KIB)
  fs.writeFileSync(d, noise(128 * KIB, 'd'))
  cloneRange(d, 0, 128 * KIB, d, 128 * KIB)
  return MIB + 100 - 64 * KIB + 384 * KIB + 128 * KIB
}

for (const [name, reason] of [
  ['ext4', 'EOPNOTSUPP'],
  ['tmpfs', 'EOPNOTSUPP'],
] as const) {
  t.test(`where nothing can be cloned: ${name}`, async t => {
    const sourceDirectory = testDirectory(t, 'btrfs')
    const directory = testDirectory(t, name)
    if (sourceDirectory === undefined || directory === undefined) return
    const { source, target } = sourceAndTarget(sourceDirectory, directory)
    const shared = fill(source)
    const { bytes } = await archive(['.'], { directory: source })
    for (const reflink of ['auto', 'exact', 'never'] as const) {
      const to = join(target, reflink)
      fs.mkdirSync(to)
      const { summary, events } = await restore(bytes, to, { reflink })
      t.same(compareTrees(source, to), [], reflink)
      t.same(problems(events), [])
      t.equal(summary.target.clonedBytes, 0)
      t.equal(summary.target.copiedBytes, shared)
      const why = reflink === 'never' ? 'not asked for' : reason
      t.same(summary.target.copyReasons, { [why]: shared })
    }
    const descriptors = await settledDescriptors()
    const before = fs.readdirSync(target)
    const error = await failure(restore(bytes, target, { reflink: 'always' }))
    t.equal(error.code, 'CLONE_REFUSED')
    t.same(fs.readdirSync(target), before)
    t.equal(await descriptorsAfter(descriptors), descriptors)
  })
}

for (const name of ['btrfs', 'xfs', 'xfs-1k'] as const) {
  t.test(`ways to reflink on ${name}`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    const shared = fill(source)
    const { bytes } = await archive(['.'], { directory: source })
    for (const reflink of ['auto', 'exact', 'always', 'never'] as const) {
      const to = join(target, reflink)
      fs.mkdirSync(to)
      const { summary } = await restore(bytes, to, { reflink })
      t.same(compareTrees(source, to), [], reflink)
      t.equal(summary.target.clonedBytes, reflink === 'never' ? 0 : shared)
      t.equal(summary.target.copiedBytes, reflink === 'never' ? shared : 0)
      const inB = sharedBytes(join(to, 'a'), join(to, 'b'))
      t.equal(inB, reflink === 'never' ? 0 : MIB + 100 - 64 * KIB)
      const places = new Set(fiemap(join(to, 'd')).map(({ physical }) => physical))
      t.equal(places.size, reflink === 'never' ? fiemap(join(to, 'd')).length : 1, 'within one file')
    }
  })
}

t.test('the aligned middle, on blocks of 16 KiB', async t => {
  const sourceDirectory = testDirectory(t, 'xfs')
  const directory = testDirectory(t, 'xfs-16k')
  if (sourceDirectory === undefined || directory === undefined) return
  const { source, target } = sourceAndTarget(sourceDirectory, directory)
  const a = join(source, 'a')
  fs.writeFileSync(a, noise(512 * KIB))
  const clones: [string, number, number, number][] = [
    ['congruent', 20 * KIB, 100 * KIB, 4 * KIB],
    ['shifted', 20 * KIB, 100 * KIB, 8 * KIB],
    ['aligned', 64 * KIB, 128 * KIB, 32 * KIB],
    ['inside', 4 * KIB, 8 * KIB, 4 * KIB],
    ['edge', 12 * KIB, 8 * KIB, 12 * KIB],
  ]
  for (const [name, from, length, to] of clones) {
    fs.writeFileSync(join(source, name), '')
    cloneRange(a, from, length, join(source, name), to)
  }
  const { bytes, summary } = await archive(['.'], { directory: source })
  t.equal(summary.tree.bytesRead, 512 * KIB)
  const { summary: restored } = await restore(bytes, target)
  t.same(compareTrees(source, target, { holes: false }), [])
  const kept = (name: string) => sharedBytes(join(target, 'a'), join(target, name))
  t.equal(kept('congruent'), 80 * KIB, '32 to 112 KiB of the source')
  t.equal(kept('shifted'), 0)
  t.equal(kept('aligned'), 128 * KIB)
  t.equal(kept('inside'), 0)
  t.equal(kept('edge'), 0)
  t.equal(restored.target.clonedBytes, 208 * KIB)
  t.same(restored.target.copyReasons, {
    'not aligned': (20 + 100) * KIB,
    'smaller than a block': 16 * KIB,
  })
  t.equal((await failure(restore(bytes, target, { reflink: 'always' }))).code, 'TARGET_EXISTS')
  const empty = join(directory, 'empty')
  fs.mkdirSync(empty)
  t.equal((await failure(restore(bytes, empty, { reflink: 'always' }))).code, 'CLONE_REFUSED')
  t.same(fs.readdirSync(empty), [])
})

t.test('what was found equal', async t => {
  const bytes = noise(256 * KIB)
  const records = [
    ...file('a', data(bytes)),
    ...file('small', reference(0, 12 * KIB, 'dedup')),
    ...file('large', reference(16 * KIB, 16 * KIB, 'dedup')),
    ...file('shared', reference(0, 4 * KIB, 'shared')),
  ]
  const expected = {
    auto: { small: 0, large: 16, shared: 4, reasons: { 'cheaper to copy': 12 * KIB } },
    exact: { small: 0, large: 0, shared: 4, reasons: { 'not shared at the source': 28 * KIB } },
    always: { small: 12, large: 16, shared: 4, reasons: {} },
    never: { small: 0, large: 0, shared: 0, reasons: { 'not asked for': 32 * KIB } },
  }
  for (const name of ['btrfs', 'xfs'] as const) {
    for (const reflink of ['auto', 'exact', 'always', 'never'] as const) {
      const target = testDirectory(t, name)
      if (target === undefined) return
      const { summary } = await write(target, records, { reflink })
      const { reasons, ...kib } = expected[reflink]
      for (const [clone, kept] of Object.entries(kib)) {
        t.equal(sharedBytes(join(target, 'a'), join(target, clone)), kept * KIB, `${reflink} ${clone}`)
      }
      t.ok(fs.readFileSync(join(target, 'large')).equals(bytes.subarray(16 * KIB, 32 * KIB)))
      t.ok(fs.readFileSync(join(target, 'small')).equals(bytes.subarray(0, 12 * KIB)))
      t.same(summary.copyReasons, reasons)
    }
  }
})

t.test('references that no archive of a block size could hold', async t => {
  for (const name of ['btrfs', 'xfs', 'xfs-16k', 'tmpfs'] as const) {
    const target = testDirectory(t, name)
    if (target === undefined) return
    const bytes = noise(200 * KIB + 77)
    const small = noise(100, 'small')
    const at = (start: number, length: number) => bytes.subarray(start, start + length)
    const space = Buffer.concat([bytes, small])
    const shared = (start: number, length: number) => reference(start, length, 'shared')
    const cases: [string, ArchiveRecord[], Uint8Array][] = [
      ['a', [data(bytes)], bytes],
      ['b', [data(small)], small],
      ['one byte', [shared(5000, 1)], at(5000, 1)],
      ['odd', [shared(4095, 50_001)], at(4095, 50_001)],
      ['tail', [shared(4096, bytes.byteLength - 4096)], at(4096, bytes.byteLength - 4096)],
      ['across files', [shared(200 * KIB, 177)], space.subarray(200 * KIB)],
      [
        'tail in the middle',
        [shared(192 * KIB, 8 * KIB + 77), data(small), shared(0, 16 * KIB)],
        Buffer.concat([at(192 * KIB, 8 * KIB + 77), small, at(0, 16 * KIB)]),
      ],
      [
        'tail, then a hole',
        [shared(0, bytes.byteLength), { kind: 'hole', length: 100_000, preallocated: false }],
        Buffer.concat([bytes, Buffer.alloc(100_000)]),
      ],
      [
        'hole, then a tail',
        [{ kind: 'hole', length: 64 * KIB, preallocated: false }, shared(128 * KIB, 72 * KIB + 77)],
        Buffer.concat([Buffer.alloc(64 * KIB), at(128 * KIB, 72 * KIB + 77)]),
      ],
      ['twice', [shared(0, bytes.byteLength), shared(0, bytes.byteLength)], Buffer.concat([bytes, bytes])],
    ]
    await write(
      target,
      cases.flatMap(([title, extents]) => file(title, ...extents)),
    )
    for (const [title, , expected] of cases) {
      t.ok(fs.readFileSync(join(target, title)).equals(expected), `${name}: ${title}`)
    }
  }
})

t.test('references of a file to itself', async t => {
  const bytes = noise(64 * KIB)
  for (const name of ['btrfs', 'xfs', 'ext4'] as const) {
    const target = testDirectory(t, name)
    if (target === undefined) return
    const self = [
      data(bytes),
      reference(0, 64 * KIB, 'shared'),
      data(noise(16 * KIB, 'more')),
      reference(32 * KIB, 48 * KIB, 'shared'),
    ]
    await write(target, file('self', ...self))
    const all = Buffer.concat([
      bytes,
      bytes,
      noise(16 * KIB, 'more'),
      bytes.subarray(32 * KIB),
      noise(16 * KIB, 'more'),
    ])
    t.ok(fs.readFileSync(join(target, 'self')).equals(all), name)
    if (name === 'ext4') continue
    const [first] = fiemap(join(target, 'self'))
    const again = fiemap(join(target, 'self')).find(row => row.logical === 64 * KIB)
    t.equal(again?.physical, first?.physical)
  }
})

t.test('holes, reserved space and what is missing', async t => {
  for (const name of ['btrfs', 'xfs', 'ext4', 'tmpfs'] as const) {
    const target = testDirectory(t, name)
    if (target === undefined) return
    const hole = (length: number, preallocated = false): ArchiveRecord => ({
      kind: 'hole',
      length,
      preallocated,
    })
    const made = await write(target, [
      ...file('hole', hole(MIB + 1)),
      ...file('reserved', hole(256 * KIB, true)),
      ...file('end', data(noise(4096)), hole(2 ** 33)),
      ...file('missing', data(noise(4096)), { kind: 'missing', length: 8192, errno: 5 }, data(noise(10))),
      entry('changed', 'file'),
      data(noise(5)),
      { kind: 'end', state: 'changed' },
    ])
    t.equal(fs.statSync(join(target, 'hole')).size, MIB + 1)
    t.equal(fs.statSync(join(target, 'hole')).blocks, 0)
    t.equal(fs.statSync(join(target, 'reserved')).size, 256 * KIB)
    t.equal(fs.statSync(join(target, 'reserved')).blocks, 512, 'has its space')
    if (name !== 'tmpfs') t.ok((fiemap(join(target, 'reserved'))[0]?.flags ?? 0) & FIEMAP_EXTENT_UNWRITTEN)
    t.equal(fs.statSync(join(target, 'end')).size, 4096 + 2 ** 33)
    const fd = fs.openSync(join(target, 'missing'), 'r')
    t.same(dataRanges(fd, 12298), [
      { start: 0, end: 4096 },
      { start: 12288, end: 12298 },
    ])
    fs.closeSync(fd)
    t.same(made.problems, ['SYSTEM_CALL missing', 'SOURCE_CHANGED changed'])
    t.equal(made.summary.missingBytes, 8192)
    t.equal(made.summary.problems, 2)
    t.equal(made.summary.holeBytes, MIB + 1 + 256 * KIB + 2 ** 33)
  }
})

t.test('metadata that was not captured', async t => {
  const target = testDirectory(t, 'btrfs')
  if (target === undefined) return
  const first = ordinal + 1
  await write(target, [
    entry('d', 'directory'),
    entry('f', 'file', {}, { parent: first }),
    { kind: 'end', state: 'whole' },
    entry('p', 'fifo', {}, { parent: first }),
    entry(
      'm',
      'file',
      { mode: 0o600, modified: { seconds: -5, nanoseconds: 999_999_999 } },
      { parent: first },
    ),
    { kind: 'end', state: 'whole' },
  ])
  const mode = (name: string) => fs.lstatSync(join(target, name)).mode & 0o7777
  t.equal(mode('d'), 0o755)
  t.equal(mode('d/f'), 0o644)
  t.equal(mode('d/p'), 0o644)
  t.equal(mode('d/m'), 0o600)
  t.equal(fs.statSync(join(target, 'd/m'), { bigint: true }).mtimeNs, -4_000_000_001n)
})

t.test('owners go by name where there is one', { skip: isRoot ? false : 'needs root' }, async t => {
  const target = testDirectory(t, 'btrfs')
  if (target === undefined) return
  const nobody = Buffer.from('nobody')
  const nogroup = Buffer.from('no such group at all')
  const cases: [string, Metadata['owner'], number, number][] = [
    ['named', { uid: 12, gid: 13, user: nobody, group: nogroup }, 65534, 13],
    ['numbered', { uid: 12, gid: 13 }, 12, 13],
    ['root', { uid: 5, gid: 5, user: Buffer.from('root'), group: Buffer.from('root') }, 0, 0],
    ['unknown', { uid: 14, gid: 15, user: Buffer.from('no such user at all') }, 14, 15],
  ]
  const records = cases.flatMap(([name, owner]): ArchiveRecord[] => [
    entry(name, 'file', { ...(owner && { owner }), mode: 0o4755 }),
    { kind: 'end', state: 'whole' },
    entry(`${name}-link`, 'symlink', { ...(owner && { owner }), linkTarget: Buffer.from('x') }),
  ])
  await write(target, records)
  for (const [name, , uid, gid] of cases) {
    for (const path of [name, `${name}-link`]) {
      const stat = fs.lstatSync(join(target, path))
      t.same([stat.uid, stat.gid], [uid, gid], path)
    }
    t.equal(fs.statSync(join(target, name)).mode & 0o7777, 0o4755)
  }
})

t.test('records that no parser has checked', async t => {
  const target = testDirectory(t, 'btrfs')
  if (target === undefined) return
  const end: ArchiveRecord = { kind: 'end', state: 'whole' }
  const cases: [string, ArchiveRecord[]][] = [
    ['BAD_STRUCTURE', [data(noise(1))]],
    ['BAD_STRUCTURE', [end]],
    ['BAD_STRUCTURE', [entry('a', 'file')]],
    ['BAD_STRUCTURE', [entry('a', 'file'), entry('b', 'file'), end]],
    ['BAD_STRUCTURE', [...file('a', data(noise(1))), entry('h', 'hardlink', { linkTo: ordinal })]],
    ['BAD_STRUCTURE', [entry('h', 'hardlink')]],
    ['BAD_STRUCTURE', [entry('l', 'symlink')]],
    ['BAD_STRUCTURE', [entry('c', 'characterDevice')]],
    ['BAD_STRUCTURE', [entry('b', 'blockDevice')]],
    ['BAD_STRUCTURE', [...file('a', data(noise(1))), end]],
    ['BAD_STRUCTURE', [entry('d', 'directory'), end]],
    ['DANGLING_REFERENCE', file('a', reference(0, 1, 'shared'))],
    ['DANGLING_REFERENCE', file('a', data(noise(9)), reference(0, 10, 'shared'))],
    ['BAD_STRUCTURE', [entry('a', 'fifo', {}, { parent: 999_999 })]],
  ]
  const descriptors = await settledDescriptors()
  for (const [code, records] of cases) {
    t.equal((await failure(write(target, records))).code, code)
    t.same(fs.readdirSync(target), [])
  }
  for (const name of ['..', '.', '', 'a/b', 'a\0b', '../x', join(target, 'absolute')]) {
    const link = { linkTarget: Buffer.from('x') }
    const below = (parent: number) => entry(name, 'symlink', link, { parent })
    for (const records of [
      file(name, data(noise(9))),
      [entry(name, 'symlink', link)],
      [entry(name, 'directory')],
      [entry('d', 'directory'), below(ordinal)],
    ]) {
      t.equal((await failure(write(target, records))).code, 'UNSAFE_NAME', JSON.stringify(name))
      t.same(fs.readdirSync(target), [])
    }
  }
  t.equal(await descriptorsAfter(descriptors), descriptors)
})

const tracing = {
  skip: isRoot && fs.existsSync('/usr/bin/strace') ? false : 'needs root and strace',
} as const

t.test('clones that the kernel refuses, as strace has it', tracing, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  const shared = fill(source)
  const archiveFile = join(directory, 'archive')
  // Without the flags of inodes, every ioctl is a clone.
  const records = (await decoded((await archive(['.'], { directory: source })).bytes)).map(withoutFlags)
  fs.writeFileSync(archiveFile, await encode({ blockSize: 4096, sorted: true, payloadDigest: true }, records))
  const script = `
    const { createReadStream, mkdirSync } = await import('node:fs')
    const { createInterface } = await import('node:readline')
    const { pipeline } = await import('node:stream/promises')
    const { extract } = await import('./src/extract.ts')
    console.log('{}')
    for await (const target of createInterface({ input: process.stdin })) {
      mkdirSync(target)
      const sink = extract(target)
      const closed = new Promise(resolve => sink.once('close', resolve))
      const result = await pipeline(createReadStream(${JSON.stringify(archiveFile)}), sink).then(
        () => sink.summary.target.copyReasons,
        error => ({ code: error.code, errno: error.errno }),
      )
      await closed
      console.log(JSON.stringify(result))
    }`
  const [command, ...args] = moduleCommand(script)
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => JSON.parse((await lines.next()).value ?? 'null') as unknown
  t.teardown(() => child.kill())
  t.same(await next(), {})

  const extractWith = async (name: string, when = '1+') => {
    const target = join(directory, `${name} ${when}`)
    const inject = `inject=ioctl:error=${name}:when=${when}`
    const options = ['-f', '-o', '/dev/null', '-e', 'trace=ioctl', '-e', inject, '-p', String(child.pid)]
    const strace = spawn('strace', options, { stdio: ['ignore', 'ignore', 'pipe'] })
    await once(strace.stderr, 'data')
    child.stdin.write(`${target}\n`)
    const result = await next()
    strace.kill('SIGINT')
    await once(strace, 'close')
    return { target, result }
  }
  for (const name of ['EXDEV', 'EINVAL', 'EPERM', 'ETXTBSY', 'EOPNOTSUPP', 'ENOTTY'] as const) {
    const { target, result } = await extractWith(name)
    t.same(result, { [name]: shared }, name)
    t.same(compareTrees(source, target), [])
    t.equal(sharedBytes(join(target, 'a'), join(target, 'b')), 0)
  }
  const second = await extractWith('EPERM', '2')
  t.equal(Object.keys(second.result as object).join(), 'EPERM', 'only one refused')
  t.same(compareTrees(source, second.target), [])
  t.ok(sharedBytes(join(second.target, 'a'), join(second.target, 'b')) > 0)
  for (const name of ['EIO', 'ENOSPC', 'EDQUOT', 'EFBIG'] as const) {
    for (const when of ['1', '3']) {
      const { target, result } = await extractWith(name, when)
      t.same(result, { code: 'SYSTEM_CALL', errno: constants.errno[name] }, name)
      t.same(fs.readdirSync(target), [], 'nothing is published')
    }
  }
})

function withoutFlags(record: ArchiveRecord): ArchiveRecord {
  if (record.kind !== 'entry') return record
  const { flags, project, ...metadata } = record.metadata
  return { ...record, metadata }
}

const everywhere: FilesystemName[] = ['btrfs', 'btrfs-zstd', 'xfs', 'xfs-1k', 'xfs-16k', 'ext4', 'tmpfs']

t.test('one archive, everywhere', async t => {
  const directory = testDirectory(t, 'xfs-1k')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  fill(source)
  const { bytes } = await archive(['.'], { directory: source })
  for (const name of everywhere) {
    const target = testDirectory(t, name)
    if (target === undefined) return
    const descriptors = await settledDescriptors()
    await restore(bytes, target)
    t.equal(await descriptorsAfter(descriptors), descriptors)
    t.same(compareTrees(source, target), [], name)
  }
})
