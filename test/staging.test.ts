import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import type { ReftarEvent } from '../src/event.js'
import { extract } from '../src/extract.js'
import type { ArchiveRecord } from '../src/record.js'
import { reflinkWriter, type WriteOptions } from '../src/stream/reflink-writer.js'
import { until } from './cli/run.js'
import { FS_IMMUTABLE_FL, setFlags } from './support/attributes.js'
import { compareTrees } from './support/compare-trees.js'
import { testDirectory } from './support/filesystems.js'
import {
  archive,
  BECOME_NOBODY,
  decoded,
  descriptorsAfter,
  ended,
  failure,
  KIB,
  MIB,
  moduleCommand,
  namesBelow,
  noise,
  notes,
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
const asOther = { skip: isRoot ? false : 'needs root to become another user' } as const

/** A tree in which every way to stage something occurs. */
function fill(source: string): void {
  const inside = (name: string) => join(source, name)
  fs.mkdirSync(inside('dir/deep/deeper'), { recursive: true })
  fs.mkdirSync(inside('merged/both'), { recursive: true })
  fs.writeFileSync(inside('a'), noise(300 * KIB))
  for (const name of ['b', 'dir/c', 'dir/deep/d', 'merged/e', 'merged/both/f']) {
    reflink(inside('a'), inside(name))
  }
  overwrite(inside('dir/c'), 64 * KIB, noise(8 * KIB, 'c'))
  fs.writeFileSync(inside('dir/deep/deeper/small'), 'small')
  fs.linkSync(inside('a'), inside('dir/hard'))
  fs.symlinkSync('dir', inside('link'))
  execFileSync('mkfifo', [inside('fifo')])
  fs.chmodSync(inside('dir/deep'), 0o555)
}

/** What was in the target before: two directories of the tree, and a stranger. */
function prepare(target: string): void {
  fs.mkdirSync(join(target, 'merged/both'), { recursive: true })
  fs.writeFileSync(join(target, 'merged/stranger'), 'here before')
}

/** A picture of a tree to compare it with later. */
function picture(directory: string): string {
  const format = '%P %y %m %U %G %s %T@ %l\\n'
  const shown = execFileSync('find', [
    directory,
    '-type',
    'd',
    '-printf',
    '%P %y %m %U\\n',
    '-o',
    '-printf',
    format,
  ])
  return shown.toString('latin1').split('\n').sort().join('\n')
}

async function write(
  records: Iterable<ArchiveRecord> | AsyncIterable<ArchiveRecord>,
  target: string,
  options: WriteOptions = {},
): Promise<void> {
  await run(Readable.from(records), reflinkWriter(target, options))
}

for (const name of ['btrfs', 'xfs', 'ext4'] as const) {
  t.test(`a stream that dies at any record, on ${name}`, async t => {
    const sourceDirectory = testDirectory(t, 'btrfs')
    const directory = testDirectory(t, name)
    if (sourceDirectory === undefined || directory === undefined) return
    const { source, target } = sourceAndTarget(sourceDirectory, directory)
    fill(source)
    prepare(target)
    const { bytes } = await archive(['.'], { directory: source })
    const records = await decoded(bytes)
    const before = picture(target)
    await write([], target)
    const descriptors = await settledDescriptors()
    t.ok(records.length > 30)
    for (let count = 0; count <= records.length; count++) {
      // By an error of the source, and by a destroy from outside.
      if (count % 2 === 0) {
        const source = function* () {
          yield* records.slice(0, count)
          throw new Error('the source died')
        }
        await t.rejects(run(Readable.from(source()), reflinkWriter(target)), /the source died/)
      } else {
        const sink = reflinkWriter(target)
        const closed = new Promise(resolve => sink.once('close', resolve))
        sink.on('error', () => undefined)
        for (const record of records.slice(0, count)) sink.write(record as unknown as string)
        await new Promise(resolve => setImmediate(resolve))
        sink.destroy(new Error('enough'))
        await closed
      }
      if (picture(target) !== before) t.fail(`after ${count} records: ${namesBelow(target)}`)
    }
    t.equal(picture(target), before)
    t.equal(await descriptorsAfter(descriptors), descriptors)
    await restore(bytes, target)
    fs.rmSync(join(target, 'merged/stranger'))
    t.same(
      compareTrees(source, target).filter(line => !line.startsWith('merged')),
      [],
      'and then it works',
    )
    t.same(
      namesBelow(target).filter(path => path.includes('.reftar-')),
      [],
    )
    t.equal(await descriptorsAfter(descriptors), descriptors)
  })
}

t.test('an archive that is cut or damaged anywhere', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fill(source)
  prepare(target)
  const { bytes } = await archive(['.'], { directory: source })
  const before = picture(target)
  const step = Math.ceil(bytes.byteLength / 25)
  for (let at = 0; at < bytes.byteLength; at += step) {
    const cut = await failure(restore(bytes.subarray(0, at), target))
    t.ok(['TRUNCATED', 'BAD_MAGIC'].includes(cut.code), `cut at ${at}: ${cut.code}`)
    const damaged = Buffer.from(bytes)
    damaged[at] = (damaged[at] ?? 0) ^ 0x10
    await failure(restore(damaged, target))
    if (picture(target) !== before) t.fail(`${at}: ${namesBelow(target)}`)
  }
  const last = await failure(restore(bytes.subarray(0, -1), target))
  t.equal(last.code, 'TRUNCATED')
  t.equal((await failure(restore(Buffer.concat([bytes, Buffer.from('x')]), target))).code, 'TRAILING_DATA')
  t.equal(picture(target), before)
})

