// A second thread looks at small files ahead of the walk: what it finds out is what the walk would have, or is not used.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { create } from '../src/create.js'
import { ReftarError } from '../src/errors.js'
import { DirectoryTree } from '../src/fs/directory-tree.js'
import type { ExaminedFile, Look } from '../src/fs/examined-files.js'
import { ReadAhead } from '../src/fs/read-ahead.js'
import { Sharing } from '../src/fs/sharing.js'
import { Storages } from '../src/fs/storages.js'
import { emptyTreeSummary } from '../src/fs/tree-request.js'
import type { ArchiveRecord } from '../src/record.js'
import { treeSource } from '../src/stream/tree-source.js'
import { type Status, statFd } from '../src/sys/status.js'
import { fiemap } from './support/fiemap.js'
import { testDirectory } from './support/filesystems.js'
import {
  archive,
  noise,
  overwrite,
  problems,
  references,
  reflink,
  replay,
  restore,
  sourceAndTarget,
} from './support/trees.js'

const DIRECTORIES = 40
const FILES = 50

/** Small files of all kinds, and clones of half of them. */
function makeTree(source: string): void {
  for (let i = 0; i < DIRECTORIES; i++) {
    const directory = join(source, `d${i}`)
    fs.mkdirSync(directory)
    for (let j = 0; j < FILES; j++) {
      const file = join(directory, `f${String(j).padStart(2, '0')}`)
      if (j % 10 === 3) fs.linkSync(join(directory, 'f00'), file)
      else if (j % 10 === 4) fs.symlinkSync('f00', file)
      else if (j % 10 === 5) fs.writeFileSync(file, '', { mode: 0o640 })
      else if (j % 25 === 7) fs.writeFileSync(file, noise(100_000, `${i} ${j}`))
      else fs.writeFileSync(file, noise(1 + 150 * j, `${i} ${j}`), { mode: j % 2 ? 0o600 : 0o755 })
    }
    fs.mkdirSync(join(directory, 'f20-inside'))
    fs.writeFileSync(join(directory, 'f20-inside', 'file'), `${i}`)
  }
  for (let i = 0; i < DIRECTORIES / 2; i++) {
    const clones = join(source, `e${i}`)
    fs.mkdirSync(clones)
    for (let j = 10; j < FILES; j += 2) {
      const file = `f${j}`
      if (fs.lstatSync(join(source, `d${i}`, file)).isFile())
        reflink(join(source, `d${i}`, file), join(clones, file))
    }
  }
  // Nothing may have changed just now: such files are left to the walk.
  settle()
}

function settle(): void {
  rest(50)
}

/** For as many milliseconds, nothing happens in this thread. */
function rest(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

/** The walk alone: there is no thread where anything may be left out. */
const ALONE = { exclude: ['no such name'] }

function descriptors(): number {
  return fs.readdirSync('/proc/self/fd').length
}

async function madeBy(t: Test, options: object, directory: string) {
  const { bytes, events } = await archive(['.'], { directory, ...options })
  t.same(problems(events), [])
  return bytes
}

for (const name of ['btrfs', 'xfs'] as const) {
  t.test(`${name}: the same archive`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    makeTree(source)
    const before = descriptors()
    const alone = await madeBy(t, ALONE, source)
    const ahead = await madeBy(t, {}, source)
    t.ok(ahead.equals(alone), 'the same bytes')
    t.equal(descriptors(), before, 'nothing stays open')
    await restore(ahead, target)
    t.ok((await madeBy(t, ALONE, target)).byteLength === alone.byteLength, 'and the same tree again')
  })

  t.test(`${name}: a tree that changes while it is walked`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source } = sourceAndTarget(directory)
    makeTree(source)
    const seen = new Map<string, Buffer>()
    const told: string[] = []
    let path = ''
    let directoryName = ''
    let count = 0
    const records = treeSource(['.'], {
      directory: source,
      onEvent: event => told.push(...problems([event])),
    })
    for await (const record of records) {
      if (record.kind === 'entry') {
        const name = Buffer.from(record.name).toString()
        if (record.type === 'directory' && record.parent === 1) directoryName = name
        path = `${directoryName}/${name}`
        if (record.type !== 'file') continue
        seen.set(path, Buffer.alloc(0))
        if (++count !== 900) continue
        // What comes later: content that changes, names that come, and go, and move.
        fs.writeFileSync(join(source, 'd9/f10'), 'another content')
        fs.writeFileSync(join(source, 'd9/a-new-name'), 'new')
        fs.rmSync(join(source, 'd8/f12'))
        fs.renameSync(join(source, 'd9/f16'), join(source, 'd9/f16-renamed'))
        settle()
      } else if (record.kind === 'data') {
        seen.set(path, Buffer.concat([seen.get(path) ?? Buffer.alloc(0), record.bytes]))
      }
    }
    t.ok(count > 1000, `${count} files`)
    t.equal(seen.get('d9/f10')?.toString(), 'another content')
    t.equal(seen.get('d9/a-new-name')?.toString(), 'new')
    t.equal(seen.has('d8/f12'), false)
    t.equal(seen.has('d9/f16'), false)
    t.equal(seen.has('d9/f16-renamed'), true)
    t.same(told, [])
  })
}

