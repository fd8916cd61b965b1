import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { encode } from '../fixtures/recipes/encode.js'
import type { ExtractOptions } from '../src/extract.js'
import type { ArchiveRecord } from '../src/record.js'
import { reflinkWriter, type WriteOptions } from '../src/stream/reflink-writer.js'
import { CLI, type Ended, reftar } from './cli/run.js'
import {
  acl,
  FS_IMMUTABLE_FL,
  FS_NOATIME_FL,
  FS_NODUMP_FL,
  FS_PROJINHERIT_FL,
  flags,
  makeSubvolume,
  project,
  setFlags,
  setProject,
  setTime,
  setXattr,
  xattrs,
} from './support/attributes.js'
import { compareTrees } from './support/compare-trees.js'
import { sharedBytes } from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import { fifo, directory as hostileDirectory, unsorted } from './support/hostile.js'
import { extractAsNobody, NOBODY } from './support/nobody.js'
import {
  archive,
  decoded,
  ended,
  failure,
  KIB,
  MIB,
  moduleCommand,
  namesBelow,
  noise,
  notes,
  problems,
  reflink,
  restore,
  run,
  sourceAndTarget,
} from './support/trees.js'

process.umask(0o022)

const isRoot = process.getuid?.() === 0
const asRoot = { skip: isRoot ? false : 'needs root' } as const
const tracing = {
  skip: isRoot && fs.existsSync('/usr/bin/strace') ? false : 'needs root and strace',
} as const
const EVERYWHERE: readonly FilesystemName[] = ['btrfs', 'xfs', 'ext4', 'tmpfs']
const ON_DISK: readonly FilesystemName[] = ['btrfs', 'xfs', 'ext4']

const DEFAULT = 'system.posix_acl_default'
const DEFAULT_ACL = acl([
  { tag: 'owner', bits: 7 },
  { tag: 'user', bits: 5, id: 79 },
  { tag: 'group', bits: 5 },
  { tag: 'mask', bits: 5 },
  { tag: 'other', bits: 0 },
])

/** Three directories of one filesystem: one to archive, one to restore to, and one that nothing may touch. */
function places(t: Test, name: FilesystemName) {
  const directory = testDirectory(t, name)
  if (directory === undefined) return undefined
  const outside = join(directory, 'outside')
  fs.mkdirSync(outside)
  return { ...sourceAndTarget(directory), outside, directory }
}

function modeOf(path: string): number {
  return fs.lstatSync(path).mode & 0o7777
}

function ownerOf(path: string): [number, number] {
  const { uid, gid } = fs.lstatSync(path)
  return [uid, gid]
}

function hex(value: string | Uint8Array): string {
  return Buffer.from(value).toString('hex')
}

function mkfifo(path: string): void {
  execFileSync('mkfifo', [path])
}

/** All of a tree that a restore could have changed, by name: which inodes, what is in them, and their metadata. */
function picture(directory: string): Record<string, string> {
  const found: Record<string, string> = {}
  for (const name of namesBelow(directory)) found[name] = pictureOf(join(directory, name))
  return found
}

function pictureOf(path: string): string {
  const stat = fs.lstatSync(path, { bigint: true })
  const { ino, mode, nlink, uid, gid, mtimeNs, size } = stat
  const link = stat.isSymbolicLink() ? fs.readlinkSync(path) : ''
  const content = stat.isFile() ? fs.readFileSync(path).toString('base64') : link
  // The size and the time of a directory tell of what was in it for a while.
  const more = stat.isDirectory() ? [] : [nlink, mtimeNs, size, content]
  return [ino, mode.toString(8), uid, gid, ...more].join(' ')
}

function leftovers(directory: string): string[] {
  return namesBelow(directory).filter(name => name.includes('.reftar-'))
}

async function write(
  target: string,
  records: Iterable<ArchiveRecord> | AsyncIterable<ArchiveRecord>,
  options: WriteOptions = {},
): Promise<string[]> {
  const told: string[] = []
  const onEvent: WriteOptions['onEvent'] = event => told.push(...problems([event]))
  await run(Readable.from(records), reflinkWriter(target, { ...options, onEvent }))
  return told
}

/** Restores what must fail; returns the error, and what was told before. */
async function failing(bytes: Uint8Array, target: string, options: ExtractOptions) {
  return failure(restore(bytes, target, options))
}

const TYPES = ['directory', 'fifo', 'file', 'hard link', 'link'] as const
type Type = (typeof TYPES)[number]

/** What can be in the way, by what it is; `victim` and `directory` lie outside of the target. */
const OBSTACLES: Record<string, (path: string, outside: string) => void> = {
  'a dangling link': path => fs.symlinkSync('nowhere', path),
  'a fifo': path => mkfifo(path),
  'a file': path => fs.writeFileSync(path, 'was here before'),
  'a hard link': (path, outside) => fs.linkSync(join(outside, 'linked'), path),
  'a link to a directory': (path, outside) => fs.symlinkSync(join(outside, 'directory'), path),
  'a link to a file': (path, outside) => fs.symlinkSync(join(outside, 'victim'), path),
}

function make(source: string, type: Type, name: string): void {
  const path = join(source, name)
  if (type === 'directory') {
    fs.mkdirSync(path)
    fs.writeFileSync(join(path, 'inner'), 'inner')
  } else if (type === 'fifo') mkfifo(path)
  else if (type === 'file') fs.writeFileSync(path, noise(70_000, name))
  else if (type === 'link') fs.symlinkSync('anywhere', path)
  else fs.linkSync(join(source, 'first'), path)
}

