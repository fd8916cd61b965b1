// With `snapshot`, a file that others write to is archived as it was at one moment, and the source notices nothing.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { CreateOptions } from '../src/create.js'
import type { ArchiveRecord } from '../src/record.js'
import { treeSource } from '../src/stream/tree-source.js'
import { reftar, unprivileged } from './cli/run.js'
import { compareTrees } from './support/compare-trees.js'
import { cloneRange, sharedBytes } from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import {
  archive,
  KIB,
  MIB,
  noise,
  notes,
  openDescriptors,
  problems,
  reflink,
  restore,
  sourceAndTarget,
  sparse,
} from './support/trees.js'

process.umask(0o022)

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' }
const snapshot = true
/** More than one segment of an archive holds, and more than one read. */
const BLOCKS = 16

/** A handler runs between two calls, and a signal that does not kill never cuts a write to a file short. */
const ENDS_BETWEEN_WRITES = `
import os, signal, struct, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())`

/** Each write is of 1 MiB, and full of one number: that of the generation. */
const REWRITE = `${ENDS_BETWEEN_WRITES}
fd = os.open(sys.argv[1], os.O_RDWR)
generation = 1
while True:
    generation += 1
    block = struct.pack('<Q', generation) * (1 << 17)
    for i in range(int(sys.argv[2])):
        os.pwrite(fd, block, i << 20)
        time.sleep(0.002)
    if generation == 2: print('ready', flush=True)`

/** Each write has the number of the generation and how many went before it; a generation begins with nothing. */
const APPEND = `${ENDS_BETWEEN_WRITES}
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
generation = 1
while True:
    generation += 1
    os.ftruncate(fd, 0)
    for i in range(int(sys.argv[2])):
        os.write(fd, struct.pack('<LL', generation, i) * (1 << 17))
        time.sleep(0.002)
    if generation == 2: print('ready', flush=True)`

/** A process that writes to a file all the time. */
async function writer(t: Test, script: string, file: string): Promise<ChildProcess> {
  const child = spawn('python3', ['-c', script, file, String(BLOCKS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => void child.kill('SIGKILL'))
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve)
    child.once('exit', () => reject(new Error('the writer ended')))
  })
  return child
}

async function stopped(child: ChildProcess): Promise<void> {
  const exit = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGTERM')
  await exit
}

/** The 8 bytes that each block of 1 MiB repeats; undefined for a block that does not. */
function stamps(content: Buffer): (Buffer | undefined)[] {
  return Array.from({ length: Math.ceil(content.length / MIB) }, (_, i) => {
    const block = content.subarray(i * MIB, (i + 1) * MIB)
    const stamp = block.subarray(0, 8)
    return block.equals(Buffer.alloc(MIB, stamp)) ? stamp : undefined
  })
}

/** Why a file that is rewritten block by block was never like this; undefined if it can have been. */
function rewriteFault(content: Buffer): string | undefined {
  if (content.length !== BLOCKS * MIB) return `${content.length} bytes`
  const generations = stamps(content).map(stamp => stamp && Number(stamp.readBigUInt64LE()))
  const [first] = generations
  const turn = generations.findIndex(generation => generation !== first)
  const rest = turn === -1 ? [] : generations.slice(turn)
  const isOne = first !== undefined && rest.every(generation => generation === first - 1)
  return isOne ? undefined : `generations ${generations.join()}`
}

/** The same of one that is appended to. */
function appendFault(content: Buffer): string | undefined {
  const found = stamps(content)
  const generation = found[0]?.readUInt32LE(0)
  const isOne = found.every(
    (stamp, i) => stamp?.readUInt32LE(0) === generation && stamp?.readUInt32LE(4) === i,
  )
  if (content.length % MIB === 0 && isOne) return undefined
  return `${content.length} bytes: ${found.map(stamp => stamp?.toString('hex') ?? 'torn').join()}`
}

