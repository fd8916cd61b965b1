import { spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { treeRecords } from '../src/fs/tree-records.js'
import { emptyTreeSummary, type TreeSummary } from '../src/fs/tree-request.js'
import type { ArchiveRecord } from '../src/record.js'
import { drive, type Items, type Steps } from '../src/steps.js'
import { treeSource } from '../src/stream/tree-source.js'
import { compareTrees } from './support/compare-trees.js'
import { cloneRange, fiemap } from './support/fiemap.js'
import { testDirectory } from './support/filesystems.js'
import { mapped } from './support/mapped.js'
import {
  archive,
  KIB,
  MIB,
  noise,
  overwrite,
  problems,
  reflink,
  replay,
  restore,
  sourceAndTarget,
  sparse,
} from './support/trees.js'

process.umask(0o022)

/** The walk itself, which goes on only when it is asked for the next record. */
function walk(directory: string): {
  records: Steps<ArchiveRecord>
  summary: TreeSummary
  told: string[]
} {
  const told: string[] = []
  const summary = emptyTreeSummary()
  const records = treeRecords([Buffer.from('.')], {
    directory: Buffer.from(directory),
    shared: true,
    paranoid: false,
    numericOwner: false,
    oneFileSystem: false,
    snapshot: false,
    exclusion: { patterns: [], vcsIgnores: false, caches: false },
    isSkipped: () => false,
    summary,
    onEntry: () => undefined,
    onNote: () => undefined,
    onProblem: (code, path) => told.push(`${code} ${Buffer.from(path)}`),
  })()
  return { records, summary, told }
}

/** All records; `act` runs once, when the first record is out for which `when` holds. */
async function taken(
  records: Items<ArchiveRecord> | AsyncIterable<ArchiveRecord>,
  when: (record: ArchiveRecord, entry: string) => boolean,
  act: () => void,
): Promise<ArchiveRecord[]> {
  const all: ArchiveRecord[] = []
  let entry = ''
  let hasActed = false
  await drive(records, record => {
    if (record.kind === 'entry') entry = Buffer.from(record.name).toString()
    all.push(record)
    if (hasActed || !when(record, entry)) return
    hasActed = true
    act()
  })
  if (!hasActed) throw new Error('the moment never came')
  return all
}

t.test('a file changes between two looks at its map', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  const [base, many] = [join(source, 'base'), join(source, 'many')]
  const blocks = 9000
  const block = 4 * KIB
  const content = noise(blocks * block)
  fs.writeFileSync(base, content)
  fs.writeFileSync(many, '')
  for (let i = 0; i < blocks; i++) cloneRange(base, (blocks - 1 - i) * block, block, many, i * block)
  const expected = fs.readFileSync(many)
  const { records, told, summary } = walk(source)
  const newest = noise(block, 'newest')
  const all = await taken(
    records,
    ({ kind }, entry) => kind === 'reference' && entry === 'many',
    () => overwrite(many, (blocks - 1) * block, newest),
  )
  newest.copy(expected, (blocks - 1) * block)
  t.same(told, ['SOURCE_CHANGED many'])
  t.ok(summary.sharedBytes > 0 && summary.sharedBytes < blocks * block, 'what is looked at later is read')
  t.ok(replay(all).get('many')?.bytes.equals(expected), 'with what was there when it was')
})

const SIZE = 512 * KIB + 50
const moments = ['entry', 'data', 'end'] as const
const later = noise(SIZE, 'later')