/** Every type of entry, with every obstacle in its way, at the top and in a directory that is merged. */
function fillWithObstacles(source: string, target: string, outside: string): string[] {
  fs.writeFileSync(join(source, 'first'), noise(5000))
  fs.writeFileSync(join(outside, 'victim'), 'victim')
  fs.writeFileSync(join(outside, 'linked'), 'linked')
  fs.mkdirSync(join(outside, 'directory'))
  const names: string[] = []
  for (const prefix of ['', 'merged/']) {
    for (const at of [source, target]) if (prefix) fs.mkdirSync(join(at, prefix))
    for (const type of TYPES) {
      for (const [obstacle, put] of Object.entries(OBSTACLES)) {
        const name = `${prefix}${type} over ${obstacle}`
        make(source, type, name)
        put(join(target, name), outside)
        names.push(name)
      }
    }
  }
  return names.sort()
}

for (const name of EVERYWHERE) {
  t.test(`overwrite replaces whatever is in the way, and writes through nothing, on ${name}`, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target, outside } = at
    const names = fillWithObstacles(source, target, outside)
    const inodes = new Set(names.map(path => fs.lstatSync(join(target, path)).ino))
    const linked = fs.statSync(join(outside, 'linked'), { bigint: true })
    const before = picture(outside)
    const { bytes } = await archive(['.'], { directory: source })
    const { events } = await restore(bytes, target, { existing: 'overwrite' })
    t.same(problems(events), [])
    t.same(compareTrees(source, target), [])
    const untouched = names.filter(path => inodes.has(fs.lstatSync(join(target, path)).ino))
    t.same(untouched, [], 'they are new inodes')
    const after = fs.statSync(join(outside, 'linked'), { bigint: true })
    t.equal(linked.nlink, BigInt(1 + 2 * TYPES.length))
    t.equal(after.nlink, 1n, 'only its other names are gone')
    t.same([after.ino, after.mtimeNs, after.size], [linked.ino, linked.mtimeNs, linked.size])
    t.equal(fs.readFileSync(join(outside, 'linked'), 'utf8'), 'linked')
    const withoutLinked = ({ linked: _, ...rest }: Record<string, string>) => rest
    t.same(withoutLinked(picture(outside)), withoutLinked(before))
    t.same(leftovers(target), [])
  })

  t.test(`keep leaves whatever is in the way, and names it, on ${name}`, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target, outside } = at
    const names = fillWithObstacles(source, target, outside)
    const before = { ...picture(target), ...picture(outside) }
    make(source, 'file', 'new')
    const { bytes } = await archive(['.'], { directory: source })
    const { events } = await restore(bytes, target, { existing: 'keep' })
    t.same(
      problems(events).sort(),
      names.map(path => `TARGET_EXISTS ${path}`),
    )
    const { new: added, first, ...after } = { ...picture(target), ...picture(outside) }
    t.same(after, before)
    t.ok(added !== undefined && first !== undefined)
    t.ok(fs.readFileSync(join(target, 'new')).equals(fs.readFileSync(join(source, 'new'))))
    t.same(leftovers(target), [])
  })
}

t.test('refuse fails for whatever is in the way, and changes nothing', async t => {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target, outside } = at
  const names = fillWithObstacles(source, target, outside)
  const { bytes } = await archive(['.'], { directory: source })
  for (const [i, path] of names.entries()) {
    // One obstacle goes after the other, so that each is once the first in the way; some of each kind will do.
    if (i % 7 === 0) {
      const before = [picture(target), picture(outside)]
      const error = await failing(bytes, target, { existing: 'refuse' })
      t.equal(error.code, 'TARGET_EXISTS')
      t.equal(Buffer.from(error.path ?? []).toString(), path)
      t.same([picture(target), picture(outside)], before)
    }
    fs.rmSync(join(target, path))
  }
  await restore(bytes, target, { existing: 'refuse' })
  t.same(
    compareTrees(source, target).filter(line => !line.startsWith('merged: ')),
    [],
  )
})

t.test('a directory in the way of something else is never replaced', async t => {
  for (const type of ['fifo', 'file', 'hard link', 'link'] as const) {
    for (const content of [false, true]) {
      const at = places(t, 'xfs')
      if (at === undefined) return
      const { source, target } = at
      fs.writeFileSync(join(source, 'first'), 'first')
      make(source, type, 'x')
      fs.mkdirSync(join(target, 'x'))
      if (content) fs.writeFileSync(join(target, 'x/mine'), 'mine')
      const before = picture(target)
      const { bytes } = await archive(['.'], { directory: source })
      for (const existing of ['overwrite', 'refuse'] as const) {
        const error = await failing(bytes, target, { existing })
        t.equal(error.code, 'TARGET_EXISTS', `${type}: ${existing}`)
        t.equal(Buffer.from(error.path ?? []).toString(), 'x')
        t.same(picture(target), before)
      }
      const { events } = await restore(bytes, target, { existing: 'keep' })
      t.same(problems(events), ['TARGET_EXISTS x'])
      const { first, ...after } = picture(target)
      t.same(after, before)
      t.ok(first !== undefined, 'the rest is restored')
    }
  }
})

t.test('a directory that turns up in the meantime is not replaced either', async t => {
  const at = places(t, 'xfs')
  if (at === undefined) return
  const { source, target } = at
  for (const name of ['a', 'x', 'z']) fs.writeFileSync(join(source, name), name)
  fs.writeFileSync(join(target, 'a'), 'old')
  const before = picture(target)
  const records = await decoded((await archive(['.'], { directory: source })).bytes)
  const feed = async function* () {
    yield* records
    // Until all of them are staged.
    await setTimeout(100)
    fs.mkdirSync(join(target, 'x'))
  }
  const error = await failure(write(target, feed(), { existing: 'overwrite' }))
  t.equal(error.code, 'TARGET_EXISTS')
  fs.rmdirSync(join(target, 'x'))
  t.same(picture(target), before)
})