function firstGeneration(file: string): void {
  const stamp = Buffer.alloc(8)
  stamp.writeBigUInt64LE(1n)
  fs.writeFileSync(file, Buffer.alloc(BLOCKS * MIB, stamp))
}

const writers = {
  'rewritten block by block': { script: REWRITE, fault: rewriteFault },
  'emptied and appended to': { script: APPEND, fault: appendFault },
} as const

const ROUNDS = 4

/** What is told of a file that is written to: now and then all of it is read between two writes, and there is nothing. */
async function changed<T>(archived: () => Promise<readonly T[]>): Promise<readonly T[]> {
  for (let tries = 1; ; tries++) {
    const told = await archived()
    if (told.length > 0 || tries === 10) return told
  }
}

for (const name of ['btrfs', 'xfs'] satisfies FilesystemName[]) {
  for (const [what, { script, fault }] of Object.entries(writers)) {
    t.test(`${name}: a file that is ${what} is of one moment`, async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source } = sourceAndTarget(directory)
      const file = join(source, 'busy')
      firstGeneration(file)
      const child = await writer(t, script, file)
      const seen = new Set<string>()
      for (let round = 0; round < ROUNDS; round++) {
        const before = fs.statSync(file, { bigint: true }).ctimeNs
        const { bytes, events, summary } = await archive(['.'], { directory: source, snapshot })
        t.not(fs.statSync(file, { bigint: true }).ctimeNs, before, 'it was written to meanwhile')
        t.same([...problems(events), ...notes(events)], [], 'it is whole')
        t.equal(summary.tree.changed, 0)
        const target = fs.mkdtempSync(join(directory, 'target-'))
        const restored = await restore(bytes, target)
        t.same(problems(restored.events), [], 'and is so in the archive')
        const content = fs.readFileSync(join(target, 'busy'))
        t.equal(fault(content), undefined, `round ${round}`)
        t.equal(summary.tree.logicalBytes, content.length)
        seen.add(content.subarray(0, 8).toString('hex'))
      }
      t.ok(seen.size > 1, 'moments differ')

      const argv = ['create', '--snapshot', '-f', 'x', '-C', source, 'busy']
      const { code, stderr } = await reftar(argv, { cwd: directory })
      t.same([code, stderr], [0, ''], 'by the command')
      const out = fs.mkdtempSync(join(directory, 'target-'))
      await restore(fs.readFileSync(join(directory, 'x')), out)
      t.equal(fault(fs.readFileSync(join(out, 'busy'))), undefined)

      const byLibrary = async () => problems((await archive(['.'], { directory: source })).events)
      t.same(await changed(byLibrary), ['SOURCE_CHANGED busy'], 'without a snapshot it is told as changed')
      const byCommand = async () => {
        const told = await reftar(['create', '-f', 'y', '-C', source, 'busy'], { cwd: directory })
        return told.code === 0 ? [] : [told.code, told.stderr]
      }
      t.same(await changed(byCommand), [1, "reftar: 'busy': changed while it was read\n"])
      t.equal(child.exitCode, null, 'the writer was at work')
      await stopped(child)
      t.equal(fault(fs.readFileSync(file)), undefined, 'the writer itself keeps the rule')
    })
  }
}

for (const name of ['btrfs', 'xfs'] satisfies FilesystemName[]) {
  t.test(`${name}: clones of a file that is written to are what they were`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source } = sourceAndTarget(directory)
    const inside = (file: string) => join(source, file)
    firstGeneration(inside('b-busy'))
    for (const calm of ['a-calm', 'c-calm', 'd-calm']) reflink(inside('b-busy'), inside(calm))
    const original = fs.readFileSync(inside('a-calm'))
    const child = await writer(t, REWRITE, inside('b-busy'))
    for (let round = 0; round < 3; round++) {
      const { bytes, events, summary } = await archive(['.'], {
        directory: source,
        snapshot,
        dedup: 'shared',
      })
      t.same([...problems(events), ...notes(events)], [])
      t.ok(summary.tree.sharedBytes >= 2 * BLOCKS * MIB, 'those that are calm share')
      const target = fs.mkdtempSync(join(directory, 'target-'))
      await restore(bytes, target)
      for (const calm of ['a-calm', 'c-calm', 'd-calm']) {
        t.ok(fs.readFileSync(join(target, calm)).equals(original), `round ${round}: ${calm}`)
      }
      t.equal(rewriteFault(fs.readFileSync(join(target, 'b-busy'))), undefined)
    }
    await stopped(child)
  })
}

