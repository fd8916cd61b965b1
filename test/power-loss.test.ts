// With --fsync, what was extracted, and an archive that was made, is there when the power fails right after; and when it fails before, no name has
// anything but a whole file. Without it, nothing is promised but what no name was given to yet.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { reflinkWriter } from '../src/stream/reflink-writer.js'
import { reftar, until } from './cli/run.js'
import { makeFaultTree, someOf } from './faults/cases.js'
import { compareTrees } from './support/compare-trees.js'
import { tracing } from './support/extractor.js'
import { regularFiles, sharingKept } from './support/fiemap.js'
import { testDirectory } from './support/filesystems.js'
import { killedAt, loggedCalls } from './support/injected.js'
import { type OwnFilesystem, ownFilesystem } from './support/own-filesystem.js'
import { archive, decoded, failure, KIB, MIB, namesBelow, noise, reflink, run } from './support/trees.js'

process.umask(0o022)
t.setTimeout(120_000)

const OLD = 'this was here before'
const REPLACED = ['small', 'merged/b', 'clone']

interface Scene {
  readonly own: OwnFilesystem
  readonly source: string
  readonly target: string
  readonly file: string
  readonly bytes: Buffer
}

async function scene(t: Test, type: 'xfs' | 'btrfs'): Promise<Scene | undefined> {
  const directory = testDirectory(t, type)
  if (directory === undefined) return undefined
  const source = join(directory, 'source')
  fs.mkdirSync(join(source, 'merged'), { recursive: true })
  makeFaultTree(source)
  fs.writeFileSync(join(source, 'merged/a'), noise(3 * MIB, 'large'))
  reflink(join(source, 'merged/a'), join(source, 'merged/b'))
  for (let i = 0; i < 30; i++) fs.writeFileSync(join(source, `directory/small${i}`), noise(3 * KIB, i))
  const { bytes } = await archive(['.'], { directory: source })
  const file = join(directory, 'archive')
  fs.writeFileSync(file, bytes)
  const own = ownFilesystem(t, type)
  return { own, source, target: join(own.mountPoint, 'target'), file, bytes }
}

/** A target that is on disk, with a stranger in it and files that are replaced. */
function prepare({ own, target }: Scene): void {
  fs.rmSync(target, { recursive: true, force: true })
  fs.mkdirSync(join(target, 'merged'), { recursive: true })
  for (const name of ['merged/stranger', ...REPLACED]) fs.writeFileSync(join(target, name), OLD)
  execFileSync('sync', ['--file-system', own.mountPoint])
}

/** What is on disk is all that is there from now on. */
const losePower = {
  xfs(own: OwnFilesystem, log: 'lost' | 'written' = 'lost'): void {
    own.shutDown(log)
    own.unmount()
    own.mount()
  },
  btrfs(own: OwnFilesystem): void {
    const copy = `${own.image}-copy`
    execFileSync('cp', ['--sparse=always', own.image, copy])
    own.unmount()
    fs.renameSync(copy, own.image)
    own.mount()
  },
}

function differences({ source, target }: Scene): string[] {
  return compareTrees(source, target).filter(line => !line.startsWith('merged/stranger: '))
}

function isOld(path: string): boolean {
  return fs.readFileSync(path, 'utf8') === OLD
}

function isNew(path: string): boolean {
  const status = fs.lstatSync(path, { throwIfNoEntry: false })
  return status !== undefined && !(status.isFile() && isOld(path))
}

/** What is under a final name, and neither what was there before nor what the archive has. */
function torn(scene: Scene): string[] {
  return differences(scene).filter(line => {
    const path = line.slice(0, line.indexOf(': '))
    const isFine =
      /(^|\/)\.reftar-/.test(path) ||
      /: (only in the first|hard link to: .*)$/.test(line) ||
      (REPLACED.includes(path) && isOld(join(scene.target, path))) ||
      // Directories get their metadata last.
      (/: (permissions|mtime): /.test(line) && fs.statSync(join(scene.target, path)).isDirectory())
    return !isFine
  })
}

for (const type of ['xfs', 'btrfs'] as const) {
  t.test(`${type}: the power fails right after an extraction`, tracing, async t => {
    const place = await scene(t, type)
    if (place === undefined) return
    const { own, source, target, file } = place
    const argv = ['extract', '-f', file, '-C', target, '--overwrite']

    prepare(place)
    t.equal((await reftar(argv)).code, 0)
    losePower[type](own)
    t.not(differences(place).length, 0, 'without --fsync not all of it is there: this is like a power loss')

    prepare(place)
    t.equal((await reftar([...argv, '--fsync'])).code, 0)
    losePower[type](own)
    t.same(differences(place), [], 'with --fsync all of it is there')
    t.equal(fs.readFileSync(join(target, 'merged/stranger'), 'utf8'), OLD)
    const { sourceShared, keptShared } = sharingKept(source, target, regularFiles(source))
    t.ok(sourceShared > 3 * MIB)
    t.equal(keptShared, sourceShared, 'and all its sharing')
  })
}

