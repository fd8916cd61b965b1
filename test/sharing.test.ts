import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import { verify } from '../src/verify.js'
import { reserve } from './support/attributes.js'
import { compareTrees } from './support/compare-trees.js'
import {
  cloneRange,
  encodedExtents,
  FIEMAP_EXTENT_ENCODED,
  fiemap,
  regularFiles,
  sharedBytes,
  sharingKept,
  storage,
} from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import {
  archive,
  BECOME_NOBODY,
  checkRoundTrip,
  decoded,
  ended,
  KIB,
  MIB,
  moduleCommand,
  noise,
  overwrite,
  problems,
  references,
  reflink,
  restore,
  run,
  sourceAndTarget,
  sparse,
  text,
} from './support/trees.js'

process.umask(0o022)

const BLOCK = 4 * KIB

const blockSizes: [FilesystemName, number][] = [
  ['btrfs', 4096],
  ['xfs', 4096],
  ['xfs-1k', 1024],
  ['xfs-16k', 16384],
]

for (const [name, block] of blockSizes) {
  t.test(name, async t => {
    t.test('whole clones, with a tail', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source, target } = sourceAndTarget(directory)
      const size = 3 * MIB + 100
      fs.writeFileSync(join(source, 'a'), noise(size))
      for (const clone of ['b', 'c', 'd']) reflink(join(source, 'a'), join(source, clone))
      const { bytes, summary, restored } = await checkRoundTrip(t, source, target)
      t.equal(summary.tree.bytesRead, size)
      t.equal(summary.tree.sharedBytes, 3 * size)
      t.ok(bytes.byteLength < size + 64 * KIB, `archive of ${bytes.byteLength}`)
      t.equal(references(await decoded(bytes)).length, 3, 'one reference a clone')
      t.equal(restored.target.clonedBytes, 3 * size)
      t.same(restored.target.copyReasons, {})
      for (const clone of ['b', 'c', 'd']) {
        t.equal(sharedBytes(join(target, 'a'), join(target, clone)), size, 'the tail too')
      }
    })

    t.test('ranges at other offsets', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source, target } = sourceAndTarget(directory)
      const a = join(source, 'a')
      fs.writeFileSync(a, noise(128 * block))
      fs.writeFileSync(join(source, 'b'), '')
      cloneRange(a, 32 * block, 32 * block, join(source, 'b'), 3 * block)
      cloneRange(a, 48 * block, 32 * block, join(source, 'b'), 64 * block)
      fs.writeFileSync(join(source, 'c'), noise(16 * block, 'c'))
      cloneRange(a, 0, 8 * block, join(source, 'c'), 3 * block)
      fs.writeFileSync(join(source, 'd'), '')
      for (let i = 0; i < 32; i++) cloneRange(a, (31 - i) * block, block, join(source, 'd'), i * block)
      const { summary } = await checkRoundTrip(t, source, target)
      t.equal(
        summary.tree.bytesRead,
        storage(regularFiles(source).map(file => join(source, String(file)))).unique,
      )
      t.equal(summary.tree.bytesRead, (128 + 8) * block)
    })

    t.test('generations of clones, each with its changes', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source, target } = sourceAndTarget(directory)
      fs.writeFileSync(join(source, 'g00'), noise(64 * block))
      let unique = 64
      for (let i = 1; i <= 12; i++) {
        const file = join(source, `g${String(i).padStart(2, '0')}`)
        reflink(join(source, `g${String(i - 1).padStart(2, '0')}`), file)
        overwrite(file, ((i * 7) % 60) * block, noise(2 * block, i))
        unique += 2
      }
      // Older generations go, so what they shared is known only by the younger ones.
      fs.rmSync(join(source, 'g03'))
      const { summary } = await checkRoundTrip(t, source, target)
      const files = regularFiles(source).map(file => join(source, String(file)))
      t.equal(summary.tree.bytesRead, storage(files).unique)
      t.ok(summary.tree.bytesRead <= unique * block)
    })

    t.test('one file that shares with itself', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source, target } = sourceAndTarget(directory)
      const self = join(source, 'self')
      fs.writeFileSync(self, noise(32 * block))
      cloneRange(self, 0, 32 * block, self, 32 * block)
      cloneRange(self, 4 * block, 8 * block, self, 72 * block)
      const halves = join(source, 'halves')
      const swapped = join(source, 'swapped')
      fs.writeFileSync(halves, noise(32 * block, 'halves'))
      fs.writeFileSync(swapped, '')
      cloneRange(halves, 16 * block, 16 * block, swapped, 0)
      cloneRange(halves, 0, 16 * block, swapped, 16 * block)
      const { summary, restored } = await checkRoundTrip(t, source, target)
      t.equal(summary.tree.bytesRead, 64 * block)
      t.same(restored.target.copyReasons, {})
    })

    t.test('holes among shared data', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source, target } = sourceAndTarget(directory)
      const data = (seed: string) => noise(8 * block, seed)
      sparse(join(source, 'a'), 100 * block, [8 * block, data('1')], [40 * block, data('2')])
      reflink(join(source, 'a'), join(source, 'b'))
      sparse(join(source, 'c'), 100 * block + 7, [0, data('3')], [92 * block + 7, data('4')])
      reflink(join(source, 'c'), join(source, 'd'))
      overwrite(join(source, 'd'), 60 * block, data('5'))
      const { summary } = await checkRoundTrip(t, source, target)
      t.equal(
        summary.tree.bytesRead,
        storage(regularFiles(source).map(file => join(source, String(file)))).unique,
      )
    })

    t.test('reserved space past the end', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source, target } = sourceAndTarget(directory)
      const a = join(source, 'a')
      fs.writeFileSync(a, noise(10 * block + 9))
      execFileSync('fallocate', ['--keep-size', '-o', String(16 * block), '-l', String(64 * block), a])
      reflink(a, join(source, 'b'))
      execFileSync('fallocate', ['--keep-size', '-l', String(90 * block), join(source, 'b')])
      fs.writeFileSync(join(source, 'reserved'), '')
      execFileSync('fallocate', ['-l', String(8 * block), join(source, 'reserved')])
      reflink(join(source, 'reserved'), join(source, 'reserved2'))
      const { summary } = await checkRoundTrip(t, source, target)
      t.equal(summary.tree.bytesRead, storage([a, join(source, 'b')]).unique)
      t.equal(summary.tree.holeBytes, 16 * block)
    })
  })
}

