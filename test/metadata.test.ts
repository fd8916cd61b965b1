import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import type { ReftarEvent } from '../src/event.js'
import type { ArchiveRecord, EntryType, Metadata } from '../src/record.js'
import { reflinkWriter, type WriteOptions } from '../src/stream/reflink-writer.js'
import { CLI } from './cli/run.js'
import {
  acl,
  capability,
  FS_APPEND_FL,
  FS_COMPR_FL,
  FS_DIRSYNC_FL,
  FS_IMMUTABLE_FL,
  FS_NOATIME_FL,
  FS_NOCOMP_FL,
  FS_NOCOW_FL,
  FS_NODUMP_FL,
  FS_PROJINHERIT_FL,
  FS_SYNC_FL,
  FS_TOPDIR_FL,
  flags,
  project,
  reserve,
  setFlags,
  setProject,
  setTime,
  setXattr,
  type Xattrs,
  xattrs,
} from './support/attributes.js'
import { compareTrees } from './support/compare-trees.js'
import { cloneRange, encodedExtents, FIEMAP_EXTENT_UNWRITTEN, fiemap, sharedBytes } from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import { extractAsNobody, NOBODY } from './support/nobody.js'
import {
  archive,
  checkRoundTrip,
  decoded,
  KIB,
  MIB,
  namesBelow,
  noise,
  notes,
  overwrite,
  problems,
  reflink,
  restore,
  run,
  sourceAndTarget,
  sparse,
  text,
} from './support/trees.js'

process.umask(0o022)

const asRoot = { skip: process.getuid?.() === 0 ? false : 'needs root' } as const
const EVERYWHERE: readonly FilesystemName[] = ['btrfs', 'xfs', 'ext4', 'tmpfs']
const ON_DISK: readonly FilesystemName[] = ['btrfs', 'xfs', 'ext4']

const ACCESS = 'system.posix_acl_access'
const DEFAULT = 'system.posix_acl_default'

/** Mode 0640, and something for two others. */
const FILE_ACL = acl([
  { tag: 'owner', bits: 6 },
  { tag: 'user', bits: 6, id: 77 },
  { tag: 'group', bits: 0 },
  { tag: 'named group', bits: 4, id: 78 },
  { tag: 'mask', bits: 4 },
  { tag: 'other', bits: 0 },
])
const DEFAULT_ACL = acl([
  { tag: 'owner', bits: 7 },
  { tag: 'user', bits: 5, id: 79 },
  { tag: 'group', bits: 5 },
  { tag: 'mask', bits: 7 },
  { tag: 'other', bits: 1 },
])

/** A new pair of directories on one filesystem, or two; undefined where there is none. */
function places(t: Test, from: FilesystemName, to = from): { source: string; target: string } | undefined {
  const directory = testDirectory(t, from)
  const targetDirectory = to === from ? directory : testDirectory(t, to)
  if (directory === undefined || targetDirectory === undefined) return undefined
  return sourceAndTarget(directory, targetDirectory)
}

function mknod(path: string, type: 'c' | 'b', major: number, minor: number): void {
  execFileSync('mknod', [path, type, String(major), String(minor)])
}

function mkfifo(path: string): void {
  execFileSync('mkfifo', [path])
}

/** Archives all that is in `source`, and restores it; returns what both told. */
async function copy(source: string, target: string, options: WriteOptions = {}): Promise<ReftarEvent[]> {
  const archived = await archive(['.'], { directory: source })
  const restored = await restore(archived.bytes, target, options)
  return [...archived.events, ...restored.events]
}

/** Writes records that were made by hand. */
async function write(
  target: string,
  records: Iterable<ArchiveRecord>,
  options: WriteOptions = {},
): Promise<void> {
  await run(Readable.from(records), reflinkWriter(target, options))
}

let ordinal = 0

function entry(name: string, type: EntryType, metadata: Metadata = {}): ArchiveRecord[] {
  const base = { kind: 'entry', ordinal: ++ordinal, parent: 0, linked: false } as const
  const made: ArchiveRecord = { ...base, name: Buffer.from(name), type, metadata }
  return type === 'file' ? [made, { kind: 'end', state: 'whole' }] : [made]
}

function modeOf(path: string): number {
  return fs.lstatSync(path).mode & 0o7777
}

function mtimeNs(path: string): bigint {
  return fs.lstatSync(path, { bigint: true }).mtimeNs
}

function hex(value: string | Uint8Array): string {
  return Buffer.from(value).toString('hex')
}

/** Else they could not be removed. */
function unlock(...trees: readonly string[]): void {
  for (const tree of trees) {
    for (const name of ['', ...namesBelow(tree)]) {
      const path = join(tree, name)
      const stat = fs.lstatSync(path)
      if (stat.isFile() || stat.isDirectory()) setFlags(path, 0)
    }
  }
}

/** One of each type, with every kind of attribute that it can have; returns them by name. */
function fillWithXattrs(source: string): Record<string, Xattrs> {
  const inside = (name: string) => join(source, name)
  fs.writeFileSync(inside('file'), noise(9000))
  fs.mkdirSync(inside('dir'))
  fs.symlinkSync('nowhere', inside('link'))
  mkfifo(inside('fifo'))
  mknod(inside('device'), 'c', 1, 3)
  for (const name of ['file', 'dir', 'fifo', 'device']) fs.chmodSync(inside(name), 0o640)
  const trusted: [string, Uint8Array] = ['trusted.reftar', Buffer.from([0, 255, 10])]
  const wanted: Record<string, [string, Uint8Array][]> = {
    file: [
      ['user.comment', Buffer.from('a comment')],
      ['user.empty', Buffer.alloc(0)],
      ['user.\xff\xfe', Buffer.from('a name that is not UTF-8')],
      trusted,
      ['security.capability', capability()],
      [ACCESS, FILE_ACL],
    ],
    dir: [
      ['user.comment', Buffer.from('of a directory')],
      trusted,
      [ACCESS, FILE_ACL],
      [DEFAULT, DEFAULT_ACL],
    ],
    link: [trusted],
    fifo: [trusted, [ACCESS, FILE_ACL]],
    device: [trusted, [ACCESS, FILE_ACL]],
  }
  const expected: Record<string, Xattrs> = {}
  for (const [name, list] of Object.entries(wanted)) {
    for (const [attribute, value] of list) setXattr(inside(name), attribute, value)
    expected[name] = Object.fromEntries(list.map(([attribute, value]) => [attribute, hex(value)]))
  }
  return expected
}