/** Files of every shape, of which some share. */
function makeFiles(source: string, canShare: boolean): void {
  const inside = (file: string) => join(source, file)
  const clone = (from: string, to: string) =>
    execFileSync('cp', [`--reflink=${canShare ? 'always' : 'never'}`, '--', inside(from), inside(to)])
  fs.mkdirSync(inside('d'))
  fs.writeFileSync(inside('a'), noise(12 * MIB + 77))
  clone('a', 'b')
  clone('a', 'd/c')
  fs.writeFileSync(inside('d/part'), noise(MIB, 'part'))
  if (canShare) cloneRange(inside('a'), MIB, 512 * KIB, inside('d/part'), 0)
  fs.writeFileSync(inside('twice'), noise(512 * KIB, 'twice'))
  if (canShare) cloneRange(inside('twice'), 0, 256 * KIB, inside('twice'), MIB)
  fs.writeFileSync(inside('empty'), '')
  fs.writeFileSync(inside('small'), 'small')
  fs.writeFileSync(inside('block'), noise(4 * KIB, 'block'))
  fs.writeFileSync(inside('odd'), noise(100_001, 'odd'))
  sparse(inside('hole'), 3 * MIB + 5, [MIB, noise(64 * KIB, 'hole')])
  sparse(inside('nothing'), MIB)
  fs.linkSync(inside('odd'), inside('d/link'))
  fs.symlinkSync('a', inside('symlink'))
  execFileSync('mkfifo', [inside('fifo')])
  fs.writeFileSync(inside('secret'), 'secret', { mode: 0 })
  fs.writeFileSync(inside('readonly'), noise(MIB, 'readonly'), { mode: 0o444 })
}

/** What nobody but a reader may change: names, and all times but that of access. */
function traces(directory: string): string[] {
  const format = '%P %i %s %b %m %n %T@ %C@\\n'
  return execFileSync('find', [directory, '-printf', format], { encoding: 'utf8' })
    .trimEnd()
    .split('\n')
    .sort()
}