t.test('extents that are one row of the map', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  const b = join(source, 'b')
  fs.writeFileSync(join(source, 'a'), noise(128 * KIB))
  fs.writeFileSync(b, '')
  cloneRange(join(source, 'a'), 0, 64 * KIB, b, 0)
  cloneRange(join(source, 'a'), 64 * KIB, 64 * KIB, b, 64 * KIB)
  t.equal(fiemap(b).length, 1, 'two extents, one row')
  overwrite(join(source, 'a'), 60 * KIB, noise(4 * KIB, 'new'))
  const { summary } = await checkRoundTrip(t, source, target)
  t.equal(summary.tree.bytesRead, 132 * KIB)
})

t.test('many rows', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'a'), noise(8 * MIB))
  reflink(join(source, 'a'), join(source, 'b'))
  for (let at = 0; at < 8 * MIB; at += 8 * KIB) overwrite(join(source, 'b'), at, noise(4 * KIB, at))
  const { summary } = await checkRoundTrip(t, source, target)
  t.equal(summary.tree.bytesRead, 12 * MIB)
})

for (const name of ['btrfs', 'xfs'] as const) {
  t.test(`more extents than are looked at at a time, on ${name}`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    const [base, many] = [join(source, 'base'), join(source, 'many')]
    const [own, others] = [1000, 9000]
    fs.writeFileSync(base, noise(others * BLOCK))
    fs.writeFileSync(many, noise(own * BLOCK, 'own'))
    for (let i = 0; i < others; i++)
      cloneRange(base, (others - 1 - i) * BLOCK, BLOCK, many, (own + i) * BLOCK)
    // Behind a hole, in another part of the map than what they share with.
    const last = own + others + 10
    for (let i = 0; i < own; i++) cloneRange(many, (own - 1 - i) * BLOCK, BLOCK, many, (last + i) * BLOCK)
    reserve(many, (last + own) * BLOCK, 16 * BLOCK)
    t.ok(fiemap(many).length > 9000, 'extents do not follow each other')
    reflink(many, join(source, 'more'))
    overwrite(join(source, 'more'), 5 * BLOCK, noise(BLOCK, 'new'))
    overwrite(join(source, 'more'), (last + 5) * BLOCK, noise(BLOCK, 'newer'))
    const { bytes, summary } = await checkRoundTrip(t, source, target)
    t.equal(summary.tree.bytesRead, (own + others + 2) * BLOCK, 'each block is read once')
    const comparison = verify({ against: target })
    await run(Readable.from([bytes]), comparison)
    t.match(comparison.summary, { tree: { differences: 0, sharedBytes: summary.tree.sharedBytes } })
  })
}