for (const from of EVERYWHERE) {
  t.test(`extended attributes and ACLs of all types go from ${from} to everywhere`, asRoot, async t => {
    for (const to of EVERYWHERE) {
      const at = places(t, from, to)
      if (at === undefined) return
      const { source, target } = at
      const expected = fillWithXattrs(source)
      t.same(problems(await copy(source, target)), [])
      for (const [name, wanted] of Object.entries(expected)) {
        t.same(xattrs(join(target, name)), wanted, `${name} on ${to}`)
      }
      t.same(compareTrees(source, target), [])
    }
  })
}

t.test('the other form in which XFS shows its ACLs is not stored', asRoot, async t => {
  const at = places(t, 'xfs')
  if (at === undefined) return
  fillWithXattrs(at.source)
  const { bytes } = await archive(['.'], { directory: at.source })
  const names = (await decoded(bytes)).flatMap(record =>
    record.kind === 'entry'
      ? (record.metadata.xattrs ?? []).map(({ name }) => Buffer.from(name).toString())
      : [],
  )
  t.equal(names.filter(name => name === ACCESS).length, 4)
  t.same(
    names.filter(name => name.includes('SGI')),
    [],
  )
})

t.test('the largest value of all goes from XFS to XFS', asRoot, async t => {
  const at = places(t, 'xfs')
  if (at === undefined) return
  const { source, target } = at
  fs.writeFileSync(join(source, 'f'), 'f')
  setXattr(join(source, 'f'), 'user.largest', noise(64 * KIB))
  t.same(problems(await copy(source, target)), [])
  t.same(xattrs(join(target, 'f')), { 'user.largest': hex(noise(64 * KIB)) })
})

t.test('a value that is too large for the target is named, and all else is restored', asRoot, async t => {
  const at = places(t, 'xfs', 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  fs.writeFileSync(join(source, 'f'), noise(9000))
  setXattr(join(source, 'f'), 'user.a', 'a')
  setXattr(join(source, 'f'), 'user.large', noise(20_000))
  setXattr(join(source, 'f'), 'user.z', 'z')
  fs.chmodSync(join(source, 'f'), 0o4711)
  fs.writeFileSync(join(source, 'g'), 'g')
  const events = await copy(source, target)
  t.same(problems(events), ['SYSTEM_CALL f'])
  t.match(JSON.stringify(events), /user\.large/)
  t.same(xattrs(join(target, 'f')), { 'user.a': hex('a'), 'user.z': hex('z') })
  t.same(compareTrees(source, target), [])
})

t.test('a file with more names of attributes than a system call tells is still archived', asRoot, async t => {
  const at = places(t, 'xfs')
  if (at === undefined) return
  const { source, target } = at
  fs.writeFileSync(join(source, 'f'), 'f')
  for (let i = 0; i < 300; i++) setXattr(join(source, 'f'), `user.${String(i).padStart(240, '-')}`, 'x')
  t.same(problems(await copy(source, target)), ['SYSTEM_CALL f'])
  t.same(namesBelow(target), ['f'])
})

/** What a target directory can bestow on what is made in it. */
const BESTOWED: readonly [FilesystemName, string, (target: string) => void][] = [
  ...EVERYWHERE.map((name): [FilesystemName, string, (target: string) => void] => [
    name,
    'a default ACL',
    target => setXattr(target, DEFAULT, DEFAULT_ACL),
  ]),
  ...EVERYWHERE.map((name): [FilesystemName, string, (target: string) => void] => [
    name,
    'a setgid bit',
    target => {
      fs.chownSync(target, 76, 77)
      fs.chmodSync(target, 0o2775)
    },
  ]),
  ['btrfs', 'no copy on write', target => setFlags(target, FS_NOCOW_FL)],
  ['btrfs', 'the compression flag', target => setFlags(target, FS_COMPR_FL)],
  ['btrfs', 'the no-compression flag', target => setFlags(target, FS_NOCOMP_FL)],
  ['btrfs', 'a compression property', target => setXattr(target, 'btrfs.compression', 'zstd')],
  ['xfs', 'other flags', target => setFlags(target, FS_SYNC_FL | FS_NOATIME_FL | FS_NODUMP_FL)],
  [
    'ext4',
    'other flags',
    target => setFlags(target, FS_SYNC_FL | FS_NOATIME_FL | FS_NODUMP_FL | FS_DIRSYNC_FL),
  ],
  [
    'xfs',
    'a project',
    target => {
      setProject(target, 42)
      setFlags(target, FS_PROJINHERIT_FL)
    },
  ],
]

function fillPlain(source: string): void {
  const inside = (name: string) => join(source, name)
  fs.mkdirSync(inside('dir/deep'), { recursive: true })
  for (const name of ['dir/deep/file', 'dir/file']) fs.writeFileSync(inside(name), text(100 * KIB))
  fs.chmodSync(inside('dir/file'), 0o600)
  fs.chmodSync(inside('dir/deep'), 0o711)
  fs.symlinkSync('file', inside('dir/link'))
  mkfifo(inside('dir/fifo'))
  mknod(inside('dir/device'), 'b', 7, 200)
  fs.mkdirSync(inside('empty'), { mode: 0o700 })
}

/** All that a target may not have added to it. */
function attributesBelow(tree: string): { [name: string]: unknown; plain?: unknown } {
  const found: Record<string, unknown> = {}
  for (const name of namesBelow(tree)) {
    const path = join(tree, name)
    const stat = fs.lstatSync(path)
    const more =
      stat.isFile() || stat.isDirectory() ? { flags: flags(path), project: projectIfAny(path) } : undefined
    found[name] = { xattrs: xattrs(path), ...more }
  }
  return found
}

function projectIfAny(path: string): number {
  return fs.statfsSync(path).type === 0x58465342 ? project(path) : 0
}

function checkBestowed(t: Test, source: string, target: string, title: string): void {
  t.same(attributesBelow(target), attributesBelow(source), title)
  t.same(compareTrees(source, target), [], title)
}

for (const [name, what, bestow] of BESTOWED) {
  t.test(`a target on ${name} with ${what} bestows nothing`, asRoot, async t => {
    const at = places(t, name)
    const control = testDirectory(t, name)
    if (at === undefined || control === undefined) return
    const { source, target } = at
    fillPlain(source)
    for (const directory of [control, target]) bestow(directory)
    fs.mkdirSync(join(control, 'plain'))
    const plain = { ...(attributesBelow(control).plain as object), mode: modeOf(join(control, 'plain')) }
    t.notSame(plain, { xattrs: {}, flags: 0, project: 0, mode: 0o755 }, 'it would, on others')
    const before = [xattrs(target), flags(target), modeOf(target)]
    t.same(problems(await copy(source, target)), [])
    t.same([xattrs(target), flags(target), modeOf(target)], before, 'and keeps it itself')
    checkBestowed(t, source, target, 'nothing is left of it')
  })

  t.test(`a target on ${name} with ${what} bestows nothing on a file in itself`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    fs.writeFileSync(join(source, 'file'), text(100 * KIB))
    bestow(target)
    t.same(problems(await copy(source, target)), [])
    checkBestowed(t, source, target, 'nothing is left of it')
    if (name !== 'tmpfs') t.same(encodedExtents(join(target, 'file')), [], 'its data is not compressed')
  })
}