const changes: Record<string, (a: string) => void> = {
  'is rewritten': a => fs.writeFileSync(a, later),
  'is rewritten in place': a => overwrite(a, 0, later),
  'is rewritten in one block': a => overwrite(a, 64 * KIB, later.subarray(0, 4 * KIB)),
  'is rewritten, with its old modification time': a => {
    const { mtime } = fs.statSync(a)
    overwrite(a, 0, later)
    fs.utimesSync(a, mtime, mtime)
  },
  'is truncated': a => fs.truncateSync(a, 100 * KIB),
  'is emptied': a => fs.truncateSync(a, 0),
  grows: a => fs.appendFileSync(a, later),
  'is replaced': a => {
    fs.writeFileSync(`${a}.new`, later)
    fs.renameSync(`${a}.new`, a)
  },
  'is replaced by a directory': a => {
    fs.rmSync(a)
    fs.mkdirSync(a)
  },
  'is replaced by a symbolic link': a => {
    fs.rmSync(a)
    fs.symlinkSync('b', a)
  },
  'is deleted': a => fs.rmSync(a),
  'is stored into through memory': a => {
    const memory = mapped(a)
    for (let at = 0; at < SIZE; at += 4096) memory.store(at + 7, 0x55)
    memory.close()
  },
  'shares other storage': a => {
    fs.writeFileSync(`${a}.other`, later)
    cloneRange(`${a}.other`, 0, 256 * KIB, a, 0)
    fs.rmSync(`${a}.other`)
  },
}

for (const name of ['btrfs', 'xfs'] as const) {
  for (const [what, change] of Object.entries(changes)) {
    t.test(`${name}: the first of two clones ${what}`, async t => {
      for (const moment of moments) {
        const directory = testDirectory(t, name)
        if (directory === undefined) return
        const { source } = sourceAndTarget(directory)
        const original = noise(SIZE, what)
        const [a, b] = [join(source, 'a'), join(source, 'b')]
        fs.writeFileSync(a, original)
        reflink(a, b)
        const { records, told } = walk(source)
        const files = replay(
          await taken(
            records,
            (record, entry) => entry === 'a' && record.kind === moment,
            () => change(a),
          ),
        )
        t.ok(files.get('b')?.bytes.equals(original), `after its ${moment}: bytes of the second`)
        t.equal(files.get('b')?.state, 'whole')
        const first = files.get('a')
        t.equal(first?.state, moment === 'end' ? 'whole' : 'changed')
        if (moment === 'end') t.ok(first?.bytes.equals(original), 'bytes of the first')
        t.same(told, moment === 'end' ? [] : ['SOURCE_CHANGED a'])
      }
    })
  }

  t.test(`${name}: the first of two clones is mapped and dirty all the time`, async t => {
    for (const moment of moments) {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source } = sourceAndTarget(directory)
      const original = noise(SIZE)
      const [a, b] = [join(source, 'a'), join(source, 'b')]
      fs.writeFileSync(a, original)
      reflink(a, b)
      const memory = mapped(a)
      for (let at = 0; at < 128 * KIB; at += 4096) memory.store(at, 1)
      const before = Buffer.from(original)
      for (let at = 0; at < 128 * KIB; at += 4096) before[at] = 1
      const { records } = walk(source)
      const files = replay(
        await taken(
          records,
          (record, entry) => entry === 'a' && record.kind === moment,
          () => {
            for (let at = 0; at < 512 * KIB; at += 4096) memory.store(at + 1, 2)
          },
        ),
      )
      memory.close()
      const first = files.get('a')
      t.ok(files.get('b')?.bytes.equals(original), `after its ${moment}: bytes of the second`)
      t.ok(first?.state === 'changed' || first?.bytes.equals(before))
    }
  })

  t.test(`${name}: the second of two clones changes`, async t => {
    for (const what of ['is rewritten in place', 'is stored into through memory', 'is truncated', 'grows']) {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source } = sourceAndTarget(directory)
      const original = noise(SIZE)
      const [a, b] = [join(source, 'a'), join(source, 'b')]
      fs.writeFileSync(a, original)
      reflink(a, b)
      const { records, told } = walk(source)
      const files = replay(
        await taken(
          records,
          (record, entry) => entry === 'b' && record.kind === 'entry',
          () => changes[what]?.(b),
        ),
      )
      t.equal(files.get('b')?.state, 'changed', what)
      t.ok(files.get('a')?.bytes.equals(original))
      t.same(told, ['SOURCE_CHANGED b'])
    }
  })

  t.test(`${name}: storage that gets other owners`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source } = sourceAndTarget(directory)
    const [a, b, c] = [join(source, 'a'), join(source, 'b'), join(source, 'c')]
    fs.writeFileSync(a, noise(SIZE))
    reflink(a, join(directory, 'outside'))
    fs.writeFileSync(b, '')
    fs.writeFileSync(c, '')
    const before = fiemap(a)[0]?.physical
    const { records } = walk(source)
    const files = replay(
      await taken(
        records,
        (record, entry) => entry === 'a' && record.kind === 'end',
        () => {
          fs.rmSync(a)
          fs.rmSync(join(directory, 'outside'))
          fs.writeFileSync(a, '')
          const fd = fs.openSync(source, 'r')
          fs.fsyncSync(fd)
          fs.closeSync(fd)
          fs.writeFileSync(b, later)
          fs.rmSync(c)
          reflink(b, c)
        },
      ),
    )
    t.comment(`${fiemap(b)[0]?.physical === before ? 'the same' : 'another'} address`)
    t.ok(files.get('b')?.bytes.equals(later))
    t.ok(files.get('c')?.bytes.equals(later))
  })

  t.test(`${name}: writers at work all the time`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    const original = noise(2 * MIB + 1)
    for (let i = 0; i < 8; i += 2) {
      const busy = join(source, `${i}-busy`)
      fs.writeFileSync(busy, original)
      reflink(busy, join(source, `${i + 1}-calm`))
    }
    const script = `
      import mmap, os, random, sys, time
      files = [os.path.join(sys.argv[1], str(i) + '-busy') for i in range(0, 8, 2)]
      until = time.time() + 20
      while time.time() < until:
          path = random.choice(files)
          with open(path, 'r+b') as f:
              what = random.randrange(3)
              if what == 0:
                  os.pwrite(f.fileno(), random.randbytes(5000), random.randrange(2000000))
              elif what == 1:
                  m = mmap.mmap(f.fileno(), 2000000)
                  for i in range(20): m[random.randrange(2000000)] = random.randrange(256)
              else:
                  os.ftruncate(f.fileno(), 2000000)
                  os.ftruncate(f.fileno(), 2097153)
    `.replaceAll('\n      ', '\n')
    const child = spawn('python3', ['-c', script, source], { stdio: 'ignore' })
    try {
      for (let round = 0; round < 6; round++) {
        const { bytes } = await archive(['.'], { directory: source })
        const out = join(target, String(round))
        fs.mkdirSync(out)
        await restore(bytes, out)
        for (let i = 1; i < 8; i += 2) {
          t.ok(fs.readFileSync(join(out, `${i}-calm`)).equals(original), `round ${round}, file ${i}`)
        }
      }
      t.equal(child.exitCode, null, 'the writers were at work')
    } finally {
      child.kill()
    }
  })
}