t.test('what is shared is read once', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'a'), noise(4 * MIB + 10))
  for (let i = 0; i < 8; i++) reflink(join(source, 'a'), join(source, `b${i}`))
  await archive(['.'], { directory: source })
  const read = () => Number(/^rchar: (\d+)$/m.exec(fs.readFileSync('/proc/self/io', 'latin1'))?.[1])
  const before = read()
  const { summary } = await archive(['.'], { directory: source })
  const taken = read() - before
  t.equal(summary.tree.bytesRead, 4 * MIB + 10)
  t.ok(taken < 4 * MIB + 64 * KIB, `the kernel counted ${taken} bytes`)
})

t.test('subvolumes of one btrfs', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  const main = join(source, 'main')
  const btrfs = (...args: string[]) => execFileSync('btrfs', ['subvolume', ...args], { stdio: 'pipe' })
  btrfs('create', main)
  t.teardown(() => {
    for (const name of ['main', 'other', 'snapshot']) btrfs('delete', join(source, name))
  })
  fs.writeFileSync(join(main, 'a'), noise(MIB + 5))
  fs.mkdirSync(join(main, 'dir'))
  fs.writeFileSync(join(main, 'dir/b'), noise(64 * KIB, 'b'))
  btrfs('snapshot', '-r', main, join(source, 'snapshot'))
  btrfs('create', join(source, 'other'))
  reflink(join(main, 'a'), join(source, 'other/a'))
  overwrite(join(main, 'a'), 128 * KIB, noise(8 * KIB, 'new'))
  t.not(fs.statSync(main).dev, fs.statSync(join(source, 'snapshot')).dev)
  const { summary, restored } = await checkRoundTrip(t, source, target)
  t.equal(summary.tree.bytesRead, MIB + 5 + 72 * KIB)
  t.same(restored.target.copyReasons, {})
  const again = await archive(['main', 'snapshot/a'], { directory: source })
  t.equal(again.summary.tree.bytesRead, MIB + 5 + 72 * KIB)
})

t.test('a target with subvolumes in it', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.mkdirSync(join(source, 'sub'))
  fs.writeFileSync(join(source, 'a'), noise(MIB))
  reflink(join(source, 'a'), join(source, 'sub/b'))
  const sub = join(target, 'sub')
  execFileSync('btrfs', ['subvolume', 'create', sub], { stdio: 'pipe' })
  t.teardown(() => execFileSync('btrfs', ['subvolume', 'delete', sub], { stdio: 'pipe' }))
  const { bytes } = await archive(['.'], { directory: source })
  await restore(bytes, target)
  t.equal(sharedBytes(join(target, 'a'), join(sub, 'b')), MIB)
  t.same(fs.readdirSync(sub), ['b'])
})

t.test('bind mounts', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  for (const name of ['real', 'bound']) fs.mkdirSync(join(source, name))
  fs.writeFileSync(join(source, 'real/a'), noise(MIB))
  reflink(join(source, 'real/a'), join(source, 'real/b'))
  fs.linkSync(join(source, 'real/a'), join(source, 'real/link'))
  execFileSync('mount', ['--bind', join(source, 'real'), join(source, 'bound')])
  t.teardown(() => execFileSync('umount', [join(source, 'bound')]))
  const { bytes, summary } = await archive(['.'], { directory: source })
  await restore(bytes, target)
  t.equal(summary.tree.bytesRead, MIB)
  t.same(compareTrees(join(source, 'real'), join(target, 'real')), [])
  for (const name of ['real/b', 'bound/a', 'bound/b']) {
    t.equal(sharedBytes(join(target, 'real/a'), join(target, name)), MIB, name)
  }
})