/** Gives a directory every attribute that it can have. */
function decorate(path: string, mode: number, seed: string): void {
  fs.chownSync(path, 21, 22)
  fs.chmodSync(path, mode)
  setXattr(path, 'user.comment', seed)
  setFlags(path, FS_NODUMP_FL)
  setTime(path, 1_000_000_000n, 5n)
}

for (const name of ON_DISK) {
  t.test(
    `overwrite sets the metadata of directories that exist, not of the target, on ${name}`,
    asRoot,
    async t => {
      const at = places(t, name)
      if (at === undefined) return
      const { source, target } = at
      for (const path of ['d', 'd/deep', 'plain']) {
        fs.mkdirSync(join(source, path))
        fs.mkdirSync(join(target, path))
      }
      fs.writeFileSync(join(source, 'd/deep/f'), 'f')
      for (const path of ['d/deep', 'd']) decorate(join(source, path), 0o3750, 'new')
      setXattr(join(source, 'd'), DEFAULT, DEFAULT_ACL)
      decorate(join(target, 'plain'), 0o700, 'old')
      setXattr(join(target, 'd/deep'), DEFAULT, DEFAULT_ACL)
      decorate(target, 0o2711, 'target')
      decorate(source, 0o700, 'source')
      const before = [modeOf(target), ownerOf(target), xattrs(target), flags(target)]
      const { bytes } = await archive(['.'], { directory: source })
      const { events } = await restore(bytes, target, { existing: 'overwrite' })
      t.same(problems(events), [])
      t.same([modeOf(target), ownerOf(target), xattrs(target), flags(target)], before, 'the target')
      t.same(xattrs(join(target, 'd')), { [DEFAULT]: hex(DEFAULT_ACL), 'user.comment': hex('new') })
      t.same(xattrs(join(target, 'd/deep')), { 'user.comment': hex('new') })
      for (const [path, wanted] of Object.entries({ d: FS_NODUMP_FL, 'd/deep': FS_NODUMP_FL, plain: 0 }))
        t.equal(flags(join(target, path)), wanted, path)
      t.same(compareTrees(source, target), [])
    },
  )

  t.test(`overwrite takes away what an existing directory had besides, on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    for (const place of [source, target]) fs.mkdirSync(join(place, 'd'))
    setXattr(join(target, 'd'), 'user.stale', 'stale')
    setXattr(join(target, 'd'), DEFAULT, DEFAULT_ACL)
    setFlags(join(target, 'd'), FS_NOATIME_FL)
    const { bytes } = await archive(['.'], { directory: source })
    const { events } = await restore(bytes, target, { existing: 'overwrite' })
    t.same(problems(events), [])
    t.equal(flags(join(target, 'd')), 0)
    t.same(xattrs(join(target, 'd')), {})
  })
}

t.test('overwrite leaves directories that are only implied as they are', asRoot, async t => {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  for (const place of [source, target]) fs.mkdirSync(join(place, 'd/deep'), { recursive: true })
  fs.writeFileSync(join(source, 'd/deep/f'), 'new')
  fs.writeFileSync(join(target, 'd/deep/f'), 'old')
  decorate(join(target, 'd/deep'), 0o700, 'old')
  decorate(join(target, 'd'), 0o710, 'old')
  const before = ['d', 'd/deep'].map(path => pictureOf(join(target, path)))
  const { bytes } = await archive(['d/deep/f'], { directory: source })
  await restore(bytes, target, { existing: 'overwrite' })
  t.same(
    ['d', 'd/deep'].map(path => pictureOf(join(target, path))),
    before,
  )
  t.same(xattrs(join(target, 'd')), { 'user.comment': hex('old') })
  t.equal(fs.readFileSync(join(target, 'd/deep/f'), 'utf8'), 'new')
})

for (const existing of ['refuse', 'keep'] as const) {
  t.test(`directories that exist are merged, and keep all that they have: ${existing}`, asRoot, async t => {
    const at = places(t, 'xfs')
    if (at === undefined) return
    const { source, target } = at
    for (const place of [source, target]) fs.mkdirSync(join(place, 'd/deep'), { recursive: true })
    fs.writeFileSync(join(source, 'd/deep/f'), 'f')
    fs.writeFileSync(join(target, 'd/stranger'), 'stranger')
    decorate(join(source, 'd'), 0o700, 'new')
    decorate(join(target, 'd/deep'), 0o2751, 'old')
    setProject(join(target, 'd/deep'), 42)
    fs.chownSync(join(target, 'd'), 77, 78)
    const before = picture(target)
    const { bytes } = await archive(['.'], { directory: source })
    const { events } = await restore(bytes, target, { existing })
    t.same(problems(events), [])
    const { 'd/deep/f': added, ...after } = picture(target)
    t.same(after, before)
    t.ok(added !== undefined)
    t.same(xattrs(join(target, 'd')), {})
    t.same(xattrs(join(target, 'd/deep')), { 'user.comment': hex('old') })
    t.same([project(join(target, 'd/deep')), flags(join(target, 'd/deep'))], [42, FS_NODUMP_FL])
  })
}

for (const name of EVERYWHERE) {
  t.test(`references to what was kept back come out right on ${name}`, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    const inside = (path: string) => join(source, path)
    fs.mkdirSync(inside('d'))
    fs.writeFileSync(inside('a'), noise(300 * KIB))
    fs.writeFileSync(inside('d/a'), noise(300 * KIB, 'd'))
    for (const path of ['a', 'd/a']) {
      fs.copyFileSync(inside(path), inside(`${path} clone`), fs.constants.COPYFILE_FICLONE)
      fs.writeFileSync(inside(`${path} equal`), fs.readFileSync(inside(path)))
      fs.linkSync(inside(path), inside(`${path} link`))
    }
    fs.writeFileSync(join(target, 'a'), 'mine')
    fs.writeFileSync(join(target, 'd'), 'a file in the way of a directory')
    fs.copyFileSync(inside('d/a'), inside('z'), fs.constants.COPYFILE_FICLONE)
    fs.linkSync(inside('d/a'), inside('y'))
    const { bytes } = await archive(['.'], { directory: source })
    const { events } = await restore(bytes, target, { existing: 'keep' })
    t.same(problems(events), ['TARGET_EXISTS a', 'TARGET_EXISTS d'])
    t.equal(fs.readFileSync(join(target, 'a'), 'utf8'), 'mine')
    t.equal(fs.readFileSync(join(target, 'd'), 'utf8'), 'a file in the way of a directory')
    t.same(namesBelow(target), ['a', 'a clone', 'a equal', 'a link', 'd', 'y', 'z'])
    for (const path of ['a clone', 'a equal', 'a link', 'y', 'z'])
      t.ok(fs.readFileSync(join(target, path)).equals(fs.readFileSync(inside(path))), path)
    if (name === 'btrfs' || name === 'xfs')
      t.equal(sharedBytes(join(target, 'a clone'), join(target, 'a equal')), 300 * KIB)
  })
}

t.test('what was kept back leaves nothing to be done', asRoot, async t => {
  for (const [type, last] of [
    ['file', 'x'],
    ['directory', 'x'],
    ['directory', 'x/inner'],
  ] as const) {
    const at = places(t, 'btrfs')
    if (at === undefined) return
    const { source, target } = at
    make(source, type, 'x')
    make(source, 'file', 'z')
    setFlags(join(source, last), FS_IMMUTABLE_FL)
    const { bytes } = await archive(['.'], { directory: source }).finally(() =>
      setFlags(join(source, last), 0),
    )
    fs.writeFileSync(join(target, 'x'), 'mine')
    const before = pictureOf(join(target, 'x'))
    const { events } = await restore(bytes, target, { existing: 'keep' })
    t.same(problems(events), ['TARGET_EXISTS x'])
    t.equal(pictureOf(join(target, 'x')), before)
    t.equal(flags(join(target, 'x')), 0)
    t.same(namesBelow(target), ['x', 'z'])
  }
})

for (const name of ON_DISK) {
  t.test(`when one name cannot be published, all that was there is back, on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target, outside } = at
    const names = fillWithObstacles(source, target, outside)
    for (const path of ['new', 'zz']) fs.writeFileSync(join(source, path), path)
    fs.mkdirSync(join(source, 'new dir/deep'), { recursive: true })
    fs.writeFileSync(join(target, 'zz'), 'cannot be replaced')
    setFlags(join(target, 'zz'), FS_IMMUTABLE_FL)
    try {
      const before = [picture(target), picture(outside)]
      const { bytes } = await archive(['.'], { directory: source })
      for (const keepPartial of [false, true]) {
        const error = await failing(bytes, target, { existing: 'overwrite', keepPartial })
        t.equal(error.code, 'SYSTEM_CALL')
        t.same([picture(target), picture(outside)], before)
        t.same(leftovers(target), [])
      }
      t.ok(names.length > 50)
    } finally {
      setFlags(join(target, 'zz'), 0)
    }
    const { bytes } = await archive(['.'], { directory: source })
    await restore(bytes, target, { existing: 'overwrite' })
    t.same(compareTrees(source, target), [], 'and then it works')
  })
}