t.test('existing directories are merged, and stay as they are', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fill(source)
  prepare(target)
  fs.chmodSync(target, 0o711)
  fs.chmodSync(source, 0o750)
  fs.chmodSync(join(target, 'merged'), 0o700)
  if (isRoot) fs.chownSync(join(target, 'merged'), 77, 78)
  const { bytes } = await archive(['.'], { directory: source })
  const { events } = await restore(bytes, target)
  t.same(problems(events), [])
  t.equal(fs.statSync(target).mode & 0o7777, 0o711)
  const merged = fs.statSync(join(target, 'merged'))
  t.equal(merged.mode & 0o7777, 0o700)
  if (isRoot) t.same([merged.uid, merged.gid], [77, 78])
  t.equal(fs.readFileSync(join(target, 'merged/stranger'), 'utf8'), 'here before')
  t.same(namesBelow(join(target, 'merged')), ['both', 'both/f', 'e', 'stranger'])
  t.equal(fs.statSync(join(target, 'dir/deep')).mode & 0o7777, 0o555)

  const again = await failure(restore(bytes, target))
  t.equal(again.code, 'TARGET_EXISTS', 'once more is refused')
})

t.test('existing names are refused', async t => {
  const kinds: Record<string, (path: string) => void> = {
    file: path => fs.writeFileSync(path, 'mine'),
    directory: path => fs.mkdirSync(path),
    'symbolic link': path => fs.symlinkSync('/', path),
    'dangling link': path => fs.symlinkSync('nowhere', path),
    fifo: path => execFileSync('mkfifo', [path]),
  }
  for (const [kind, make] of Object.entries(kinds)) {
    for (const name of ['b', 'dir', 'link', 'merged/e', 'merged/both/f', 'fifo']) {
      if (kind === 'directory' && name === 'dir') continue
      const directory = testDirectory(t, 'btrfs')
      if (directory === undefined) return
      const { source, target } = sourceAndTarget(directory)
      fill(source)
      prepare(target)
      make(join(target, name))
      const before = picture(target)
      const { bytes } = await archive(['.'], { directory: source })
      const error = await failure(restore(bytes, target))
      t.equal(error.code, 'TARGET_EXISTS', `${kind} ${name}`)
      t.equal(Buffer.from(error.path ?? []).toString(), name)
      t.equal(picture(target), before)
    }
  }
})

t.test('a symbolic link in the place of a directory is not followed', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.mkdirSync(join(source, 'dir'))
  fs.writeFileSync(join(source, 'dir/f'), 'f')
  fs.mkdirSync(join(directory, 'outside'))
  const { bytes } = await archive(['dir/f'], { directory: source })
  for (const to of [join(directory, 'outside'), '../outside', '.']) {
    fs.symlinkSync(to, join(target, 'dir'))
    t.equal((await failure(restore(bytes, target))).code, 'TARGET_EXISTS')
    t.same(fs.readdirSync(target), ['dir'])
    fs.rmSync(join(target, 'dir'))
  }
  t.same(fs.readdirSync(join(directory, 'outside')), [])

  fs.symlinkSync('outside', join(directory, 'through'))
  await restore(bytes, join(directory, 'through'))
  t.equal(fs.readFileSync(join(directory, 'outside/dir/f'), 'utf8'), 'f', 'the target itself may be a link')
})

t.test('a name that turns up in the meantime', async t => {
  for (const taken of ['a', 'dir', 'link', 'merged/both/f', 'merged/e', 'fifo']) {
    const directory = testDirectory(t, 'xfs')
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    fill(source)
    prepare(target)
    const records = await decoded((await archive(['.'], { directory: source })).bytes)
    const before = picture(target)
    const feed = function* () {
      yield* records
      fs.writeFileSync(join(target, taken), 'somebody else')
    }
    const error = await failure(write(feed(), target))
    t.equal(error.code, 'TARGET_EXISTS', taken)
    t.equal(fs.readFileSync(join(target, taken), 'utf8'), 'somebody else')
    fs.rmSync(join(target, taken))
    t.equal(picture(target), before, 'nothing was published')
  }
})