for (const name of ['btrfs', 'btrfs-zstd', 'xfs', 'xfs-1k'] satisfies FilesystemName[]) {
  t.test(`${name}: files that nobody writes to are archived as without a snapshot`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    makeFiles(source, true)
    const plain = await archive(['.'], { directory: source })
    const before = traces(source)
    const { bytes, events, summary } = await archive(['.'], { directory: source, snapshot })
    t.same([...problems(events), ...notes(events)], [])
    t.same(traces(source), before, 'the source is as it was, with all its times')
    t.ok(bytes.equals(plain.bytes), 'the same bytes')
    t.same(summary.tree, plain.summary.tree, 'as much was read, and as much shared')
    await restore(bytes, target)
    t.same(compareTrees(source, target), [])
    if (name === 'btrfs-zstd') return
    t.equal(sharedBytes(join(source, 'a'), join(source, 'b')), 12 * MIB + 77)
    t.equal(sharedBytes(join(target, 'a'), join(target, 'b')), 12 * MIB + 77, 'they share again')
    t.equal(sharedBytes(join(target, 'a'), join(target, 'd/part')), 512 * KIB)
    const read = 12 * MIB + 77 + 512 * KIB + 512 * KIB + 4 * KIB + 100_001 + 64 * KIB + 5 + 6 + MIB
    t.equal(summary.tree.bytesRead, read, 'what is shared was read once')
  })

  t.test(`${name}: no name shows while a snapshot is read`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source } = sourceAndTarget(directory)
    makeFiles(source, true)
    const before = traces(source)
    const names = () => [...fs.readdirSync(source), ...fs.readdirSync(join(source, 'd'))]
    const all = names()
    const descriptors = openDescriptors()
    let clones = 0
    const other: string[] = []
    for await (const record of treeSource(['.'], { directory: source, snapshot })) {
      if (record.kind === 'data' && unnamedFiles(directory) > 0) clones++
      if (names().join('\n') !== all.join('\n')) other.push(record.kind)
    }
    t.ok(clones > 0, 'clones were there')
    t.same(other, [], 'and had no names')
    t.same(traces(source), before, 'nor do they leave times')
    t.equal(unnamedFiles(directory), 0, 'all are closed')
    t.equal(openDescriptors(), descriptors)
  })

  t.test(`${name}: a reader that leaves early leaves nothing open`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source } = sourceAndTarget(directory)
    makeFiles(source, true)
    for (const last of ['entry', 'data', 'end'] satisfies ArchiveRecord['kind'][]) {
      const descriptors = openDescriptors()
      const records = treeSource(['.'], { directory: source, snapshot })
      const closed = new Promise(resolve => records.on('close', () => resolve(undefined)))
      let isFile = false
      for await (const record of records) {
        if (record.kind === 'entry') isFile = record.type === 'file'
        if (isFile && record.kind === last) break
      }
      await closed
      t.equal(openDescriptors(), descriptors, last)
      t.equal(unnamedFiles(directory), 0)
    }
  })
}

/** How many files without a name this process has open on a filesystem. */
function unnamedFiles(directory: string): number {
  const { dev } = fs.statSync(directory)
  const isUnnamed = (fd: string): boolean => {
    try {
      const status = fs.statSync(`/proc/self/fd/${fd}`)
      return status.isFile() && status.dev === dev && status.nlink === 0
    } catch {
      return false
    }
  }
  return fs.readdirSync('/proc/self/fd').filter(isUnnamed).length
}

/** FS_IOC_SETFLAGS with FS_NOCOW_FL: of what has no data yet. */
const NO_COW = `
import fcntl, os, struct, sys
for path in sys.argv[1:]:
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, 0x40086602, struct.pack('l', 0x800000))`

/** FS_IOC_GETFLAGS, of each whether it has FS_NOCOW_FL. */
const HAS_NO_COW = `
import fcntl, os, struct, sys
for path in sys.argv[1:]:
    flags, = struct.unpack('l', fcntl.ioctl(os.open(path, os.O_RDONLY), 0x80086601, bytes(8)))
    print(bool(flags & 0x800000))`

function hasNoCow(...files: readonly string[]): string[] {
  return execFileSync('python3', ['-c', HAS_NO_COW, ...files], { encoding: 'utf8' })
    .trimEnd()
    .split('\n')
}

t.test('btrfs: a file that is written in place', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  const inside = (file: string) => join(source, file)
  for (const file of ['busy', 'calm']) fs.writeFileSync(inside(file), '')
  execFileSync('python3', ['-c', NO_COW, inside('busy'), inside('calm')])
  firstGeneration(inside('busy'))
  fs.writeFileSync(inside('calm'), noise(12 * MIB + 5))
  reflinkNoCow(inside('calm'), inside('clone'))
  t.same(hasNoCow(...['busy', 'calm', 'clone'].map(inside)), ['True', 'True', 'True'])
  const child = await writer(t, REWRITE, inside('busy'))
  const { bytes, events, summary } = await archive(['.'], { directory: source, snapshot, dedup: 'shared' })
  t.same([...problems(events), ...notes(events)], [])
  t.equal(summary.tree.sharedBytes, 12 * MIB + 5)
  await restore(bytes, target)
  await stopped(child)
  t.equal(rewriteFault(fs.readFileSync(join(target, 'busy'))), undefined, 'is of one moment')
  t.ok(fs.readFileSync(join(target, 'clone')).equals(noise(12 * MIB + 5)))
  t.same(hasNoCow(join(target, 'busy'), join(target, 'clone')), ['True', 'True'])
})