t.test('overwrite in a tree of a project', asRoot, async t => {
  const at = places(t, 'xfs')
  if (at === undefined) return
  const { source, target } = at
  for (const place of [source, target]) {
    fs.mkdirSync(join(place, 'd'))
    for (const path of ['d/f', 'd/g']) fs.writeFileSync(join(place, path), place)
  }
  // One of them is of the project, the other one is not.
  setProject(join(target, 'd/g'), 42)
  setProject(join(target, 'd'), 42)
  setFlags(join(target, 'd'), FS_PROJINHERIT_FL)
  const { bytes } = await archive(['.'], { directory: source })
  const { events } = await restore(bytes, target, { existing: 'overwrite' })
  t.same(problems(events), [])
  t.same(compareTrees(source, target), [])
  for (const path of ['d', 'd/f', 'd/g']) t.equal(project(join(target, path)), 0, path)
})

/** A tree of whole files before and behind a large one, with clones and hard links. */
function fillForCuts(source: string): void {
  const inside = (path: string) => join(source, path)
  fs.mkdirSync(inside('d/deep'), { recursive: true })
  fs.writeFileSync(inside('a'), noise(100 * KIB))
  reflink(inside('a'), inside('b'))
  fs.linkSync(inside('a'), inside('d/a'))
  reflink(inside('a'), inside('d/deep/clone'))
  fs.linkSync(inside('d/deep/clone'), inside('d/link'))
  fs.symlinkSync('a', inside('d/symlink'))
  fs.writeFileSync(inside('e'), noise(12 * MIB, 'e'))
  fs.linkSync(inside('e'), inside('f'))
  fs.writeFileSync(inside('g'), noise(100, 'g'))
  for (const path of ['d/deep', 'd']) {
    fs.chmodSync(inside(path), 0o710)
    setTime(inside(path), 1_234_567_890n, 7n)
  }
}