t.test('a target directory that is replaced in the meantime', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  for (let i = 0; i < 100; i++) {
    fs.mkdirSync(join(source, `d${i}`))
    fs.writeFileSync(join(source, `d${i}/f`), String(i))
    fs.mkdirSync(join(target, `d${i}`))
  }
  fs.mkdirSync(join(directory, 'outside'))
  const records = await decoded((await archive(['.'], { directory: source })).bytes)
  const feed = function* () {
    yield* records
    fs.renameSync(join(target, 'd0'), join(directory, 'moved'))
    fs.symlinkSync('../outside', join(target, 'd0'))
  }
  // So many directories cannot all be held open, so the first one is looked for by its name again.
  await failure(write(feed(), target))
  t.same(fs.readdirSync(join(directory, 'outside')), [])
  for (let i = 1; i < 100; i++) {
    const names = fs.readdirSync(join(target, `d${i}`)).filter(name => !name.startsWith('.reftar-'))
    if (names.length > 0) t.fail(`d${i} has ${names}`)
  }
})

t.test('a staging directory that was left over', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'a'), 'a')
  const { bytes } = await archive(['.'], { directory: source })
  const dead = join(target, '.reftar-999999999-1-1')
  const reused = join(target, `.reftar-${process.pid}-1-1`)
  const stat = fs.readFileSync(`/proc/${process.ppid}/stat`, 'latin1')
  const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  const alive = join(target, `.reftar-${process.ppid}-${start}-1`)
  for (const path of [dead, reused, alive, join(target, '.reftar-other')]) fs.mkdirSync(path)
  const { events } = await restore(bytes, target)
  t.equal(notes(events).length, 2)
  t.match(notes(events).join(), new RegExp(`999999999-1-1.*${process.pid}-1-1`, 's'))
  t.ok(fs.existsSync(dead))
  t.equal(fs.readFileSync(join(target, 'a'), 'utf8'), 'a')
})

t.test('a staging directory that cannot be removed is told', asOther, async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fill(source)
  const records = await decoded((await archive(['.'], { directory: source })).bytes)
  t.teardown(() => setFlags(target, 0))
  const feed = async function* () {
    yield* records
    await until(() => fs.readdirSync(target).length > 0)
    setFlags(target, FS_IMMUTABLE_FL)
  }
  const events: ReftarEvent[] = []
  const error = await failure(write(feed(), target, { onEvent: event => events.push(event) }))
  t.equal(error.code, 'SYSTEM_CALL')
  const [name, ...others] = fs.readdirSync(target)
  t.same(others, [])
  t.match(notes(events), [`'${name}' could not be removed: `])
  t.same(fs.readdirSync(join(target, name ?? '')), [], 'but what was in it')
})

t.test('an error of who is told of the last problems comes through, and all has its name', async t => {
  const target = testDirectory(t, 'tmpfs')
  if (target === undefined) return
  const metadata = { mode: 0o644, project: 7 }
  const entry = { kind: 'entry', parent: 0, linked: false, type: 'file', metadata } as const
  const records = ['a', 'b'].flatMap((name, i): ArchiveRecord[] => [
    { ...entry, ordinal: i + 1, name: Buffer.from(name) },
    { kind: 'end', state: 'whole' },
  ])
  const descriptors = await settledDescriptors()
  for (const keepPartial of [false, true]) {
    const onEvent: WriteOptions['onEvent'] = event => {
      if (event.type === 'problem') throw new TypeError(`cannot hear of ${Buffer.from(event.path)}`)
    }
    await t.rejects(write(records, target, { onEvent, keepPartial }), { message: 'cannot hear of a' })
    t.same(fs.readdirSync(target).sort(), ['a', 'b'])
    t.equal(await descriptorsAfter(descriptors), descriptors)
    for (const name of ['a', 'b']) fs.rmSync(join(target, name))
  }
})

t.test('a target that cannot be one', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  fs.writeFileSync(join(directory, 'f'), 'f')
  const { bytes } = await archive(['f'], { directory })
  const before = await settledDescriptors()
  for (const target of ['missing', 'f']) {
    const error = await failure(restore(bytes, join(directory, target)))
    t.equal(error.code, 'SYSTEM_CALL')
  }
  t.equal(await descriptorsAfter(before), before)
  t.equal((await failure(() => extract(directory, { reflink: 'maybe' as 'auto' }))).code, 'INVALID_ARGUMENT')
})