t.test('what was not captured is left to the target', asRoot, async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  setXattr(directory, DEFAULT, DEFAULT_ACL)
  setProject(directory, 42)
  setFlags(directory, FS_PROJINHERIT_FL | FS_NODUMP_FL)
  await write(directory, [...entry('d', 'directory', { mode: 0o750 }), ...entry('f', 'file')])
  t.equal(xattrs(join(directory, 'd'))[DEFAULT], hex(DEFAULT_ACL))
  t.ok(ACCESS in xattrs(join(directory, 'f')))
  for (const name of ['d', 'f']) {
    t.equal(project(join(directory, name)), 42)
    t.ok(flags(join(directory, name)) & FS_NODUMP_FL)
  }
})

t.test('a project is left to the target where the source has none', asRoot, async t => {
  const at = places(t, 'btrfs', 'xfs')
  if (at === undefined) return
  const { source, target } = at
  fs.mkdirSync(join(source, 'd'))
  fs.writeFileSync(join(source, 'd/f'), 'f')
  setProject(target, 42)
  setFlags(target, FS_PROJINHERIT_FL)
  t.same(problems(await copy(source, target)), [])
  t.same([project(join(target, 'd')), project(join(target, 'd/f'))], [42, 42])
})

const PLAIN_FLAGS = [FS_NODUMP_FL, FS_NOATIME_FL, FS_SYNC_FL, FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL]
const LOCKS = [FS_IMMUTABLE_FL, FS_APPEND_FL, FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL]

/** Files and directories with flags below a directory; those that forbid changes are set last. */
function fillWithFlags(directory: string, wanted: readonly number[]): void {
  for (const value of wanted) {
    const name = join(directory, value.toString(16))
    fs.mkdirSync(`${name} dir`)
    fs.writeFileSync(`${name} dir/inner`, noise(5000, name))
    fs.writeFileSync(`${name} file`, noise(5000, value))
    for (const path of [`${name} dir`, `${name} file`]) setFlags(path, value)
  }
}

function flagsBelow(tree: string): Record<string, number> {
  const found: Record<string, number> = {}
  for (const name of namesBelow(tree)) found[name] = flags(join(tree, name))
  return found
}

async function checkFlags(t: Test, source: string, target: string): Promise<void> {
  try {
    t.same(problems(await copy(source, target)), [])
    t.same(flagsBelow(target), flagsBelow(source))
    t.same(compareTrees(source, target), [])
  } finally {
    unlock(source, target)
  }
}