for (const existing of ['refuse', 'overwrite', 'keep'] as const) {
  t.test(`an archive that is cut in a file keeps the whole entries before it: ${existing}`, async t => {
    const at = places(t, 'btrfs')
    if (at === undefined) return
    const { source, target } = at
    fillForCuts(source)
    if (existing !== 'refuse') fs.writeFileSync(join(target, 'e'), 'old')
    const { bytes } = await archive(['.'], { directory: source })
    const cut = bytes.subarray(0, bytes.byteLength - 2 * MIB)
    const before = picture(target)
    const { e: old } = before
    t.equal((await failing(cut, target, { existing })).code, 'TRUNCATED')
    t.same(picture(target), before, 'not asked for: nothing is kept')
    t.equal((await failing(cut, target, { existing, keepPartial: true })).code, 'TRUNCATED')
    for (const path of ['e', 'f', 'g'])
      t.equal(fs.existsSync(join(target, path)), path === 'e' && old !== undefined)
    if (old !== undefined) t.equal(pictureOf(join(target, 'e')), old, 'what was there is not replaced')
    t.same(
      compareTrees(source, target).filter(line => !/^[efg]: /.test(line)),
      [],
    )
    t.equal(sharedBytes(join(target, 'a'), join(target, 'b')), 100 * KIB)
    t.same(leftovers(target), [])
  })
}

t.test('an archive that lacks only its last byte keeps all entries', async t => {
  const at = places(t, 'tmpfs')
  if (at === undefined) return
  const { source, target } = at
  for (let i = 100; i < 1100; i++) fs.writeFileSync(join(source, `f${i}`), noise(1000, i))
  const { bytes } = await archive(['.'], { directory: source })
  t.equal((await failing(bytes.subarray(0, -1), target, { keepPartial: true })).code, 'TRUNCATED')
  t.equal(namesBelow(target).length, 1000)
})

t.test('a stream that fails in a file keeps the clones before it', async t => {
  const at = places(t, 'xfs')
  if (at === undefined) return
  const { source, target } = at
  fillForCuts(source)
  const records = await decoded((await archive(['.'], { directory: source })).bytes)
  const begun = records.findIndex(
    record => record.kind === 'entry' && Buffer.from(record.name).toString() === 'e',
  )
  const feed = async function* () {
    yield* records.slice(0, begun + 3)
    // An error overtakes what waits to be written.
    await setTimeout(100)
    throw new Error('the source died')
  }
  await t.rejects(write(target, feed(), { keepPartial: true }), /the source died/)
  t.same(
    compareTrees(source, target),
    ['e', 'f', 'g'].map(path => `${path}: only in the first`),
  )
  t.equal(sharedBytes(join(target, 'a'), join(target, 'd/deep/clone')), 100 * KIB)
})

t.test('files that do not become whole are not kept, nor are their other names', async t => {
  const source = places(t, 'btrfs')?.source
  if (source === undefined) return
  fillForCuts(source)
  fs.rmSync(join(source, 'e'))
  fs.rmSync(join(source, 'f'))
  const { bytes } = await archive(['.'], { directory: source })
  for (const name of ['ext4', 'tmpfs'] as const) {
    const at = places(t, name)
    if (at === undefined) return
    // Nothing can be cloned there.
    const error = await failing(bytes, at.target, { reflink: 'always', keepPartial: true })
    t.equal(error.code, 'CLONE_REFUSED')
    t.same(
      compareTrees(source, at.target).sort(),
      ['b', 'd/deep/clone', 'd/link'].map(path => `${path}: only in the first`),
    )
    t.same(leftovers(at.target), [])
  }
})

t.test('read-only directories keep their whole entries for a user without privilege', asRoot, async t => {
  const from = places(t, 'btrfs')
  const at = places(t, 'tmpfs')
  if (from === undefined || at === undefined) return
  const inside = (path: string) => join(from.source, path)
  fs.mkdirSync(inside('d/ro'), { recursive: true })
  fs.writeFileSync(inside('d/ro/a'), noise(100 * KIB))
  reflink(inside('d/ro/a'), inside('d/ro/b'))
  fs.writeFileSync(inside('d/z'), 'z')
  fs.chmodSync(inside('d/ro'), 0o555)
  for (const path of ['.', ...namesBelow(from.source)]) fs.chownSync(inside(path), NOBODY, NOBODY)
  const { bytes } = await archive(['.'], { directory: from.source })
  const told = await extractAsNobody(bytes, at.target, { reflink: 'always', keepPartial: true })
  t.same(
    told.map(({ type, code }) => [type, code]),
    [['error', 'CLONE_REFUSED']],
  )
  t.same(compareTrees(from.source, at.target), ['d/ro/b: only in the first'])
})

t.test('what cannot be looked at is not taken for free', asRoot, async t => {
  const at = places(t, 'xfs')
  if (at === undefined) return
  const { target } = at
  fs.mkdirSync(join(target, 'd'))
  fs.chownSync(join(target, 'd'), NOBODY, NOBODY)
  // To list it is allowed, to look for a name in it is not.
  fs.chmodSync(join(target, 'd'), 0o600)
  for (const row of [hostileDirectory('e', 1), fifo('e', 1)]) {
    const told = await extractAsNobody(unsorted([hostileDirectory('d'), row]), target)
    t.match(told, [{ type: 'error', code: 'SYSTEM_CALL', message: /EACCES/ }])
    t.equal(told.length, 1)
    t.same(namesBelow(target), ['d'])
  }
})