t.test('a file that shrinks while it is read', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  for (const size of [0, 1, 3 * MIB, 3 * MIB + 5, 8 * MIB - 1]) {
    const { source } = sourceAndTarget(fs.mkdtempSync(join(directory, 'x')))
    const original = noise(8 * MIB)
    const file = join(source, 'f')
    fs.writeFileSync(file, original)
    const { records, told, summary } = walk(source)
    const shrink = () => fs.truncateSync(file, size)
    const archived = replay(await taken(records, record => record.kind === 'data', shrink)).get('f')
    t.equal(archived?.state, 'changed')
    const length = archived?.bytes.byteLength ?? 0
    t.ok(length >= size && length <= 8 * MIB, `${length} bytes`)
    t.ok(archived?.bytes.equals(original.subarray(0, length)), 'nothing is invented')
    t.same(told, ['SOURCE_CHANGED f'])
    t.equal(summary.changed, 1)
  }
})

t.test('a file with holes that shrinks while it is read', async t => {
  for (const name of ['btrfs', 'xfs', 'tmpfs'] as const) {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source } = sourceAndTarget(directory)
    const file = join(source, 'f')
    for (const size of [0, 64 * KIB, 100 * KIB]) {
      sparse(file, 4 * MIB, [0, noise(64 * KIB)])
      const { records } = walk(source)
      const shrink = () => fs.truncateSync(file, size)
      const archived = replay(await taken(records, record => record.kind === 'data', shrink)).get('f')
      t.equal(archived?.state, 'changed')
      t.equal(archived?.bytes.byteLength, Math.max(64 * KIB, size), `${name}, ${size}`)
    }
  }
})