for (const name of ON_DISK) {
  t.test(`inode flags on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    fs.mkdirSync(join(source, 'd'))
    fillWithFlags(join(source, 'd'), [...PLAIN_FLAGS, ...LOCKS])
    fillWithFlags(source, PLAIN_FLAGS)
    t.ok(Object.values(flagsBelow(source)).includes(FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL))
    await checkFlags(t, source, target)
  })

  t.test(`flags that forbid changes, in the target itself, on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    fillWithFlags(at.source, LOCKS)
    await checkFlags(t, at.source, at.target)
  })

  t.test(`a hard link to an immutable file, on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    for (const directory of ['a', 'b']) fs.mkdirSync(join(source, directory))
    fs.writeFileSync(join(source, 'a/f'), 'f')
    fs.linkSync(join(source, 'a/f'), join(source, 'b/f'))
    setFlags(join(source, 'a/f'), FS_IMMUTABLE_FL)
    setFlags(join(source, 'b'), FS_IMMUTABLE_FL)
    await checkFlags(t, source, target)
  })
}

t.test('flags that only one filesystem has, or only one type', asRoot, async t => {
  const ofFiles = { btrfs: [FS_COMPR_FL, FS_NOCOMP_FL, FS_NOCOW_FL], ext4: [] }
  const ofDirectories = {
    btrfs: [FS_COMPR_FL, FS_NOCOMP_FL, FS_NOCOW_FL, FS_DIRSYNC_FL],
    ext4: [FS_DIRSYNC_FL, FS_TOPDIR_FL, FS_DIRSYNC_FL | FS_TOPDIR_FL],
  }
  for (const name of ['btrfs', 'ext4'] as const) {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    for (const value of ofFiles[name]) {
      const path = join(source, `${value} file`)
      fs.writeFileSync(path, '')
      setFlags(path, value)
      fs.writeFileSync(path, text(100 * KIB))
      t.equal(flags(path), value, 'the source has it')
    }
    for (const value of ofDirectories[name]) {
      fs.mkdirSync(join(source, `${value} dir`))
      setFlags(join(source, `${value} dir`), value)
      fs.writeFileSync(join(source, `${value} dir/inner`), 'inner')
    }
    await checkFlags(t, source, target)
  }
})

/** Files and directories with a compression property and other flags. */
async function checkCompression(
  t: Test,
  wanted: readonly [property: string, flags: number][],
): Promise<void> {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  for (const [property, more] of wanted) {
    fs.mkdirSync(join(source, `${property} dir`))
    fs.writeFileSync(join(source, `${property} file`), '')
    for (const path of [`${property} dir`, `${property} file`]) {
      setFlags(join(source, path), more)
      setXattr(join(source, path), 'btrfs.compression', property)
    }
    const content = text(MIB).toString().replaceAll('line', `line of ${property}`)
    fs.writeFileSync(join(source, `${property} file`), content)
    // What may be shared is written back at once.
    reflink(join(source, `${property} file`), join(source, `${property} twin`))
  }
  t.same(problems(await copy(source, target)), [])
  for (const [property] of wanted) {
    const isCompressed = encodedExtents(join(target, `${property} file`)).length > 0
    t.equal(isCompressed, property !== 'none', `${property}: its data is as it says`)
  }
  t.same(attributesBelow(target), attributesBelow(source))
  t.same(compareTrees(source, target), [])
}

t.test('compression properties of btrfs', asRoot, async t => {
  await checkCompression(t, [
    ['lzo', 0],
    ['zlib', 0],
    ['zstd', 0],
    ['none', 0],
  ])
})

t.test('compression properties of btrfs, with other flags', asRoot, async t => {
  await checkCompression(t, [
    ['zstd', FS_NODUMP_FL],
    ['none', FS_NOATIME_FL],
  ])
})

t.test('a restored file without copy on write is written in place', asRoot, async t => {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  fs.writeFileSync(join(source, 'a'), '')
  fs.writeFileSync(join(source, 'b'), '')
  fs.writeFileSync(join(source, 'cow'), '')
  for (const name of ['a', 'b']) setFlags(join(source, name), FS_NOCOW_FL)
  const bytes = noise(MIB)
  for (const name of ['a', 'cow']) fs.writeFileSync(join(source, name), bytes)
  execFileSync('cp', ['--reflink=always', '--', join(source, 'a'), join(source, 'b')])
  fs.writeFileSync(join(source, 'single'), '')
  setFlags(join(source, 'single'), FS_NOCOW_FL)
  fs.writeFileSync(join(source, 'single'), noise(MIB, 'single'))
  t.equal(sharedBytes(join(source, 'a'), join(source, 'b')), MIB)
  await checkRoundTrip(t, source, target)
  for (const name of ['a', 'b', 'single']) t.equal(flags(join(target, name)), FS_NOCOW_FL, name)
  t.equal(flags(join(target, 'cow')), 0)
  t.equal(sharedBytes(join(target, 'a'), join(target, 'b')), MIB, 'clones share still')

  const rows = () => fiemap(join(target, 'single')).map(({ logical, physical }) => [logical, physical])
  const before = rows()
  overwrite(join(target, 'single'), 512 * KIB, noise(4096, 'new'))
  t.same(rows(), before, 'it stays where it is')
})

t.test('a flag that the target cannot keep is named', asRoot, async t => {
  for (const to of ['xfs', 'ext4', 'tmpfs'] as const) {
    const at = places(t, 'btrfs', to)
    if (at === undefined) return
    const { source, target } = at
    fs.mkdirSync(join(source, 'd'))
    setFlags(join(source, 'd'), FS_NODUMP_FL | FS_NOCOW_FL)
    fs.writeFileSync(join(source, 'f'), '')
    setFlags(join(source, 'f'), FS_NODUMP_FL | FS_NOATIME_FL | FS_NOCOW_FL)
    fs.writeFileSync(join(source, 'f'), noise(10_000))
    const events = await copy(source, target)
    t.same(problems(events).sort(), ['SYSTEM_CALL d', 'SYSTEM_CALL f'], to)
    t.match(JSON.stringify(events), /inode flags nocow is not restored/)
    t.same(flagsBelow(target), { d: FS_NODUMP_FL, f: FS_NODUMP_FL | FS_NOATIME_FL }, 'the others are kept')
    t.same(compareTrees(source, target), [])
  }
})

t.test('projects of XFS', asRoot, async t => {
  const at = places(t, 'xfs')
  if (at === undefined) return
  const { source, target } = at
  fs.mkdirSync(join(source, 'd/inherits'), { recursive: true })
  fs.writeFileSync(join(source, 'd/seven'), noise(70_000))
  setProject(join(source, 'd/seven'), 7)
  reflink(join(source, 'd/seven'), join(source, 'd/none'))
  setProject(join(source, 'd/inherits'), 0xffff_fffe)
  setFlags(join(source, 'd/inherits'), FS_PROJINHERIT_FL)
  fs.mkdirSync(join(source, 'd/inherits/deep'))
  for (const name of ['d/inherits/f', 'd/inherits/deep/f']) fs.writeFileSync(join(source, name), name)
  setProject(join(source, 'd/inherits/deep/f'), 9)
  const { project: inherited } = attributesBelow(source)['d/inherits/f'] as { project: number }
  t.equal(inherited, 0xffff_fffe)
  t.same(problems(await copy(source, target)), [])
  t.same(attributesBelow(target), attributesBelow(source))
  t.same(compareTrees(source, target), [])
})

t.test('a project of a file in the target itself', asRoot, async t => {
  const at = places(t, 'xfs')
  if (at === undefined) return
  const { source, target } = at
  fs.writeFileSync(join(source, 'f'), 'f')
  setProject(join(source, 'f'), 7)
  t.same(problems(await copy(source, target)), [])
  t.equal(project(join(target, 'f')), 7)
})

t.test('a project that the target cannot keep is named', asRoot, async t => {
  for (const to of ['btrfs', 'ext4', 'tmpfs'] as const) {
    const at = places(t, 'xfs', to)
    if (at === undefined) return
    const { source, target } = at
    fs.mkdirSync(join(source, 'd'))
    fs.writeFileSync(join(source, 'd/f'), 'f')
    fs.writeFileSync(join(source, 'd/none'), 'none')
    setProject(join(source, 'd/f'), 7)
    t.same(problems(await copy(source, target)), ['SYSTEM_CALL d/f'], to)
    t.same(compareTrees(source, target), [])
  }
})

for (const name of EVERYWHERE) {
  t.test(`setuid, setgid, sticky and capabilities on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    const inside = (path: string) => join(source, path)
    const modes = { a: 0o4755, b: 0o6711, c: 0o2750, d: 0o1644, e: 0o755, 'setgid dir': 0o2775, tmp: 0o1777 }
    for (const path of ['setgid dir', 'tmp']) fs.mkdirSync(inside(path))
    for (const path of ['a', 'b', 'c', 'd', 'e']) {
      fs.copyFileSync(path === 'a' ? '/dev/null' : inside('a'), inside(path), fs.constants.COPYFILE_FICLONE)
      if (path === 'a') fs.writeFileSync(inside('a'), noise(100 * KIB + 1))
    }
    for (const [path, mode] of Object.entries(modes)) {
      fs.chownSync(inside(path), 12, 13)
      fs.chmodSync(inside(path), mode)
    }
    for (const path of ['b', 'e']) {
      setXattr(inside(path), 'user.x', 'x')
      setXattr(inside(path), 'security.capability', capability())
    }
    await checkRoundTrip(t, source, target)
    for (const [path, mode] of Object.entries(modes)) t.equal(modeOf(join(target, path)), mode, path)
    for (const path of ['b', 'e']) {
      const expected = { 'security.capability': hex(capability()), 'user.x': hex('x') }
      t.same(xattrs(join(target, path)), expected, path)
    }
  })
}