t.test('what is in the way is an error of which the rest is kept', async t => {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  for (const path of ['a', 'b', 'c']) fs.writeFileSync(join(source, path), path)
  fs.writeFileSync(join(target, 'b'), 'mine')
  const { bytes } = await archive(['.'], { directory: source })
  t.equal((await failing(bytes, target, { keepPartial: true })).code, 'TARGET_EXISTS')
  t.same(namesBelow(target), ['a', 'b'])
  t.equal(fs.readFileSync(join(target, 'b'), 'utf8'), 'mine')
  t.equal(fs.readFileSync(join(target, 'a'), 'utf8'), 'a')
})

t.test(
  'without sameOwner, all belongs to whoever extracts, and setuid goes with the owner',
  asRoot,
  async t => {
    const at = places(t, 'btrfs')
    if (at === undefined) return
    const { source, target } = at
    const modes = { d: 0o3770, file: 0o6755, mine: 0o6755, theirs: 0o644 }
    fs.mkdirSync(join(source, 'd'))
    for (const path of ['file', 'mine', 'theirs']) fs.writeFileSync(join(source, path), path)
    fs.symlinkSync('x', join(source, 'link'))
    mkfifo(join(source, 'pipe'))
    for (const path of ['d', 'file', 'theirs', 'link', 'pipe']) fs.lchownSync(join(source, path), 12, 13)
    for (const [path, mode] of Object.entries(modes)) fs.chmodSync(join(source, path), mode)
    const { bytes } = await archive(['.'], { directory: source })
    const { events } = await restore(bytes, target, { sameOwner: false })
    t.same([problems(events), notes(events)], [[], []])
    for (const path of namesBelow(target)) t.same(ownerOf(join(target, path)), [0, 0], path)
    t.equal(modeOf(join(target, 'd')), 0o1770)
    t.equal(modeOf(join(target, 'file')), 0o755)
    t.equal(modeOf(join(target, 'mine')), 0o6755)
    t.equal(modeOf(join(target, 'theirs')), 0o644)
  },
)

t.test('without samePermissions, the umask is subtracted', async t => {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  const modes: Record<string, [number, number]> = {
    d: [0o2777, 0o750],
    'd/ro': [0o555, 0o550],
    'd/all': [0o666, 0o640],
    'd/pipe': [0o622, 0o600],
    none: [0, 0],
    setuid: [0o6755, 0o750],
    tmp: [0o1777, 0o750],
  }
  for (const path of ['d', 'd/ro', 'tmp']) fs.mkdirSync(join(source, path))
  for (const path of ['d/all', 'none', 'setuid']) fs.writeFileSync(join(source, path), path)
  fs.writeFileSync(join(source, 'd/ro/f'), 'f')
  mkfifo(join(source, 'd/pipe'))
  for (const [path, [mode]] of Object.entries(modes)) fs.chmodSync(join(source, path), mode)
  const { bytes } = await archive(['.'], { directory: source })
  const umask = process.umask(0o027)
  try {
    t.same(problems((await restore(bytes, target, { samePermissions: false })).events), [])
  } finally {
    process.umask(umask)
  }
  for (const [path, [, mode]] of Object.entries(modes)) t.equal(modeOf(join(target, path)), mode, path)
})