/** `cp --reflink` into a file that is written in place, too. */
function reflinkNoCow(from: string, to: string): void {
  fs.writeFileSync(to, '')
  execFileSync('python3', ['-c', NO_COW, to])
  cloneRange(from, 0, 0, to, 0)
}

t.test('btrfs: a file in a directory of which new files are written in place', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.mkdirSync(join(source, 'd'))
  execFileSync('python3', ['-c', NO_COW, join(source, 'd')])
  fs.writeFileSync(join(source, 'd/new'), noise(MIB))
  firstGeneration(join(source, 'moved'))
  fs.renameSync(join(source, 'moved'), join(source, 'd/moved'))
  t.same(hasNoCow(join(source, 'd/new'), join(source, 'd/moved')), ['True', 'False'])
  const child = await writer(t, REWRITE, join(source, 'd/moved'))
  const { bytes, events } = await archive(['.'], { directory: source, snapshot })
  await stopped(child)
  t.same([...problems(events), ...notes(events)], [])
  await restore(bytes, target)
  t.equal(rewriteFault(fs.readFileSync(join(target, 'd/moved'))), undefined)
  t.same(hasNoCow(join(target, 'd/new'), join(target, 'd/moved')), ['True', 'False'])
})

/** Archives without any clone, and with one note that says so. */
async function readsAsTheyAre(t: Test, source: string, target: string, options: CreateOptions = {}) {
  const plain = await archive(['.'], { directory: source })
  const { bytes, events } = await archive(['.'], { ...options, directory: source, snapshot })
  t.same(problems(events), [])
  const [note = '', ...others] = notes(events)
  t.match(note, /^files are read as they are, without a snapshot: .*\(E[A-Z]+\)$/)
  t.same(others, [], 'one note')
  t.ok(bytes.equals(plain.bytes), 'the same bytes as without a snapshot')
  await restore(bytes, target)
  t.same(compareTrees(source, target), [])
}

for (const name of ['ext4', 'tmpfs'] satisfies FilesystemName[]) {
  t.test(`${name}: files are read as they are, with one note`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    makeFiles(source, false)
    const before = traces(source)
    await readsAsTheyAre(t, source, target)
    t.same(traces(source), before, 'the source is as it was')
    const { code, stderr } = await reftar(['create', '--snapshot', '-f', 'x', 'source'], { cwd: directory })
    t.equal(code, 0)
    t.match(stderr, /^reftar: files are read as they are, without a snapshot: .*\n$/)

    firstGeneration(join(source, 'busy'))
    const child = await writer(t, REWRITE, join(source, 'busy'))
    const told = async () => problems((await archive(['.'], { directory: source, snapshot })).events)
    t.same(await changed(told), ['SOURCE_CHANGED busy'], 'and what changes is told')
    await stopped(child)
  })
}

t.test('where nothing can be made, files are read as they are', needsRoot, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  makeFiles(source, true)

  await t.test('on a filesystem that is read-only', async t => {
    const mount = join(directory, 'mount')
    fs.mkdirSync(mount)
    execFileSync('mount', ['--bind', source, mount])
    try {
      execFileSync('mount', ['-o', 'remount,bind,ro', mount])
      await readsAsTheyAre(t, mount, target)
    } finally {
      execFileSync('umount', [mount])
    }
  })

  await t.test('in a directory that may not be written', async t => {
    fs.rmSync(join(source, 'secret'))
    fs.chmodSync(join(source, 'd'), 0o555)
    const argv = ['create', '--snapshot', '-f', 'x', 'source']
    const { code, stderr } = await unprivileged(argv, { cwd: directory })
    t.equal(code, 0)
    t.match(stderr, /^reftar: files are read as they are, without a snapshot: .*\(EACCES\)\n$/)
    fs.chmodSync(join(source, 'd'), 0o755)
  })
})