/** In seconds since 1970. */
const YEAR_1902 = -2_140_000_000n
const YEAR_2270 = 9_470_000_000n
const YEAR_5000 = 95_617_584_000n
const NANOSECONDS = [0n, 1n, 999_999_999n] as const

/** One of each type that has a time. */
function fillWithTime(directory: string, seconds: bigint, nanoseconds: bigint): void {
  fs.mkdirSync(directory)
  fs.writeFileSync(join(directory, 'file'), 'file')
  fs.mkdirSync(join(directory, 'dir'))
  fs.writeFileSync(join(directory, 'dir/inner'), 'inner')
  fs.symlinkSync('file', join(directory, 'link'))
  mkfifo(join(directory, 'fifo'))
  for (const name of [...namesBelow(directory), '']) setTime(join(directory, name), seconds, nanoseconds)
}

for (const name of EVERYWHERE) {
  t.test(`times of any age on ${name}`, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    const keepsAll = name === 'btrfs' || name === 'tmpfs'
    const expected: [string, bigint][] = []
    for (const seconds of [YEAR_1902, -1n, 0n, YEAR_2270, ...(keepsAll ? [YEAR_5000] : [])]) {
      for (const nanoseconds of NANOSECONDS) {
        const directory = `${seconds}.${nanoseconds}`
        fillWithTime(join(source, directory), seconds, nanoseconds)
        const time = seconds * 1_000_000_000n + nanoseconds
        for (const inner of ['', ...namesBelow(join(source, directory))])
          expected.push([join(directory, inner), time])
      }
    }
    t.same(problems(await copy(source, target)), [])
    for (const [path, time] of expected) {
      if (mtimeNs(join(source, path)) !== time) t.fail(`the source has no such time: ${path}`)
      if (mtimeNs(join(target, path)) !== time) t.fail(`${path}: ${mtimeNs(join(target, path))}`)
    }
    t.same(compareTrees(source, target), [])
  })
}

for (const name of ['xfs', 'ext4'] as const) {
  t.test(`a time that ${name} cannot have is named`, async t => {
    const at = places(t, 'btrfs', name)
    if (at === undefined) return
    const { source, target } = at
    fillWithTime(join(source, 'late'), YEAR_5000, 5n)
    fillWithTime(join(source, 'right'), YEAR_2270, 5n)
    const paths = ['', '/dir', '/dir/inner', '/fifo', '/file', '/link'].map(path => `late${path}`)
    const told = problems(await copy(source, target)).sort()
    t.same(
      told,
      paths.map(path => `DIFFERENT ${path}`),
    )
    const differences = compareTrees(source, target)
    t.equal(differences.filter(line => /^late.*: mtime/.test(line)).length, paths.length)
    t.equal(differences.length, paths.length, 'and nothing else differs')
  })
}

t.test('devices that are not asked for are left out, and so are their other names', asRoot, async t => {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  const inside = (name: string) => join(source, name)
  fs.mkdirSync(inside('d'))
  mknod(inside('null'), 'c', 1, 3)
  mknod(inside('loop'), 'b', 7, 200)
  mkfifo(inside('pipe'))
  for (const name of ['null', 'loop', 'pipe']) fs.linkSync(inside(name), inside(`d/${name}`))
  fs.writeFileSync(inside('zero'), 'zero')
  const events = await copy(source, target, { devices: false })
  t.same(problems(events), [])
  t.same(notes(events), ['device nodes are left out'])
  t.same(namesBelow(target), ['d', 'd/pipe', 'pipe', 'zero'])
  t.equal(fs.lstatSync(join(target, 'pipe')).ino, fs.lstatSync(join(target, 'd/pipe')).ino)
})

t.test('devices that a user may not make are named, and their other names are left out', asRoot, async t => {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  mknod(join(source, 'null'), 'c', 1, 3)
  fs.linkSync(join(source, 'null'), join(source, 'other'))
  fs.writeFileSync(join(source, 'zero'), 'zero')
  const { bytes } = await archive(['.'], { directory: source })
  const told = await extractAsNobody(bytes, target, { devices: true, sameOwner: false })
  t.match(told, [{ type: 'problem', code: 'SYSTEM_CALL', path: 'null', message: /is left out: mknodat/ }])
  t.equal(told.length, 1 + told.filter(({ type }) => type === 'note').length)
  t.same(namesBelow(target), ['zero'])
})