/** The calls of a kind that a command makes, in their order, as `strace` has them. */
async function calls(place: string, names: string, command: readonly string[]): Promise<string[]> {
  const log = join(place, 'trace')
  const { code, output } = await ended('strace', '-f', '-qq', '-o', log, '-e', `trace=${names}`, ...command)
  if (code !== 0) throw new Error(output)
  const lines = fs.readFileSync(log, 'utf8').split('\n')
  return lines.flatMap(
    line =>
      /^\d+ +(\w+)\(.* = 0/.exec(line)?.[1] ?? /^\d+ +<\.\.\. (\w+) resumed.* = 0/.exec(line)?.[1] ?? [],
  )
}

t.test('fsync writes back before anything gets its name, and after', tracing, async t => {
  for (const fsync of [true, false]) {
    const at = places(t, 'xfs')
    if (at === undefined) return
    const { source, target, directory } = at
    fs.mkdirSync(join(source, 'd'))
    for (const path of ['a', 'd/b']) fs.writeFileSync(join(source, path), noise(200 * KIB, path))
    const file = join(directory, 'archive')
    fs.writeFileSync(file, (await archive(['.'], { directory: source })).bytes)
    const script = `
      const { createReadStream } = await import('node:fs')
      const { pipeline } = await import('node:stream/promises')
      const { extract } = await import('./src/extract.ts')
      const [file, target, fsync] = ${JSON.stringify([file, target, fsync])}
      await pipeline(createReadStream(file), extract(target, { fsync }))`
    const made = await calls(directory, 'syncfs,renameat2', moduleCommand(script))
    const published = ['renameat2', 'renameat2']
    t.same(made, fsync ? ['syncfs', ...published, 'syncfs'] : published)
    t.same(compareTrees(source, target), [])
  }
})

t.test('a nested subvolume receives entries, and shares with what is around it', asRoot, async t => {
  for (const existing of ['refuse', 'overwrite'] as const) {
    const at = places(t, 'btrfs')
    if (at === undefined) return
    const { source, target } = at
    const inside = (path: string) => join(source, path)
    fs.mkdirSync(inside('d/sub/deep'), { recursive: true })
    fs.writeFileSync(inside('d/a'), noise(MIB))
    for (const path of ['d/sub/b', 'd/sub/deep/c']) reflink(inside('d/a'), inside(path))
    fs.linkSync(inside('d/sub/b'), inside('d/sub/hard'))
    fs.mkdirSync(join(target, 'd'))
    makeSubvolume(join(target, 'd'), 'sub')
    if (existing === 'overwrite') fs.writeFileSync(join(target, 'd/sub/b'), 'old')
    const { dev, ino } = fs.statSync(join(target, 'd/sub'))
    t.not(dev, fs.statSync(target).dev, 'it is another device')
    const { bytes } = await archive(['.'], { directory: source })
    const { events, summary } = await restore(bytes, target, { existing })
    t.same(problems(events), [])
    const rights = /^d(\/sub)?: (permissions|mtime)/
    t.same(
      compareTrees(source, target).filter(line => existing === 'overwrite' || !rights.test(line)),
      [],
    )
    t.equal(summary.target.copiedBytes, 0)
    for (const path of ['d/sub/b', 'd/sub/deep/c'])
      t.equal(sharedBytes(join(target, 'd/a'), join(target, path)), MIB, path)
    t.equal(fs.statSync(join(target, 'd/sub')).ino, ino)
    t.equal(fs.statSync(join(target, 'd/sub/deep')).dev, dev, 'what is new is in it')
    t.same(leftovers(target), [])
  }
})

t.test('a hard link that would lead into a subvolume fails, and leaves nothing', asRoot, async t => {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  fs.mkdirSync(join(source, 'sub'))
  fs.writeFileSync(join(source, 'a'), 'a')
  fs.linkSync(join(source, 'a'), join(source, 'sub/a'))
  makeSubvolume(target, 'sub')
  const { bytes } = await archive(['.'], { directory: source })
  const error = await failing(bytes, target, {})
  t.equal(error.code, 'SYSTEM_CALL')
  t.equal(Buffer.from(error.path ?? []).toString(), 'sub/a')
  t.same(namesBelow(target), ['sub'])
})

t.test(
  'in a target with setgid, files of others get its group, and what is owned does not',
  asRoot,
  async t => {
    for (const name of ['btrfs', 'xfs'] as const) {
      const at = places(t, name)
      if (at === undefined) return
      const { source, target, directory } = at
      fs.mkdirSync(join(source, 'd/deep'), { recursive: true })
      for (const path of ['a', 'd/b']) fs.writeFileSync(join(source, path), path)
      fs.chownSync(join(source, 'd/b'), 12, 13)
      const { bytes } = await archive(['.'], { directory: source })
      fs.chownSync(target, 0, 4242)
      fs.chmodSync(target, 0o2755)
      await restore(bytes, target)
      t.same(compareTrees(source, target), [], name)

      const own = join(directory, 'own')
      fs.mkdirSync(own)
      const told = await extractAsNobody(bytes, own, {}, 4242)
      t.same(
        told.map(({ type }) => type),
        ['note'],
      )
      t.same(ownerOf(join(own, 'a')), [NOBODY, 4242])
      for (const path of ['d', 'd/deep', 'd/b', 'a'])
        t.equal(modeOf(join(own, path)), modeOf(join(source, path)), path)
    }
  },
)

for (const name of EVERYWHERE) {
  t.test(`read-only directories get what is in them, on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target, directory } = at
    const inside = (path: string) => join(source, path)
    fs.mkdirSync(inside('ro/deep/deeper'), { recursive: true })
    fs.mkdirSync(inside('empty'))
    fs.mkdirSync(inside('hidden'))
    for (const path of ['ro/f', 'ro/deep/deeper/f', 'hidden/f']) {
      fs.writeFileSync(inside(path), noise(9000, path))
      fs.chmodSync(inside(path), 0o444)
    }
    fs.symlinkSync('f', inside('ro/deep/link'))
    mkfifo(inside('ro/deep/fifo'))
    fs.linkSync(inside('ro/f'), inside('ro/deep/hard'))
    for (const path of ['ro/deep/deeper', 'ro/deep', 'ro', 'empty']) fs.chmodSync(inside(path), 0o555)
    fs.chmodSync(inside('hidden'), 0)
    for (const path of namesBelow(source)) fs.lchownSync(inside(path), NOBODY, NOBODY)
    const { bytes } = await archive(['.'], { directory: source })
    t.same(problems((await restore(bytes, target)).events), [])
    t.same(compareTrees(source, target), [])

    const own = join(directory, 'own')
    fs.mkdirSync(own)
    t.same(await extractAsNobody(bytes, own), [], 'nothing is amiss')
    t.same(compareTrees(source, own), [])

    const told = await extractAsNobody(bytes.subarray(0, -100), join(directory, 'outside'))
    t.same(
      told.map(({ code }) => code),
      ['TRUNCATED'],
    )
    t.same(namesBelow(join(directory, 'outside')), [], 'and all of it can be removed again')
  })
}

t.test('directories within each other that nobody may search', asRoot, async t => {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  fs.mkdirSync(join(source, 'a/b/c'), { recursive: true })
  fs.mkdirSync(join(source, 'z'))
  fs.writeFileSync(join(source, 'a/b/c/f'), 'f')
  for (const path of ['a/b/c', 'a/b', 'a']) fs.chmodSync(join(source, path), 0o600)
  fs.chmodSync(join(source, 'z'), 0o555)
  for (const path of namesBelow(source)) fs.chownSync(join(source, path), NOBODY, NOBODY)
  const { bytes } = await archive(['.'], { directory: source })
  t.same(await extractAsNobody(bytes, target), [], 'nothing is amiss')
  t.same(compareTrees(source, target), [])
})

/** A small tree, and its archive in a file. */
async function forCommand(t: Test) {
  const at = places(t, 'btrfs')
  if (at === undefined) return undefined
  const { source, directory } = at
  fs.mkdirSync(join(source, 'd'))
  for (const path of ['a', 'd/b']) fs.writeFileSync(join(source, path), noise(9000, path))
  const file = join(directory, 'a.reftar')
  const pack = async (...more: readonly string[]) => {
    const { code, stderr } = await reftar(['create', ...more, '-f', file, '-C', source, '.'])
    if (code !== 0) throw new Error(stderr)
  }
  await pack()
  const extract = (...options: readonly string[]) =>
    reftar(['extract', '-f', file, '-C', at.target, ...options])
  return { ...at, file, pack, extract }
}

function checkEnd(t: Test, { code, stdout, stderr }: Ended, expected: number, says: RegExp | '' = ''): void {
  t.equal(code, expected, stderr)
  t.equal(stdout.toString(), '')
  if (says === '') t.equal(stderr, '')
  else t.match(stderr, says)
}

t.test('the command: --overwrite and --keep-existing', async t => {
  const at = await forCommand(t)
  if (at === undefined) return
  const { source, target, extract } = at
  fs.mkdirSync(join(target, 'd'), { mode: 0o700 })
  fs.writeFileSync(join(target, 'd/b'), 'old')
  const before = picture(target)
  checkEnd(t, await extract(), 2, /^reftar: 'd\/b' is already there/)
  t.same(picture(target), before)
  checkEnd(t, await extract('--overwrite', '--keep-existing'), 2, /exclude each other/)
  t.same(picture(target), before)
  checkEnd(t, await extract('--keep-existing'), 1, /^reftar: 'd\/b': is already there, and is kept\n$/)
  const { a, ...after } = picture(target)
  t.same(after, before)
  t.ok(a !== undefined)
  checkEnd(t, await extract('--overwrite'), 0)
  t.same(compareTrees(source, target), [])
})

t.test('the command: --keep-partial', async t => {
  const at = await forCommand(t)
  if (at === undefined) return
  const { source, target, file, pack, extract } = at
  fs.writeFileSync(join(source, 'z'), noise(12 * MIB))
  await pack()
  fs.truncateSync(file, fs.statSync(file).size - 2 * MIB)
  checkEnd(t, await extract(), 2, /^reftar: the archive ends before/)
  t.same(namesBelow(target), [])
  checkEnd(t, await extract('--keep-partial'), 2, /^reftar: the archive ends before/)
  t.same(namesBelow(target), ['a', 'd', 'd/b'])
})

t.test('the command: --no-same-owner, --no-same-permissions and --no-devices', asRoot, async t => {
  const at = await forCommand(t)
  if (at === undefined) return
  const { source, target, pack, extract } = at
  fs.chownSync(join(source, 'a'), 12, 13)
  fs.chmodSync(join(source, 'a'), 0o4666)
  execFileSync('mknod', [join(source, 'null'), 'c', '1', '3'])
  await pack()
  checkEnd(t, await extract(), 0)
  t.same([ownerOf(join(target, 'a')), modeOf(join(target, 'a'))], [[12, 13], 0o4666])
  t.ok(fs.lstatSync(join(target, 'null')).isCharacterDevice())

  checkEnd(t, await extract('--overwrite', '--no-same-owner'), 0)
  t.same([ownerOf(join(target, 'a')), modeOf(join(target, 'a'))], [[0, 0], 0o666])
  checkEnd(t, await extract('--overwrite', '--no-same-permissions'), 0)
  t.same([ownerOf(join(target, 'a')), modeOf(join(target, 'a'))], [[12, 13], 0o644])
  fs.rmSync(join(target, 'null'))
  checkEnd(t, await extract('--overwrite', '--no-devices'), 0, /^reftar: device nodes are left out\n$/)
  t.same(namesBelow(target), ['a', 'd', 'd/b'])
})

t.test('the command: --numeric-owner', asRoot, async t => {
  const at = await forCommand(t)
  if (at === undefined) return
  const { target, file, pack, extract } = at
  const ownersIn = async () =>
    (await decoded(fs.readFileSync(file))).flatMap(record =>
      record.kind === 'entry' ? Buffer.from(record.metadata.owner?.user ?? []).toString() : [],
    )
  t.same(await ownersIn(), ['root', 'root', 'root', 'root'])
  await pack('--numeric-owner')
  t.same(await ownersIn(), ['', '', '', ''])

  const root = Buffer.from('root')
  const owner = { uid: 12, gid: 13, user: root, group: root }
  const base = { kind: 'entry', ordinal: 1, parent: 0, linked: false, type: 'fifo' } as const
  const records: ArchiveRecord[] = [{ ...base, name: Buffer.from('p'), metadata: { owner, mode: 0o600 } }]
  fs.writeFileSync(file, await encode({ blockSize: 4096, sorted: true, payloadDigest: true }, records))
  checkEnd(t, await extract(), 0)
  t.same(ownerOf(join(target, 'p')), [0, 0])
  checkEnd(t, await extract('--overwrite', '--numeric-owner'), 0)
  t.same(ownerOf(join(target, 'p')), [12, 13])
})

t.test('the command: --fsync', tracing, async t => {
  const at = await forCommand(t)
  if (at === undefined) return
  const { source, target, file, directory } = at
  const command = ['env', '-u', 'NODE_OPTIONS', process.execPath, CLI, 'extract', '-f', file, '-C', target]
  t.same(await calls(directory, 'syncfs', command), [])
  t.same(await calls(directory, 'syncfs', [...command, '--overwrite', '--fsync']), ['syncfs', 'syncfs'])
  t.same(compareTrees(source, target), [])
})