t.test('whoever leaves early leaves nothing open', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  makeTree(source)
  const before = descriptors()
  for (const most of [600, 900, 1500]) {
    const records = treeSource(['.'], { directory: source })
    let files = 0
    for await (const record of records) if (record.kind === 'end' && ++files === most) break
    t.equal(files, most)
    t.equal(descriptors(), before, `after ${most} files`)
  }
  const stream = create(['.'], { directory: source })
  stream.destroy()
  await new Promise(resolve => stream.on('close', resolve))
  t.equal(descriptors(), before)
})

t.test('the thread is there, and tells what is true', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const files = 3000
  for (let i = 0; i < files; i++)
    fs.writeFileSync(join(directory, `f${String(i).padStart(4, '0')}`), `file ${i}`)
  settle()
  const tree = new DirectoryTree('SOURCE_CHANGED')
  const root = tree.root(Buffer.from(directory))
  const ahead = new ReadAhead()
  ahead.begin(() => fs.openSync(directory, 'r'))
  let known = 0
  for (let i = 0; i < files; i++) {
    const name = `f${String(i).padStart(4, '0')}`
    // Whoever walks has other work to do, too; and where the machine is busy, the thread has to get ahead again.
    if (i > 600) rest(1)
    const file = ahead.take(root, name)
    if (!file) {
      rest(1)
      continue
    }
    known++
    const { ino, size, mode } = fs.lstatSync(join(directory, name), { bigint: true })
    const { status } = file
    if (status.ino === ino && status.size === Number(size) && status.mode === Number(mode)) {
      if (Buffer.from(file.content ?? []).toString() === `file ${i}`) continue
    }
    t.fail(`${name} is another than what was told`)
  }
  await ahead.close()
  tree.close()
  t.ok(known > files / 10, `${known} of ${files}`)
})

t.test('where its directory cannot be opened, the walk does it alone', async t => {
  const tree = new DirectoryTree('SOURCE_CHANGED')
  const root = tree.root(Buffer.from('/'))
  const ahead = new ReadAhead()
  let asked = 0
  ahead.begin(() => {
    asked++
    throw new ReftarError('SYSTEM_CALL', 'too many open files', { errno: constants.errno.EMFILE })
  })
  const known = Array.from({ length: 1000 }, (_, i) => ahead.take(root, `${i}`)).filter(Boolean)
  t.same([known, asked], [[], 1])
  await ahead.close()
  tree.close()
})

/** Files in one directory, clones of all of them in the next. */
function makeClones(source: string, count: number): void {
  fs.mkdirSync(join(source, 'a'))
  for (let i = 0; i < count; i++) fs.writeFileSync(join(source, 'a', numbered(i)), noise(5000, i))
  execFileSync('cp', ['-r', '--reflink=always', join(source, 'a'), join(source, 'b')])
  execFileSync('sync', ['-f', source])
  settle()
}

function numbered(i: number): string {
  return `f${String(i).padStart(4, '0')}`
}

type LyingExtent = Look['shared'][number]

/** Where a file lies. More than one extent where btrfs began to write it back while it was being written. */
function extentsOf(path: string): LyingExtent[] {
  const { size } = fs.statSync(path)
  return joined(
    fiemap(path).map(({ logical, physical, length }) => {
      return { offset: logical, length: Math.min(length, size - logical), position: physical }
    }),
  )
}

/** Without the borders between what follows each other on disk, too: who tells of extents may have joined them. */
function joined(extents: readonly LyingExtent[]): LyingExtent[] {
  const runs: LyingExtent[] = []
  for (const { offset, length, position } of extents) {
    const last = runs.at(-1)
    const follows = last && offset - last.offset === last.length && position - last.position === last.length
    if (follows) runs[runs.length - 1] = { ...last, length: last.length + length }
    else runs.push({ offset, length, position })
  }
  return runs
}