for (const name of EVERYWHERE) {
  t.test(`hard links of all types, across directories, on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    const inside = (path: string) => join(source, path)
    fs.mkdirSync(inside('a/deep'), { recursive: true })
    fs.mkdirSync(inside('z'))
    fs.writeFileSync(inside('a/deep/file'), noise(5000))
    fs.symlinkSync('nowhere at all', inside('a/deep/link'))
    mkfifo(inside('a/deep/fifo'))
    mknod(inside('a/deep/character'), 'c', 1, 3)
    mknod(inside('a/deep/block'), 'b', 259, 70_000)
    const types = ['block', 'character', 'fifo', 'file', 'link']
    for (const type of types) {
      fs.lchownSync(inside(`a/deep/${type}`), 5, 6)
      for (const to of ['z', '.']) fs.linkSync(inside(`a/deep/${type}`), inside(`${to}/${type}`))
    }
    t.same(problems(await copy(source, target)), [])
    t.same(compareTrees(source, target), [])
    for (const type of types) {
      const inodes = ['a/deep', 'z', '.'].map(path => fs.lstatSync(join(target, path, type)).ino)
      t.equal(new Set(inodes).size, 1, type)
      t.equal(fs.lstatSync(join(target, type)).nlink, 3, type)
    }
  })
}

/** The ranges with storage and without data, neighbours joined: [start, end]. */
function unwritten(path: string): [number, number][] {
  const ranges: [number, number][] = []
  for (const { logical, length, flags } of fiemap(path)) {
    if ((flags & FIEMAP_EXTENT_UNWRITTEN) === 0) continue
    const last = ranges.at(-1)
    if (last?.[1] === logical) last[1] += length
    else ranges.push([logical, logical + length])
  }
  return ranges
}

for (const name of ON_DISK) {
  t.test(`reserved storage on ${name}`, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    const inside = (path: string) => join(source, path)
    const expected: Record<string, [number, number][]> = {
      holes: [
        [64 * KIB, 128 * KIB],
        [512 * KIB, MIB],
      ],
      beyond: [[8 * KIB, 256 * KIB]],
      'of nothing': [[0, 128 * KIB]],
      'between data': [[64 * KIB, 128 * KIB]],
      'through the end': [[64 * KIB, 256 * KIB]],
      none: [],
    }
    sparse(inside('holes'), 2 * MIB, [192 * KIB, noise(64 * KIB)])
    fs.writeFileSync(inside('beyond'), noise(5000))
    fs.writeFileSync(inside('of nothing'), '')
    sparse(inside('between data'), 192 * KIB, [0, noise(64 * KIB)], [128 * KIB, noise(64 * KIB)])
    sparse(inside('through the end'), 100 * KIB, [0, noise(64 * KIB)])
    sparse(inside('none'), MIB, [256 * KIB, noise(64 * KIB)])
    for (const [path, ranges] of Object.entries(expected)) {
      for (const [start, end] of ranges) reserve(inside(path), start, end - start)
      t.same(unwritten(inside(path)), ranges, `source: ${path}`)
    }
    t.same(problems(await copy(source, target)), [])
    for (const [path, ranges] of Object.entries(expected)) {
      t.same(unwritten(join(target, path)), ranges, path)
      t.equal(fs.statSync(join(target, path)).blocks, fs.statSync(inside(path)).blocks, path)
    }
    t.same(compareTrees(source, target), [])
  })
}

t.test('storage that was reserved on XFS is reserved on tmpfs', async t => {
  const at = places(t, 'xfs', 'tmpfs')
  if (at === undefined) return
  const { source, target } = at
  fs.writeFileSync(join(source, 'f'), noise(5000))
  reserve(join(source, 'f'), 8192, MIB)
  t.same(problems(await copy(source, target)), [])
  t.same(compareTrees(source, target), [])
  t.equal(fs.statSync(join(target, 'f')).blocks * 512, MIB + 8192)
})

/** Appends in many writes, as a program does that does not know how much will come. */
function append(path: string, bytes: number): number {
  const fd = fs.openSync(path, 'a')
  for (let done = 0; done < bytes; done += 64 * KIB) fs.writeSync(fd, noise(64 * KIB, `${path} ${done}`))
  return fd
}

t.test('what XFS reserves on its own is not taken for a wish', async t => {
  const at = places(t, 'xfs')
  if (at === undefined) return
  const { source, target } = at
  const file = join(source, 'growing')
  const fd = append(file, 4 * MIB)
  try {
    const { bytes } = await archive(['.'], { directory: source })
    t.ok(fs.fstatSync(fd).blocks * 512 > 4 * MIB, 'it has more storage than it has data')
    const reserved = (await decoded(bytes)).flatMap(record =>
      record.kind === 'entry' ? (record.metadata.reserved ?? []) : [],
    )
    t.same(reserved, [])
    await restore(bytes, target)
    t.same(unwritten(join(target, 'growing')), [])
    t.equal(fs.statSync(join(target, 'growing')).blocks * 512, 4 * MIB)
  } finally {
    fs.closeSync(fd)
  }
})

/** A file of runs of data, each `length` bytes at one of `offsets`. */
function runs(path: string, size: number, length: number, offsets: readonly number[]): void {
  const part = noise(MIB)
  sparse(path, size)
  const fd = fs.openSync(path, 'r+')
  for (const offset of offsets) {
    for (let done = 0; done < length; done += MIB) {
      part.writeUInt32LE(offset / MIB + done, 0)
      fs.writeSync(fd, part, 0, MIB, offset + done)
    }
  }
  fs.fsyncSync(fd)
  fs.closeSync(fd)
}

t.test('a sparse file takes no more storage on XFS than at its source', async t => {
  for (const from of ['btrfs', 'xfs'] as const) {
    const at = places(t, from, 'xfs')
    if (at === undefined) return
    const { source, target } = at
    runs(join(source, 'apart'), 320 * MIB, 16 * MIB, [0, 64 * MIB, 128 * MIB, 256 * MIB])
    runs(join(source, 'close'), 40 * MIB, 8 * MIB, [0, 8 * MIB + 4096, 16 * MIB + 8192])
    const { bytes } = await archive(['.'], { directory: source, dedup: 'none' })
    await restore(bytes, target)
    execFileSync('sync', ['-f', target])
    for (const [name, data] of Object.entries({ apart: 64 * MIB, close: 24 * MIB })) {
      t.equal(fs.statSync(join(source, name)).blocks * 512, data, 'only data at the source')
      t.equal(fs.statSync(join(target, name)).blocks * 512, data, `${from} to xfs: ${name}`)
    }
    t.same(compareTrees(source, target), [])
  }
})

t.test('nor does one with clones among its holes, which stay clones', async t => {
  for (const from of ['btrfs', 'xfs'] as const) {
    const at = places(t, from, 'xfs')
    if (at === undefined) return
    const { source, target } = at
    const base = join(source, 'a')
    // Its end within a block can be cloned only to where a file ends.
    fs.writeFileSync(base, noise(MIB + 100))
    const end = 20 * MIB
    for (const [name, isLast] of [
      ['clone-at-the-end', true],
      ['clone-within', false],
    ] as const) {
      const file = join(source, name)
      runs(file, isLast ? end : end + 4 * MIB, MIB, [0, 2 * MIB, 8 * MIB])
      cloneRange(base, 0, isLast ? 0 : MIB, file, end)
      if (!isLast) overwrite(file, end + 2 * MIB, noise((3 * MIB) / 4, 'more'))
    }
    fs.truncateSync(join(source, 'clone-within'), end + 8 * MIB)
    execFileSync('sync', ['-f', source])
    const { bytes } = await archive(['.'], { directory: source, dedup: 'shared' })
    await restore(bytes, target)
    execFileSync('sync', ['-f', target])
    t.same(compareTrees(source, target), [])
    for (const name of ['clone-at-the-end', 'clone-within']) {
      const [expected, found] = [source, target].map(root => fs.statSync(join(root, name)).blocks * 512)
      t.equal(found, expected, `${from} to xfs: ${name}`)
      t.equal(
        sharedBytes(join(target, 'a'), join(target, name)),
        sharedBytes(base, join(source, name)),
        'as much of it is shared',
      )
    }
    t.ok(sharedBytes(base, join(source, 'clone-at-the-end')) >= MIB)
  }
})

t.test('a file with holes is restored within a limit of size that it just fits', async t => {
  const at = places(t, 'xfs', 'xfs')
  if (at === undefined) return
  const { source, target } = at
  runs(join(source, 'f'), 40 * MIB, MIB, [0, 2 * MIB, 8 * MIB])
  const { bytes } = await archive(['.'], { directory: source })
  execFileSync('prlimit', [`--fsize=${40 * MIB}`, process.execPath, CLI, 'extract', '-C', target], {
    input: bytes,
  })
  execFileSync('sync', ['-f', target])
  t.same(compareTrees(source, target), [])
  t.equal(fs.statSync(join(target, 'f')).blocks * 512, 3 * MIB)
})

t.test('a clone that ends within a block is made where the size was ahead of it', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  // As many clones as are made at once, so that this is not after the end of the file.
  const clones = 4096
  const root: ArchiveRecord = {
    kind: 'entry',
    ordinal: 1,
    parent: 0,
    name: Buffer.alloc(0),
    type: 'directory',
    linked: false,
    metadata: {},
  }
  const file = (ordinal: number, name: string): ArchiveRecord =>
    ({ ...root, ordinal, parent: 1, name: Buffer.from(name), type: 'file' }) as ArchiveRecord
  const end: ArchiveRecord = { kind: 'end', state: 'whole' }
  const data = (bytes: Uint8Array): ArchiveRecord => ({ kind: 'data', bytes, mayBeShared: false })
  const refer = (block: number, length: number): ArchiveRecord => ({
    kind: 'reference',
    address: block * 4096,
    length,
    origin: 'shared',
  })
  const blocks = Array.from({ length: clones - 1 }, (_, i) => refer(clones - 2 - i, 4096))
  await write(directory, [
    root,
    file(2, 'a'),
    data(noise((clones - 1) * 4096 + 100)),
    end,
    file(3, 'b'),
    data(noise(4096, 'b')),
    { kind: 'hole', length: 64 * 4096, preallocated: false },
    ...blocks,
    refer(clones - 1, 100),
    end,
  ])
  const [a, b] = [join(directory, 'a'), join(directory, 'b')]
  const size = fs.statSync(a).size
  t.equal(fs.statSync(b).size, size + 65 * 4096)
  t.equal(sharedBytes(a, b), size, 'all of it is shared')
})

t.test('nor does one with reserved storage in its holes', async t => {
  const at = places(t, 'btrfs', 'xfs')
  if (at === undefined) return
  const { source, target } = at
  const file = join(source, 'f')
  runs(file, 80 * MIB, 16 * MIB, [0, 64 * MIB])
  reserve(file, 16 * MIB + 64 * KIB, 64 * KIB)
  await copy(source, target)
  execFileSync('sync', ['-f', target])
  t.same(unwritten(join(target, 'f')), [[16 * MIB + 64 * KIB, 16 * MIB + 128 * KIB]])
  // A filesystem may count a block of its own.
  const more = fs.statSync(join(target, 'f')).blocks * 512 - 32 * MIB - 64 * KIB
  t.ok(more >= 0 && more <= 16 * KIB, `${more} bytes more than it has`)
})

t.test('owners are stored with their names, or as numbers only', asRoot, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  fs.writeFileSync(join(directory, 'f'), 'f')
  const ownerOf = async (numericOwner: boolean) => {
    const { bytes } = await archive(['f'], { directory, numericOwner })
    const [first] = await decoded(bytes)
    const { uid, gid, user, group } = (first?.kind === 'entry' && first.metadata.owner) || {}
    return {
      uid,
      gid,
      user: user && Buffer.from(user).toString(),
      group: group && Buffer.from(group).toString(),
    }
  }
  t.same(await ownerOf(false), { uid: 0, gid: 0, user: 'root', group: 'root' })
  t.same(await ownerOf(true), { uid: 0, gid: 0, user: undefined, group: undefined })
})

t.test('an owner is who has the name here, or the number', asRoot, async t => {
  for (const [numericOwner, expected] of [
    [false, [0, 0]],
    [true, [12, 13]],
  ] as const) {
    const directory = testDirectory(t, 'btrfs')
    if (directory === undefined) return
    const root = Buffer.from('root')
    const owner = { uid: 12, gid: 13, user: root, group: root }
    const records = [
      ...entry('d', 'directory', { owner, mode: 0o755 }),
      ...entry('f', 'file', { owner, mode: 0o4755 }),
      ...entry('l', 'symlink', { owner, linkTarget: Buffer.from('x') }),
      ...entry('p', 'fifo', { owner }),
    ]
    await write(directory, records, { numericOwner })
    for (const name of ['d', 'f', 'l', 'p']) {
      const { uid, gid } = fs.lstatSync(join(directory, name))
      t.same([uid, gid], expected, name)
    }
    t.equal(modeOf(join(directory, 'f')), 0o4755)
  }
})

/** Gives all of a tree to a user without privilege. */
function giveToNobody(tree: string): void {
  for (const name of ['', ...namesBelow(tree)]) fs.lchownSync(join(tree, name), NOBODY, NOBODY)
}

for (const name of EVERYWHERE) {
  t.test(`a user without privilege restores files of their own on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    const inside = (path: string) => join(source, path)
    fs.mkdirSync(inside('d/read only'), { recursive: true })
    fs.writeFileSync(inside('d/read only/f'), noise(50_000))
    fs.copyFileSync(inside('d/read only/f'), inside('clone'), fs.constants.COPYFILE_FICLONE)
    fs.writeFileSync(inside('setuid'), 'setuid')
    fs.symlinkSync('nowhere', inside('link'))
    mkfifo(inside('fifo'))
    giveToNobody(source)
    setTime(inside('link'), -5n, 7n)
    for (const path of ['clone', 'd']) setXattr(inside(path), 'user.comment', path)
    setXattr(inside('clone'), ACCESS, FILE_ACL)
    setXattr(inside('d'), DEFAULT, DEFAULT_ACL)
    fs.chmodSync(inside('setuid'), 0o6755)
    fs.chmodSync(inside('d/read only/f'), 0)
    // It cannot be read, so its mode comes last.
    fs.writeFileSync(inside('hidden setuid'), 'setuid')
    fs.chownSync(inside('hidden setuid'), NOBODY, NOBODY)
    fs.chmodSync(inside('hidden setuid'), 0o6111)
    fs.chmodSync(inside('d/read only'), 0o555)
    const { bytes } = await archive(['.'], { directory: source })
    t.same(await extractAsNobody(bytes, target), [], 'nothing is amiss')
    t.same(compareTrees(source, target), [])
    t.same(attributesBelow(target), attributesBelow(source))
  })

  t.test(`attributes of read-only files of a user without privilege, on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    fs.mkdirSync(join(source, 'd'))
    for (const [path, mode] of Object.entries({ a: 0o444, b: 0o400, c: 0o555, d: 0, e: 0o200 })) {
      fs.writeFileSync(join(source, 'd', path), path)
      setXattr(join(source, 'd', path), 'user.comment', path)
      fs.chmodSync(join(source, 'd', path), mode)
    }
    setXattr(join(source, 'd'), 'user.comment', 'd')
    fs.chmodSync(join(source, 'd'), 0o555)
    giveToNobody(source)
    const { bytes } = await archive(['.'], { directory: source })
    t.same(await extractAsNobody(bytes, target), [], 'nothing is amiss')
    t.same(attributesBelow(target), attributesBelow(source))
    t.same(compareTrees(source, target), [])
  })

  t.test(`a user without privilege restores what belongs to others on ${name}`, asRoot, async t => {
    const at = places(t, name)
    if (at === undefined) return
    const { source, target } = at
    const inside = (path: string) => join(source, path)
    fs.mkdirSync(inside('d'))
    for (const path of ['a', 'd/b', 'd/c']) {
      fs.writeFileSync(inside(path), noise(9000, path))
      setXattr(inside(path), 'user.comment', path)
      setXattr(inside(path), 'trusted.reftar', path)
      setXattr(inside(path), 'security.capability', capability())
      fs.chmodSync(inside(path), 0o6755)
    }
    fs.symlinkSync('nowhere', inside('link'))
    setXattr(inside('link'), 'trusted.reftar', 'link')
    fs.chmodSync(inside('d'), 0o3777)
    for (const path of ['null', 'd/null']) mknod(inside(path), 'c', 1, 3)
    const { bytes } = await archive(['.'], { directory: source })
    const told = await extractAsNobody(bytes, target)
    t.same(
      told.map(({ type }) => type),
      ['note', 'note', 'note', 'note'],
      'one of each kind, and no problem',
    )
    for (const what of [/owners/, /trusted\.reftar/, /security\.capability/, /device nodes/])
      t.equal(told.filter(({ message }) => what.test(message)).length, 1, String(what))
    for (const path of ['a', 'd/b', 'd/c']) {
      const { uid, gid } = fs.statSync(join(target, path))
      t.same([uid, gid], [NOBODY, NOBODY])
      t.equal(modeOf(join(target, path)), 0o755, 'nobody runs it as somebody else')
      t.same(xattrs(join(target, path)), { 'user.comment': hex(path) })
      t.equal(mtimeNs(join(target, path)), mtimeNs(inside(path)))
    }
    t.equal(modeOf(join(target, 'd')), 0o1777)
    t.same(namesBelow(target), ['a', 'd', 'd/b', 'd/c', 'link'])
  })
}

t.test(
  'a user without privilege restores files that nobody may read, in the target itself',
  asRoot,
  async t => {
    const at = places(t, 'btrfs')
    if (at === undefined) return
    const { source, target } = at
    for (const [path, mode] of Object.entries({ a: 0, b: 0o200, c: 0o644 })) {
      fs.writeFileSync(join(source, path), path)
      fs.chmodSync(join(source, path), mode)
    }
    giveToNobody(source)
    const { bytes } = await archive(['.'], { directory: source })
    t.same(await extractAsNobody(bytes, target), [], 'nothing is amiss')
    t.same(compareTrees(source, target), [])
  },
)

t.test('setgid for a group that a user is not in is named', asRoot, async t => {
  const at = places(t, 'btrfs')
  if (at === undefined) return
  const { source, target } = at
  fs.writeFileSync(join(source, 'f'), 'f')
  fs.chownSync(join(source, 'f'), NOBODY, 4242)
  fs.chmodSync(join(source, 'f'), 0o2755)
  const { bytes } = await archive(['.'], { directory: source })
  const told = await extractAsNobody(bytes, target, {}, 4242)
  t.equal(modeOf(join(target, 'f')), 0o755, 'the kernel takes it away')
  t.equal(fs.statSync(join(target, 'f')).gid, 4242)
  t.equal(told.length, 1)
})

t.test('flags that only root may set are noted once', asRoot, async t => {
  const at = places(t, 'ext4')
  if (at === undefined) return
  const { source, target } = at
  fs.mkdirSync(join(source, 'd'))
  for (const name of ['d/a', 'd/b']) {
    fs.writeFileSync(join(source, name), name)
    fs.chownSync(join(source, name), NOBODY, NOBODY)
    setFlags(join(source, name), FS_NODUMP_FL | FS_IMMUTABLE_FL)
  }
  fs.chownSync(join(source, 'd'), NOBODY, NOBODY)
  const { bytes } = await archive(['.'], { directory: source })
  unlock(source)
  const told = await extractAsNobody(bytes, target)
  t.same(
    told.map(({ type }) => type),
    ['note'],
  )
  t.match(told[0]?.message, /immutable/)
  t.same(flagsBelow(target), { d: 0, 'd/a': FS_NODUMP_FL, 'd/b': FS_NODUMP_FL })
  t.same(compareTrees(source, target), [])
})