t.test('clones stay clones among filesystems in one target', async t => {
  const xfs = testDirectory(t, 'xfs')
  const btrfs = testDirectory(t, 'btrfs')
  if (xfs === undefined || btrfs === undefined) return
  const { source, target } = sourceAndTarget(xfs)
  fs.mkdirSync(join(source, 'b'))
  fs.writeFileSync(join(source, 'a'), noise(MIB))
  for (const name of ['b/1', 'b/2', 'c', 'd']) reflink(join(source, 'a'), join(source, name))
  const { bytes } = await archive(['.'], { directory: source })
  const mounted = join(target, 'b')
  fs.mkdirSync(mounted)
  execFileSync('mount', ['--bind', btrfs, mounted])
  t.teardown(() => execFileSync('umount', [mounted]))
  const { summary } = await restore(bytes, target)
  for (const name of ['a', 'c', 'd', 'b/1', 'b/2']) {
    t.ok(fs.readFileSync(join(source, name)).equals(fs.readFileSync(join(target, name))), name)
  }
  t.equal(sharedBytes(join(target, 'a'), join(target, 'c')), MIB)
  t.equal(sharedBytes(join(target, 'a'), join(target, 'd')), MIB)
  t.same(summary.target.copyReasons, { EXDEV: 2 * MIB })
})

for (const name of ['btrfs', 'btrfs-zstd'] as const) {
  t.test(`compressed extents on ${name}`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    execFileSync('btrfs', ['property', 'set', source, 'compression', 'zstd'])
    execFileSync('btrfs', ['property', 'set', target, 'compression', 'zstd'])
    const file = (letter: string) => join(source, letter)
    fs.writeFileSync(file('a'), text(MIB + 1000))
    for (const empty of ['g', 'h', 'm', 's']) fs.writeFileSync(file(empty), '')
    cloneRange(file('a'), 0, 64 * KIB, file('g'), 0)
    cloneRange(file('a'), 64 * KIB, 64 * KIB, file('h'), 0)
    cloneRange(file('a'), 16 * KIB, 32 * KIB, file('m'), 0)
    cloneRange(file('a'), 64 * KIB, 64 * KIB, file('s'), 0)
    cloneRange(file('a'), 0, 64 * KIB, file('s'), 64 * KIB)
    reflink(file('a'), file('w'))
    overwrite(file('w'), 64 * KIB, noise(4 * KIB))
    execFileSync('sync', ['-f', source])
    const place = (path: string) => fiemap(path).map(({ physical }) => physical)[0]
    t.ok((fiemap(file('g'))[0]?.flags ?? 0) & FIEMAP_EXTENT_ENCODED)
    t.equal(place(file('g')), place(file('h')), 'different halves of one extent, at one address')

    const { bytes, summary } = await archive(['.'], { directory: source })
    const { summary: restored } = await restore(bytes, target)
    t.same(compareTrees(source, target), [])
    t.equal(summary.tree.bytesRead, MIB + 1000 + 4 * KIB)
    t.same(restored.target.copyReasons, {})
    const inA = new Set(encodedExtents(join(target, 'a')).map(({ physical }) => physical))
    t.ok(inA.size > 0)
    for (const name of ['g', 'h', 'm', 's', 'w']) {
      const strangers = encodedExtents(join(target, name)).filter(({ physical }) => !inA.has(physical))
      t.same(strangers, [], `${name} lies in the extents of a`)
    }
  })
}

t.test('compressed extents of one archive order that begins with a piece', async t => {
  const directory = testDirectory(t, 'btrfs-zstd')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  const whole = join(source, 'z')
  fs.writeFileSync(whole, text(256 * KIB))
  for (const [name, offset] of [
    ['a', 64 * KIB],
    ['b', 0],
    ['c', 200 * KIB],
  ] as const) {
    fs.writeFileSync(join(source, name), '')
    cloneRange(whole, offset, 32 * KIB, join(source, name), 0)
  }
  const { bytes, summary } = await archive(['.'], { directory: source })
  await restore(bytes, target)
  t.same(compareTrees(source, target), [])
  t.equal(summary.tree.bytesRead, 256 * KIB)
})