t.test('a file that grows while it is read', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  const original = noise(4 * MIB + 9)
  fs.writeFileSync(join(source, 'f'), original)
  const { records, told } = walk(source)
  const grow = () => fs.appendFileSync(join(source, 'f'), later)
  const archived = replay(await taken(records, record => record.kind === 'data', grow)).get('f')
  t.equal(archived?.state, 'changed')
  t.ok(archived?.bytes.equals(original))
  t.same(told, ['SOURCE_CHANGED f'])
})

t.test('names that come and go', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  const inside = (name: string) => join(source, name)
  for (const name of ['a', 'gone', 'tolink', 'z']) fs.writeFileSync(inside(name), name)
  for (const name of ['d1', 'd2', 'd3']) {
    fs.mkdirSync(inside(name))
    fs.writeFileSync(inside(`${name}/in-${name}`), name)
  }
  fs.mkdirSync(join(directory, 'elsewhere'))
  fs.writeFileSync(join(directory, 'elsewhere/secret'), 'secret')
  const { records, told } = walk(source)
  const all: ArchiveRecord[] = []
  await drive(records, record => {
    all.push(record)
    if (record.kind !== 'entry') return
    const name = Buffer.from(record.name).toString()
    if (name === 'a') {
      fs.rmSync(inside('gone'))
      fs.rmSync(inside('tolink'))
      fs.symlinkSync('a', inside('tolink'))
    } else if (/^d[123]$/.test(name)) {
      fs.renameSync(inside(name), join(directory, name))
      if (name === 'd1') fs.symlinkSync('../elsewhere', inside(name))
      if (name === 'd2') fs.mkdirSync(inside(name))
    }
  })
  const entries = all.flatMap(record => (record.kind === 'entry' ? Buffer.from(record.name).toString() : []))
  const opened = ['d1', 'd2', 'd3'].flatMap(name => [name, `in-${name}`])
  t.same(entries, ['', 'a', ...opened, 'tolink', 'z'], 'directories are those that were opened')
  t.same(told, ['SOURCE_SKIPPED gone'])
})

t.test('through the public stream', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  const original = noise(MIB)
  fs.writeFileSync(join(source, 'a'), original)
  fs.writeFileSync(join(source, 'm'), noise(12 * MIB, 'm'))
  reflink(join(source, 'a'), join(source, 'z'))
  const events: string[] = []
  const records = treeSource(['.'], {
    directory: source,
    onEvent: event => events.push(...problems([event])),
  })
  const change = () => overwrite(join(source, 'a'), 0, later)
  const files = replay(await taken(records, record => record.kind === 'end', change))
  t.ok(files.get('a')?.bytes.equals(original))
  t.ok(files.get('z')?.bytes.equals(original))
  t.equal(records.summary.sharedBytes, 0)
  t.same(events, [])

  const { bytes, summary } = await archive(['.'], { directory: source })
  t.equal(summary.tree.sharedBytes, MIB - Math.ceil(SIZE / 4096) * 4096, 'next time they share again')
  await restore(bytes, target)
  t.same(compareTrees(source, target), [])
})

t.test('sharing is found after a file became a directory', async t => {
  for (const name of ['btrfs', 'xfs'] as const) {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source } = sourceAndTarget(directory)
    fs.writeFileSync(join(source, 'a'), noise(MIB))
    for (const clone of ['b', 'c', 'd']) reflink(join(source, 'a'), join(source, clone))
    const { records, summary } = walk(source)
    const isEnd = (record: ArchiveRecord, entry: string) => entry === 'a' && record.kind === 'end'
    await taken(records, isEnd, () => changes['is replaced by a directory']?.(join(source, 'a')))
    t.equal(summary.bytesRead, 2 * MIB, 'a, and b for all others')
  }
})