for (const name of ['btrfs', 'xfs'] as const) {
  t.test(`${name}: the thread reads what is shared, and looks where earlier files lie`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    // Further than the thread goes ahead: when it comes to a clone, the walk has come by the first file.
    const files = 5000
    makeClones(directory, files)
    const tree = new DirectoryTree('SOURCE_CHANGED')
    const root = tree.root(Buffer.from(directory))
    const ahead = new ReadAhead()
    ahead.begin(() => fs.openSync(directory, 'r'))
    let read = 0
    let looked = 0
    for (const parent of ['a', 'b']) {
      const child = tree.child(root, Buffer.from(parent))
      for (let i = 0; i < files; i++) {
        if (i % 50 === 0) rest(20)
        const file = ahead.take(child, numbered(i))
        if (!file) {
          rest(1)
          continue
        }
        const what = `${parent}/${numbered(i)}`
        const extents = extentsOf(join(directory, what))
        const first = fs.statSync(join(directory, 'a', numbered(i)), { bigint: true })
        // Of clones of what was not sent, the thread knows nothing.
        const isAsExpected = file.content
          ? Buffer.compare(file.content, noise(5000, i)) === 0 && file.looks.length === 0
          : parent === 'b' && file.looks.every(({ status }) => status.ino === first.ino)
        if (!isAsExpected) t.fail(`${what} is another than what was told`)
        if (file.looks.some(({ shared }) => !isDeepStrictEqual(joined(shared), extents)))
          t.fail(`${what}: another place`)
        if (!isDeepStrictEqual(joined(file.shared), extents)) t.fail(`${what} lies elsewhere`)
        if (file.content) read++
        looked += file.looks.length
      }
    }
    await ahead.close()
    tree.close()
    t.ok(read > 100, `${read} were read`)
    t.ok(looked > 0, `${looked} looks`)
  })

  t.test(`${name}: earlier files that change before their clones come`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source } = sourceAndTarget(directory)
    const files = 3000
    makeClones(source, files)
    let count = 0
    const records: ArchiveRecord[] = []
    for await (const record of treeSource(['.'], { directory: source })) {
      records.push(record)
      if (record.kind !== 'end' || ++count !== 2900) continue
      // Other storage, or another file by that name, or none.
      for (let i = 0; i < files; i += 30) {
        overwrite(join(source, 'a', numbered(i)), 100, Buffer.from('changed'))
        fs.writeFileSync(join(source, 'new'), noise(5000, i))
        fs.renameSync(join(source, 'new'), join(source, 'a', numbered(i + 1)))
        fs.rmSync(join(source, 'a', numbered(i + 2)))
      }
      settle()
    }
    const restored = replay(records)
    const wrong = Array.from(
      { length: files },
      (_, i) => Buffer.compare(restored.get(numbered(i))?.bytes ?? Buffer.alloc(0), noise(5000, i)) !== 0,
    ).filter(Boolean).length
    t.equal(wrong, 0, 'all clones have what they had')
    t.ok(
      references(records).length >= files - files / 10,
      `${references(records).length} refer to earlier files`,
    )
  })
}

t.test('a look proves what it shows, and nothing else', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  makeClones(directory, 1)
  const tree = new DirectoryTree('SOURCE_CHANGED')
  const root = tree.root(Buffer.from(directory))
  const storages = new Storages()
  const sharing = new Sharing(tree, storages, { shared: true, paranoid: false, summary: emptyTreeSummary() })
  const examined = (parent: string): ExaminedFile => {
    const path = join(directory, parent, numbered(0))
    const fd = fs.openSync(path, 'r')
    const status = statFd(fd)
    storages.of(fd, status)
    fs.closeSync(fd)
    const [{ physical } = { physical: -1 }] = fiemap(path)
    const shared = [{ offset: 0, length: 5000, position: physical }]
    const now = Number(process.hrtime.bigint())
    const { ino, dev } = status
    return {
      index: 0,
      name: numbered(0),
      parent: { ino, dev },
      began: now,
      ended: now,
      status,
      extras: {},
      shared,
      looks: [],
      content: fs.readFileSync(path),
    }
  }
  const first = examined('a')
  const parent = tree.child(root, Buffer.from('a'))
  const data = sharing.first(first, parent, Buffer.from(numbered(0)), 4096)
  t.same([data?.bytes, data?.mayBeShared], [noise(5000, 0), true])
  const clone = examined('b')
  t.equal(sharing.first(clone, parent, Buffer.from(numbered(0)), 0), undefined, 'something lay there before')
  const expected = [{ kind: 'reference', address: 4096, length: 5000, origin: 'shared' }]
  const by = (status: Partial<Status>, shared: Look['shared']) =>
    sharing.references({ ...clone, looks: [{ status: { ...first.status, ...status }, shared }] })
  const [extent] = first.shared as [Look['shared'][number]]
  t.strictSame(by({}, [extent]), expected)
  t.strictSame(by({ ino: 1n }, []), expected, 'a look at something else says nothing')
  t.equal(by({}, []), undefined, 'it is not shared any more')
  t.equal(by({}, [{ ...extent, position: extent.position + 4096 }]), undefined, 'it has moved')
  t.equal(by({}, [{ ...extent, length: 4096 }]), undefined, 'a part of it has moved')
  t.equal(by({ size: 5001 }, [extent]), undefined, 'it has another size')
  const { seconds, nanoseconds } = first.status.changed
  t.equal(by({ changed: { seconds, nanoseconds: nanoseconds + 1 } }, [extent]), undefined, 'it was changed')
  t.equal(sharing.references({ ...clone, began: first.ended - 1 }), undefined, 'it was mapped before')
  sharing.close()
  tree.close()
  t.end()
})