t.test('an unprivileged process that cannot look into compressed extents', async t => {
  const directory = testDirectory(t, 'btrfs-zstd')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  const a = join(source, 'a')
  fs.writeFileSync(a, text(128 * KIB))
  for (const name of ['g', 'h']) fs.writeFileSync(join(source, name), '')
  cloneRange(a, 0, 64 * KIB, join(source, 'g'), 0)
  cloneRange(a, 64 * KIB, 64 * KIB, join(source, 'h'), 0)
  const file = join(directory, 'archive')
  const script = `
    const { createWriteStream } = await import('node:fs')
    const { pipeline } = await import('node:stream/promises')
    const { create } = await import('./src/create.ts')
    const out = createWriteStream(${JSON.stringify(file)})
    ${BECOME_NOBODY}
    await pipeline(create(['.'], { directory: ${JSON.stringify(source)} }), out)`
  fs.writeFileSync(file, '', { mode: 0o666 })
  fs.chownSync(file, 65534, 65534)
  const { code, output } = await ended(...moduleCommand(script))
  t.equal(code, 0, output)
  await restore(fs.readFileSync(file), target)
  t.same(compareTrees(source, target), [])
})

t.test('paranoid', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'a'), noise(2 * MIB))
  reflink(join(source, 'a'), join(source, 'b'))
  const { summary, bytes, events } = await archive(['.'], { directory: source, paranoid: true })
  t.same(problems(events), [])
  t.equal(summary.tree.sharedBytes, 2 * MIB)
  t.equal(summary.tree.bytesRead, 6 * MIB, 'once, and both to compare')
  t.ok(bytes.byteLength < 2 * MIB + 64 * KIB)
})

for (const [from, to] of [
  ['btrfs', 'xfs'],
  ['xfs', 'btrfs'],
  ['xfs-1k', 'btrfs'],
  ['xfs-16k', 'xfs-1k'],
] as const) {
  t.test(`from ${from} to ${to}`, async t => {
    const sourceDirectory = testDirectory(t, from)
    const targetDirectory = testDirectory(t, to)
    if (sourceDirectory === undefined || targetDirectory === undefined) return
    const { source, target } = sourceAndTarget(sourceDirectory, targetDirectory)
    const a = join(source, 'a')
    fs.writeFileSync(a, noise(MIB + 777))
    reflink(a, join(source, 'b'))
    overwrite(join(source, 'b'), 256 * KIB, noise(16 * KIB, 'b'))
    fs.writeFileSync(join(source, 'c'), '')
    cloneRange(a, 512 * KIB, 128 * KIB, join(source, 'c'), 64 * KIB)
    const { restored } = await checkRoundTrip(t, source, target)
    t.same(restored.target.copyReasons, {})
  })
}

t.test('from blocks of 1 KiB to blocks of 4 KiB', async t => {
  const sourceDirectory = testDirectory(t, 'xfs-1k')
  const targetDirectory = testDirectory(t, 'xfs')
  if (sourceDirectory === undefined || targetDirectory === undefined) return
  const { source, target } = sourceAndTarget(sourceDirectory, targetDirectory)
  const a = join(source, 'a')
  fs.writeFileSync(a, noise(256 * KIB))
  fs.writeFileSync(join(source, 'b'), '')
  cloneRange(a, 5 * KIB, 100 * KIB, join(source, 'b'), 9 * KIB)
  fs.writeFileSync(join(source, 'c'), '')
  cloneRange(a, 5 * KIB, 100 * KIB, join(source, 'c'), 2 * KIB)
  const { bytes, summary } = await archive(['.'], { directory: source })
  t.equal(summary.tree.bytesRead, 256 * KIB)
  const { summary: restored } = await restore(bytes, target)
  t.same(compareTrees(source, target, { holes: false }), [])
  t.equal(sharedBytes(join(target, 'a'), join(target, 'b')), 96 * KIB, 'the aligned middle')
  t.equal(sharedBytes(join(target, 'a'), join(target, 'c')), 0, 'never aligned')
  t.same(restored.target.copyReasons, { 'not aligned': 104 * KIB })
  t.same(sharingKept(source, target, ['a', 'b']), { sourceShared: 100 * KIB, keptShared: 96 * KIB })
})