t.test('the power fails in the middle of an extraction', tracing, async t => {
  const place = await scene(t, 'xfs')
  if (place === undefined) return
  const { own, source, target, file } = place
  const argv = ['extract', '-f', file, '-C', target, '--overwrite', '--fsync']
  prepare(place)
  const calls = ['pwrite64', 'syncfs', 'renameat2', 'unlinkat', 'fchmod']
  const whole = await loggedCalls(join(file, '../log'), calls, argv)
  t.equal(whole.code, 0, whole.stderr)
  const names = namesBelow(source).filter(name => name !== 'merged')
  const published = new Map<string, number>()
  for (const call of calls) {
    const ours = whole.calls.filter(made => made.call === call && made.line.includes(own.mountPoint))
    t.ok(ours.length > 0, call)
    for (const nth of someOf(ours.length)) {
      const what = `at ${call} ${nth} of ${ours.length}`
      const { signal, stderr } = await killedAt(ours, nth, argv, () => prepare(place))
      t.equal(signal, 'SIGKILL', `${what} ${stderr}`)
      losePower.xfs(own, 'written')
      t.same(torn(place), [], `${what}: nothing is torn`)
      t.equal(fs.readFileSync(join(target, 'merged/stranger'), 'utf8'), OLD, what)
      const count = names.filter(name => isNew(join(target, name))).length
      const stage = count === 0 ? 'nothing' : count === names.length ? 'everything' : 'a part'
      published.set(stage, (published.get(stage) ?? 0) + 1)
      t.equal((await reftar(argv)).code, 0, `${what}: run again`)
      t.same(
        differences(place).filter(line => !/(^|\/)\.reftar-/.test(line)),
        [],
        `${what}: and all is there`,
      )
    }
  }
  t.equal(published.size, 3, `of all kinds: ${JSON.stringify([...published])}`)

  prepare(place)
  t.equal((await reftar(argv.slice(0, -1))).code, 0)
  losePower.xfs(own, 'written')
  t.not(torn(place).length, 0, 'without --fsync something is torn: this would have been seen')
})

t.test('the disk goes away under an extraction', tracing, async t => {
  const place = await scene(t, 'xfs')
  if (place === undefined) return
  const { own, target, bytes } = place
  prepare(place)
  const records = await decoded(bytes)
  const half = Math.floor(records.length / 2)
  const notes: string[] = []
  const feed = async function* () {
    yield* records.slice(0, half)
    await until(() => namesBelow(target).some(name => /reftar-.*\/small\d+$/.test(name)))
    own.shutDown('lost')
    yield* records.slice(half)
  }
  const onEvent = (event: { type: string; message?: string }) =>
    void (event.type === 'note' && notes.push(event.message ?? ''))
  const sink = reflinkWriter(target, { existing: 'overwrite', onEvent })
  const error = await failure(run(Readable.from(feed()), sink))
  t.match({ code: error.code, errno: error.errno }, { code: 'SYSTEM_CALL', errno: 5 })
  t.match(notes.join('\n'), /\.reftar-.* could not be removed: .*EIO/)
  own.unmount()
  own.mount()
  t.same(torn(place), [])
  t.same(
    REPLACED.filter(name => !isOld(join(target, name))),
    [],
    'all is as it was before',
  )
})

t.test('the power fails while an archive is replaced', tracing, async t => {
  const place = await scene(t, 'xfs')
  if (place === undefined) return
  const { own, source, bytes } = place
  const file = join(own.mountPoint, 'archive')
  const old = noise(5 * KIB, 'old')
  const argv = ['create', '-f', file, '-C', source, '.']
  const restoreOld = () => {
    fs.rmSync(file, { force: true })
    fs.writeFileSync(file, old)
    execFileSync('sync', ['--file-system', own.mountPoint])
  }

  restoreOld()
  // Where the end of an archive goes ahead of it, XFS writes it back early.
  t.equal((await reftar([...argv, '--no-zero-copy'])).code, 0)
  losePower.xfs(own, 'written')
  t.notOk(fs.readFileSync(file).equals(bytes), 'without --fsync it is torn: this would have been seen')

  restoreOld()
  t.equal((await reftar([...argv, '--fsync'])).code, 0)
  losePower.xfs(own)
  t.ok(fs.readFileSync(file).equals(bytes), 'with --fsync all of it is there')

  restoreOld()
  const calls = ['openat', 'pwrite64', 'ftruncate', 'fsync', 'rename']
  const whole = await loggedCalls(join(place.file, '../log'), calls, [...argv, '--fsync'])
  const found = { old: 0, new: 0 }
  for (const call of calls) {
    const ours = whole.calls.filter(made => made.call === call && made.line.includes(own.mountPoint))
    t.ok(ours.length > 0, call)
    for (const nth of someOf(ours.length)) {
      const what = `at ${call} ${nth} of ${ours.length}`
      const { signal, stderr } = await killedAt(ours, nth, [...argv, '--fsync'], restoreOld)
      t.equal(signal, 'SIGKILL', `${what} ${stderr}`)
      losePower.xfs(own, 'written')
      const is = fs.readFileSync(file)
      const state = is.equals(old) ? 'old' : is.equals(bytes) ? 'new' : undefined
      t.ok(state, `${what}: the old archive, or the new one whole`)
      if (state) found[state]++
    }
  }
  t.ok(found.old > 0 && found.new > 0, JSON.stringify(found))
})