t.test('abort', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'a'), noise(8 * MIB))
  const { bytes } = await archive(['.'], { directory: source })
  const controller = new AbortController()
  const parts = function* () {
    for (let at = 0; at < bytes.byteLength; at += MIB) {
      if (at === 6 * MIB) controller.abort(new Error('that is enough'))
      yield Uint8Array.from(bytes.subarray(at, at + MIB))
    }
  }
  const sink = extract(target, { signal: controller.signal })
  const closed = new Promise(resolve => sink.once('close', resolve))
  await t.rejects(run(Readable.from(parts(), { objectMode: false }), sink), /that is enough/)
  await closed
  t.same(fs.readdirSync(target), [])
})

t.test('without privilege', asOther, async t => {
  for (const name of ['btrfs', 'xfs', 'tmpfs'] as const) {
    const directory = testDirectory(t, name)
    const sourceDirectory = testDirectory(t, 'btrfs')
    if (directory === undefined || sourceDirectory === undefined) return
    const { source, target } = sourceAndTarget(sourceDirectory, directory)
    const inside = (path: string) => join(source, path)
    fill(source)
    fs.mkdirSync(inside('closed/inner'), { recursive: true })
    fs.writeFileSync(inside('closed/f0'), noise(64 * KIB, 'f0'))
    for (const path of ['closed/f1', 'closed/inner/f2', 'zz']) reflink(inside('closed/f0'), inside(path))
    fs.writeFileSync(inside('setuid'), 'setuid')
    const modes: Record<string, number> = {
      'closed/f0': 0,
      'closed/f1': 0,
      'closed/inner/f2': 0o200,
      'closed/inner': 0o500,
      closed: 0,
      setuid: 0o6755,
      dir: 0o500,
    }
    for (const [path, mode] of Object.entries(modes)) fs.chmodSync(inside(path), mode)
    fs.chownSync(target, 65534, 65534)
    const file = join(sourceDirectory, 'archive')
    const { bytes } = await archive(['.'], { directory: source })
    fs.writeFileSync(file, bytes)
    fs.writeFileSync(`${file}-cut`, bytes.subarray(0, -200))
    const script = `
      const { createReadStream, readdirSync } = await import('node:fs')
      const { pipeline } = await import('node:stream/promises')
      const { extract } = await import('./src/extract.ts')
      ${BECOME_NOBODY}
      const [file, target] = ${JSON.stringify([file, target])}
      await pipeline(createReadStream(file + '-cut'), extract(target)).catch(error => console.log(error.code))
      console.log(readdirSync(target).length)
      const sink = extract(target)
      await pipeline(createReadStream(file), sink)
      console.log(JSON.stringify(sink.summary.target.copyReasons), readdirSync('/proc/self/fd').length < 40)`
    const { code, output } = await ended(...moduleCommand(script))
    t.equal(code, 0, output)
    const reasons = name === 'tmpfs' ? /^\{"(EOPNOTSUPP|ENOTTY)":\d+\} true$/ : /^\{\} true$/
    const [cut, left, summary] = output.trim().split('\n')
    t.equal(cut, 'TRUNCATED')
    t.equal(left, '0', 'a failure leaves nothing')
    t.match(summary, reasons)
    const differences = compareTrees(source, target).filter(line => !/: [ug]id: 0 != 65534$/.test(line))
    t.same(differences, ['setuid: permissions: 6755 != 755'])
    t.equal(fs.statSync(join(target, 'setuid')).uid, 65534)
  }
})

t.test('many files at once, then a failure', async t => {
  const directory = testDirectory(t, 'xfs')
  const other = testDirectory(t, 'tmpfs')
  if (directory === undefined || other === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'a'), noise(32 * KIB))
  for (let i = 0; i < 300; i++)
    fs.copyFileSync(join(source, 'a'), join(source, `b${i}`), fs.constants.COPYFILE_FICLONE)
  const { bytes } = await archive(['.'], { directory: source })
  const records = await decoded(bytes)
  const descriptors = await settledDescriptors()
  for (const to of [target, other]) {
    const before = fs.readdirSync(to)
    // The last reference reaches past what there is.
    const bad = records.map((record, i) => (i === records.length - 2 ? { ...record, address: 4096 } : record))
    t.equal((await failure(write(bad as ArchiveRecord[], to))).code, 'DANGLING_REFERENCE')
    t.same(fs.readdirSync(to), before)
    t.equal(await descriptorsAfter(descriptors), descriptors)
  }
  // Refused in the middle of the queue, with many targets that wait.
  t.equal((await failure(restore(bytes, other, { reflink: 'always' }))).code, 'CLONE_REFUSED')
  t.same(fs.readdirSync(other), [])
  t.equal(await descriptorsAfter(descriptors), descriptors)
})
