// Sources that change, fail or lie while they are read, and what is left out of them because someone asked for it.
import { execFileSync, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import t, { type Test } from 'tap'
import type { CreateOptions } from '../src/create.js'
import type { Path, ReftarEvent } from '../src/event.js'
import { type ArchiveRecord, lengthOf, type Missing } from '../src/record.js'
import { blockSplitter } from '../src/stream/block-splitter.js'
import { crcDedup } from '../src/stream/crc-dedup.js'
import { extentEncoder } from '../src/stream/extent-encoder.js'
import { treeSource } from '../src/stream/tree-source.js'
import { CLI, type Ended, reftar, run as runProgram, unprivileged, until } from './cli/run.js'
import { compareTrees } from './support/compare-trees.js'
import { cloneRange, sharedBytes } from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import {
  archive,
  decoded,
  failure,
  KIB,
  listed,
  MIB,
  noise,
  notes,
  problems,
  reflink,
  replay,
  restore,
  run,
  sourceAndTarget,
} from './support/trees.js'

process.umask(0o022)

const isRoot = process.getuid?.() === 0
const needsRoot = { skip: !isRoot && 'needs root' }
const tracing = { skip: isRoot && fs.existsSync('/usr/bin/strace') ? false : 'needs root and strace' }

/** Memory that was used before holds something, but nothing that was in a file. */
function poisonNewMemory(t: Test): void {
  const { allocUnsafe, allocUnsafeSlow } = Buffer
  Buffer.allocUnsafe = size => allocUnsafe(size).fill(POISON)
  Buffer.allocUnsafeSlow = size => allocUnsafeSlow(size).fill(POISON)
  t.teardown(() => void Object.assign(Buffer, { allocUnsafe, allocUnsafeSlow }))
}

const POISON = 0xa5
const SIGNATURE = 'Signature: 8a477f597d28d172789f06886806bc55'

interface Moment {
  readonly entry: string
  readonly kind: ArchiveRecord['kind']
}

/** An archive of all that is in a directory; `act` runs once, between two records. */
async function archivedWhile(
  directory: string,
  moment: Moment,
  act: () => void,
): Promise<{ bytes: Buffer; events: ReftarEvent[] }> {
  const events: ReftarEvent[] = []
  const chunks: Buffer[] = []
  let hasActed = false
  async function* acting(records: AsyncIterable<ArchiveRecord>) {
    let entry = ''
    for await (const record of records) {
      if (record.kind === 'entry') entry = Buffer.from(record.name).toString()
      if (!hasActed && entry === moment.entry && record.kind === moment.kind) {
        hasActed = true
        act()
      }
      yield record
    }
  }
  const collect = new Writable({
    write(chunk: Uint8Array, _encoding, callback) {
      chunks.push(Buffer.from(chunk))
      callback()
    },
  })
  const tree = treeSource(['.'], { directory, onEvent: event => events.push(event) })
  await run(tree, acting, blockSplitter(), crcDedup(), extentEncoder(), collect)
  if (!hasActed) throw new Error('the moment never came')
  return { bytes: Buffer.concat(chunks), events }
}

/** Where a file has a byte that none of its versions had there. */
function strangeByte(found: Buffer, versions: readonly Buffer[]): number | undefined {
  const at = found.findIndex((byte, offset) => versions.every(version => version[offset] !== byte))
  return at === -1 ? undefined : at
}

const SIZE = 6 * MIB + 50
const earlier = noise(SIZE, 'earlier')
const later = noise(SIZE, 'later')
const zeros = Buffer.alloc(SIZE)

interface Change {
  readonly act: (file: string) => void
  /** What may stand in the archive, beside what the file was. */
  readonly versions?: readonly Buffer[]
  /** All that it was can still be read. */
  readonly isComplete?: boolean
}

/** Each is so large that the stream cannot have read all of the file before. */
const changes: Readonly<Record<string, Change>> = {
  grows: {
    act: file => fs.appendFileSync(file, later.subarray(0, MIB)),
    versions: [Buffer.concat([earlier, later.subarray(0, MIB)])],
    isComplete: true,
  },
  'shrinks to a block': { act: file => fs.truncateSync(file, 4096) },
  'shrinks by a byte': { act: file => fs.truncateSync(file, SIZE - 1) },
  'is truncated to nothing': { act: file => fs.truncateSync(file, 0) },
  'is truncated, and becomes as long as it was': {
    act: file => {
      fs.truncateSync(file, 0)
      fs.truncateSync(file, SIZE)
    },
    versions: [zeros],
  },
  'is written anew': { act: file => fs.writeFileSync(file, later), versions: [later] },
  'is written anew, and is shorter': {
    act: file => fs.writeFileSync(file, later.subarray(0, 3 * MIB + 7)),
    versions: [later],
  },
  'is replaced': {
    act: file => {
      fs.writeFileSync(`${file}.new`, later)
      fs.renameSync(`${file}.new`, file)
    },
    isComplete: true,
  },
  'is deleted': { act: file => fs.rmSync(file), isComplete: true },
}

for (const name of ['btrfs', 'xfs', 'ext4', 'tmpfs'] satisfies FilesystemName[]) {
  for (const [what, { act, versions = [], isComplete = false }] of Object.entries(changes)) {
    t.test(`${name}: a file ${what} while it is read`, async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      poisonNewMemory(t)
      const { source, target } = sourceAndTarget(directory)
      const file = join(source, 'f')
      fs.writeFileSync(join(source, 'a'), 'before')
      fs.writeFileSync(file, earlier)
      fs.writeFileSync(join(source, 'z'), noise(200 * KIB, 'z'))
      const { bytes, events } = await archivedWhile(source, { entry: 'f', kind: 'data' }, () => act(file))
      t.same(problems(events), ['SOURCE_CHANGED f'], 'it is named')

      const files = replay(await decoded(bytes))
      t.same([...files.keys()], ['', 'a', 'f', 'z'].slice(1))
      t.same(
        [...files.values()].map(({ state }) => state),
        ['whole', 'changed', 'whole'],
      )
      const { events: told } = await restore(bytes, target)
      t.same(problems(told), ['SOURCE_CHANGED f'], 'it is named again')
      const restored = fs.readFileSync(join(target, 'f'))
      t.ok(restored.equals(files.get('f')?.bytes ?? Buffer.alloc(0)), 'what the archive has is restored')
      t.equal(strangeByte(restored, [earlier, ...versions]), undefined, 'no byte that the file never had')
      t.notOk(restored.includes(Buffer.alloc(32, POISON)), 'nothing of what memory held')
      if (!versions.includes(zeros)) t.notOk(restored.includes(Buffer.alloc(32)), 'no zeros')
      t.ok(restored.byteLength >= MIB, 'what was read before is kept')
      if (isComplete) t.ok(restored.equals(earlier), 'all of it')
      t.equal(fs.readFileSync(join(target, 'a'), 'utf8'), 'before')
      t.ok(fs.readFileSync(join(target, 'z')).equals(noise(200 * KIB, 'z')), 'the next file is as it was')
    })
  }

  t.test(`${name}: a file that changes after its end is whole`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    const file = join(source, 'f')
    fs.writeFileSync(file, earlier)
    const { bytes, events } = await archivedWhile(source, { entry: 'f', kind: 'end' }, () =>
      fs.truncateSync(file, 10),
    )
    t.same(problems(events), [])
    await restore(bytes, target)
    t.ok(fs.readFileSync(join(target, 'f')).equals(earlier))
  })
}

t.test('a name that becomes something else before it is looked at', async t => {
  const replacements: Readonly<Record<string, (path: string) => void>> = {
    'a FIFO': path => execFileSync('mkfifo', [path]),
    'a directory': path => fs.mkdirSync(path),
    'a symbolic link': path => fs.symlinkSync('f', path),
    'another file': path => fs.writeFileSync(path, 'another'),
  }
  for (const [what, make] of Object.entries(replacements)) {
    await t.test(what, async t => {
      const directory = testDirectory(t, 'xfs')
      if (directory === undefined) return
      const { source, target } = sourceAndTarget(directory)
      fs.writeFileSync(join(source, 'f'), earlier)
      fs.writeFileSync(join(source, 'x'), 'x')
      fs.writeFileSync(join(source, 'z'), 'z')
      const { bytes, events } = await archivedWhile(source, { entry: 'f', kind: 'entry' }, () => {
        fs.rmSync(join(source, 'x'))
        make(join(source, 'x'))
      })
      t.same(problems(events), [], 'it is archived as what it is')
      await restore(bytes, target)
      t.same(compareTrees(source, target), [])
    })
  }
})

/** Runs the command under strace; the counts of strace are those of one thread, so there shall be few. */
function traced(options: readonly string[], argv: readonly string[], cwd: string): Promise<Ended> {
  const strace = ['strace', '-f', '-qq', ...options, process.execPath, CLI, ...argv]
  return runProgram(['timeout', '-k', '1', '60', 'env', 'UV_THREADPOOL_SIZE=1', ...strace], { cwd })
}

/** Lets calls on one file fail: `when` as inject of strace has it. */
function failing(file: string, call: string, error: string, when: string): string[] {
  const inject = `inject=${call}:error=${error}:when=${when}`
  return ['-o', '/dev/null', '-P', file, '-e', `trace=${call}`, '-e', inject]
}

/** Where the bytes of a file are missing. */
function missingRanges(records: readonly ArchiveRecord[], name: string): (Missing & { offset: number })[] {
  const found: (Missing & { offset: number })[] = []
  let entry = ''
  let offset = 0
  for (const record of records) {
    if (record.kind === 'entry') {
      entry = Buffer.from(record.name).toString()
      offset = 0
    }
    if (record.kind === 'missing' && entry === name) found.push({ ...record, offset })
    offset += lengthOf(record)
  }
  return found
}

const EIO = 5

t.test('a read that fails in the middle of a file', tracing, async t => {
  for (const [when, most] of [
    ['2+', 2 * MIB + 100],
    ['2', 4 * KIB],
  ] as const) {
    await t.test(when === '2' ? 'once on each thread' : 'from there on', async t => {
      const directory = testDirectory(t, 'xfs')
      if (directory === undefined) return
      const tree = join(directory, 'tree')
      fs.mkdirSync(tree)
      fs.mkdirSync(join(directory, 'out'))
      const content = noise(3 * MIB + 100)
      fs.writeFileSync(join(tree, 'a'), 'before')
      fs.writeFileSync(join(tree, 'f'), content)
      fs.writeFileSync(join(tree, 'z'), noise(MIB, 'z'))
      const inHere = { cwd: directory }
      const options = failing(join(tree, 'f'), 'pread64', 'EIO', when)
      const created = await traced(options, ['create', '-f', 'x', 'tree'], directory)
      t.equal(created.code, 1)
      const [, count] = /^reftar: 'tree\/f': (\d+) bytes could not be read and are missing\n$/.exec(
        created.stderr,
      ) ?? ['', '0']
      t.ok(Number(count) >= 4 * KIB && Number(count) <= most, `${count} bytes are named as missing`)

      const records = await decoded(fs.readFileSync(join(directory, 'x')))
      const missing = missingRanges(records, 'f')
      const total = missing.reduce((sum, { length }) => sum + length, 0)
      t.equal(total, Number(count), 'as many are missing in the archive')
      t.ok(missing.every(({ errno }) => errno === EIO))
      t.ok(
        missing.every(({ offset }) => offset >= MIB),
        'what was read before is there',
      )

      const extracted = await reftar(['extract', '-f', 'x', '-C', 'out'], inHere)
      t.equal(extracted.code, 1)
      for (const { offset, length } of missing) {
        const range = `reftar: 'tree/f': ${length} bytes at ${offset} are missing, the source gave EIO\n`
        t.ok(extracted.stderr.includes(range), `extract names the range at ${offset}`)
      }
      const expected = Buffer.from(content)
      for (const { offset, length } of missing) expected.fill(0, offset, offset + length)
      t.ok(fs.readFileSync(join(directory, 'out/tree/f')).equals(expected), 'all that there is')
      t.same(
        compareTrees(tree, join(directory, 'out/tree'), { holes: false }).filter(line => !/^f: /.test(line)),
        [],
        'other files are as they were',
      )

      const against = await reftar(['verify', '-f', 'x', '--against', '.'], inHere)
      t.equal(against.code, 1)
      t.match(against.stderr, /'tree\/f': has \d+ bytes at \d+ that the archive lacks\n/)
    })
  }
})

t.test(
  'whichever call on a file fails, it is named, and the archive of the others is good',
  tracing,
  async t => {
    const directory = testDirectory(t, 'btrfs')
    if (directory === undefined) return
    const tree = join(directory, 'tree')
    fs.mkdirSync(tree)
    fs.writeFileSync(join(tree, 'a'), 'before')
    fs.writeFileSync(join(tree, 'f'), noise(MIB + 100))
    fs.writeFileSync(join(tree, 'z'), noise(200 * KIB, 'z'))
    let named = 0
    for (const [call, error, counts] of [
      ['pread64', 'EIO', [1, 2]],
      ['lseek', 'EIO', [1, 2]],
      ['statx', 'ESTALE', [1, 2, 3]],
      ['ioctl', 'EIO', [1, 2, 3]],
      ['fgetxattr,flistxattr', 'EIO', [1]],
    ] as const) {
      for (const count of counts) {
        await t.test(`${call}, call ${count}`, async t => {
          const out = fs.mkdtempSync(join(directory, 'out-'))
          const argv = ['create', '-f', 'x', 'tree']
          const created = await traced(failing(join(tree, 'f'), call, error, String(count)), argv, directory)
          t.ok(created.code === 0 || created.code === 1, `exit status ${created.code}: ${created.stderr}`)
          if (created.code === 1) named++
          if (created.code === 1) t.match(created.stderr, /^(reftar: 'tree\/f': .*\n)+$/, 'only it is named')
          else t.equal(created.stderr, '')
          const { events } = await restore(fs.readFileSync(join(directory, 'x')), out)
          const lines = compareTrees(tree, join(out, 'tree'))
          t.same(
            lines.filter(line => created.code !== 1 || !/^f: /.test(line)),
            [],
            'what is not named is as it was',
          )
          t.ok(
            problems(events).every(problem => created.code === 1 && problem.endsWith(' tree/f')),
            'nor is anything else named when it is restored',
          )
          fs.rmSync(join(directory, 'x'), { force: true })
        })
      }
    }
    t.ok(named >= 4, 'most of them were noticed')
  },
)

t.test('what a user may not read', needsRoot, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const inside = (name: string) => join(directory, 'tree', name)
  for (const name of ['listed', 'searched', 'z']) {
    fs.mkdirSync(inside(`${name}/d`), { recursive: true })
    fs.writeFileSync(inside(`${name}/f`), name)
  }
  fs.writeFileSync(inside('z/secret'), 'secret', { mode: 0o200 })
  fs.symlinkSync('secret', inside('z/link'))
  fs.chmodSync(inside('listed'), 0o444)
  fs.chmodSync(inside('searched'), 0o111)
  const created = await unprivileged(['create', '-f', 'x', 'tree'], { cwd: directory })
  t.equal(created.code, 1)
  t.same(created.stderr.trimEnd().split('\n').sort(), [
    "reftar: 'tree/listed/d': left out: statx: permission denied (EACCES)",
    "reftar: 'tree/listed/f': left out: openat: permission denied (EACCES)",
    "reftar: 'tree/searched': what is in it is left out: openat: permission denied (EACCES)",
    "reftar: 'tree/z/secret': left out: openat: permission denied (EACCES)",
  ])
  const list = await reftar(['list', '-f', 'x'], { cwd: directory })
  t.equal(
    list.stdout.toString(),
    'tree/\ntree/listed/\ntree/searched/\ntree/z/\ntree/z/d/\ntree/z/f\ntree/z/link\n',
  )
  for (const path of ['tree/z/secret', 'tree/searched/d/missing', 'tree/listed/f']) {
    const named = await unprivileged(['create', '-f', 'y', 'tree/z/f', path], { cwd: directory })
    t.equal(named.code, 2, path)
    t.notOk(fs.existsSync(join(directory, 'y')), 'no archive')
  }
  for (const name of ['listed', 'searched']) fs.chmodSync(inside(name), 0o755)
})

/** Opens of the last component of some path, without those that only name it. */
function opensOf(log: string, names: RegExp): string[] {
  const lines = fs.readFileSync(log, 'utf8').split('\n')
  return lines.filter(line => names.test(/"((?:[^"\\]|\\.)*)"/.exec(line)?.[1] ?? '') && !/O_PATH/.test(line))
}

t.test('FIFOs, devices and sockets are never opened', tracing, async t => {
  const directory = testDirectory(t, 'ext4')
  if (directory === undefined) return
  const tree = join(directory, 'tree')
  fs.mkdirSync(join(tree, 'd'), { recursive: true })
  fs.mkdirSync(join(directory, 'out'))
  for (const name of ['fifo', 'd/fifo']) execFileSync('mkfifo', [join(tree, name)])
  execFileSync('mknod', [join(tree, 'char'), 'c', '1', '3'])
  execFileSync('mknod', [join(tree, 'block'), 'b', '7', '255'])
  const bind = 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])'
  execFileSync('python3', ['-c', bind, join(tree, 'socket')])
  fs.writeFileSync(join(tree, 'file'), 'file')
  const socket = "reftar: 'tree/socket': a socket is not archived\n"
  for (const [what, argv, stderr] of [
    ['create', ['create', '-f', 'x', 'tree'], socket],
    ['create, by their names', ['create', '-f', 'y', 'tree/fifo', 'tree/char', 'tree/block'], ''],
    ['create --snapshot', ['create', '--snapshot', '-f', 'z', 'tree'], /^reftar: .*'tree\/socket'/s],
    ['verify --against', ['verify', '-f', 'x', '--against', '.'], ''],
    ['extract', ['extract', '-f', 'x', '-C', 'out'], ''],
    ['sharing', ['sharing', '--content', 'tree'], ''],
  ] as const) {
    await t.test(what, async t => {
      const log = join(directory, 'log')
      const ended = await traced(['-e', 'trace=open,openat,openat2', '-o', log], argv, directory)
      t.equal(ended.code, 0, ended.stderr)
      if (typeof stderr === 'string') t.equal(ended.stderr, stderr)
      else t.match(ended.stderr, stderr)
      t.same(opensOf(log, /^(.*\/)?(fifo|char|block|socket)$/), [])
      if (what.startsWith('create -') || what === 'create')
        t.not(opensOf(log, /^(.*\/)?file$/).length, 0, 'a file is')
    })
  }
  t.same(
    compareTrees(tree, join(directory, 'out/tree'), { root: true }).filter(line => !/^socket: /.test(line)),
    [],
  )
})

t.test('a FIFO that is named as an ignore file or as the tag of a cache is not opened', tracing, async t => {
  const directory = testDirectory(t, 'ext4')
  if (directory === undefined) return
  const tree = join(directory, 'tree')
  fs.mkdirSync(tree)
  for (const name of ['.gitignore', 'CACHEDIR.TAG']) execFileSync('mkfifo', [join(tree, name)])
  const log = join(directory, 'log')
  const argv = ['create', '--exclude-vcs-ignores', '--exclude-caches', '-f', 'x', 'tree']
  const { code, stderr } = await traced(['-e', 'trace=open,openat,openat2', '-o', log], argv, directory)
  t.equal(code, 0, stderr)
  t.same(opensOf(log, /^(.*\/)?(\.gitignore|CACHEDIR\.TAG)$/), [], 'who waits to write to it goes on waiting')
})

/** A process that does nothing, so that what /proc says of it stays. */
async function sleeper(t: Test): Promise<number> {
  const script = 'import sys, time; print("ready", flush=True); time.sleep(1000)'
  const child = spawn('python3', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => void child.kill('SIGKILL'))
  await new Promise(resolve => child.stdout.once('data', resolve))
  const { pid = 0 } = child
  await until(() => /^State:\tS/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8')))
  return pid
}

/** Archives some files by the command, without a chance to hang, and restores them. */
async function throughCommand(
  t: Test,
  directory: string,
  from: string,
  names: readonly string[],
  options: readonly string[] = [],
): Promise<{ created: Ended; extracted: Ended; out: string }> {
  const out = fs.mkdtempSync(join(directory, 'out-'))
  const command = ['timeout', '-k', '1', '30', process.execPath, CLI, 'create', '-f', 'x', '-C', from]
  const created = await runProgram([...command, ...options, ...names], { cwd: directory })
  const extracted = await reftar(['extract', '-f', 'x', '-C', out], { cwd: directory })
  t.comment(created.stderr.trimEnd())
  return { created, extracted, out }
}

t.test('files of /proc are what reading them gives', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const pid = await sleeper(t)
  const files = ['cmdline', 'environ', 'maps', 'limits', 'cgroup']
  const before = files.map(name => fs.readFileSync(`/proc/${pid}/${name}`))
  t.ok((before[2]?.byteLength ?? 0) > 4096, 'one is longer than a page')
  t.equal(fs.statSync(`/proc/${pid}/maps`).size, 0, 'and none tells its size')
  const { created, extracted, out } = await throughCommand(t, directory, `/proc/${pid}`, files)
  t.same([created.code, created.stderr], [0, ''])
  t.same([extracted.code, extracted.stderr], [0, ''])
  for (const [i, name] of files.entries()) {
    t.equal(fs.readFileSync(join(out, name), 'latin1'), before[i]?.toString('latin1'), name)
  }

  const general = ['proc/cpuinfo', 'proc/version', 'proc/self/status', 'proc/filesystems']
  const { created: other, out: there } = await throughCommand(t, directory, '/', general)
  t.same([other.code, other.stderr], [0, ''])
  const withoutNumbers = (file: string) => fs.readFileSync(file, 'utf8').replaceAll(/\d+/g, '0')
  for (const name of ['proc/cpuinfo', 'proc/version', 'proc/filesystems']) {
    t.equal(withoutNumbers(join(there, name)), withoutNumbers(`/${name}`), name)
  }
  t.match(fs.readFileSync(join(there, 'proc/self/status'), 'utf8'), /^Name:\t.*\nPid:\t\d+\n/s)

  const { created: snapshot, out: clone } = await throughCommand(t, directory, `/proc/${pid}`, files, [
    '--snapshot',
  ])
  t.equal(snapshot.code, 0)
  t.match(snapshot.stderr, /^reftar: files are read as they are, without a snapshot: .*\n$/)
  t.equal(fs.readFileSync(join(clone, 'maps'), 'latin1'), before[2]?.toString('latin1'))
})

t.test('files of /sys are what reading them gives', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const known = [
    'devices/system/cpu/online',
    'devices/system/cpu/possible',
    'kernel/fscaps',
    'kernel/mm/transparent_hugepage/enabled',
    'kernel/notes',
    'kernel/btf/vmlinux',
  ]
  const files = known.filter(name => fs.existsSync(`/sys/${name}`))
  const isShorter = (name: string) =>
    fs.readFileSync(`/sys/${name}`).byteLength < fs.statSync(`/sys/${name}`).size
  if (!files.some(isShorter)) {
    t.pass('a file that tells more than it gives', { skip: 'there is none' })
    return
  }
  const { created, extracted, out } = await throughCommand(t, directory, '/sys', files)
  t.same([created.code, created.stderr], [0, ''])
  t.same([extracted.code, extracted.stderr], [0, ''])
  for (const name of files) {
    t.ok(fs.readFileSync(join(out, name)).equals(fs.readFileSync(`/sys/${name}`)), name)
  }
})

t.test('attributes of the kernel that nobody looked at before', needsRoot, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const mount = join(directory, 'cgroup')
  fs.mkdirSync(mount)
  try {
    execFileSync('mount', ['-t', 'cgroup2', 'cgroup2', mount], { stdio: 'pipe' })
  } catch {
    t.pass('a control group', { skip: 'cannot mount cgroup2' })
    return
  }
  // Such files are made anew with their directory, as those of a device are in /sys.
  const group = join(mount, `reftar-test-${process.pid}`)
  try {
    fs.mkdirSync(group)
    const files = ['cgroup.controllers', 'cgroup.max.depth', 'cgroup.type']
    const { created, extracted, out } = await throughCommand(t, directory, group, files)
    t.same([created.code, created.stderr], [0, ''])
    t.same([extracted.code, extracted.stderr], [0, ''])
    for (const name of files) {
      t.equal(fs.readFileSync(join(out, name), 'utf8'), fs.readFileSync(join(group, name), 'utf8'), name)
    }
  } finally {
    fs.rmdirSync(group)
    execFileSync('umount', [mount])
  }
})

t.test('a file of /proc that cannot be read is named', needsRoot, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const pid = await sleeper(t)
  const cmdline = fs.readFileSync(`/proc/${pid}/cmdline`)
  for (const [name, reason] of [
    ['mem', 'EIO'],
    ['clear_refs', 'EINVAL'],
  ] as const) {
    const { created, extracted, out } = await throughCommand(t, directory, `/proc/${pid}`, [
      name,
      'cmdline',
      'status',
    ])
    t.equal(created.code, 1, name)
    t.match(created.stderr, new RegExp(`^reftar: '${name}': .*\\(${reason}\\)\\n$`))
    t.equal(extracted.code, 1, 'nor does it pass for an empty file')
    t.match(extracted.stderr, new RegExp(`^reftar: '${name}': .*\\n$`))
    t.equal(fs.statSync(join(out, name)).size, 0)
    t.ok(fs.readFileSync(join(out, 'cmdline')).equals(cmdline), 'the next file is as it is')
  }
})

/** The stored paths of what is archived, without that of the directory itself. */
async function storedPaths(
  directory: string,
  options: CreateOptions = {},
  paths: readonly Path[] = ['.'],
): Promise<string[]> {
  const { bytes, events } = await archive(paths, { ...options, directory })
  if (problems(events).length > 0) throw new Error(problems(events).join())
  const stored = (await listed(bytes)).map(({ path }) => Buffer.from(path).toString('latin1'))
  return stored.filter(path => path !== '')
}

/** What is below a directory, but for some, as latin1 in the order of an archive. */
function pathsBut(directory: string, leftOut: readonly string[]): string[] {
  const found: string[] = []
  const walk = (at: Buffer, prefix: string) => {
    const names = fs.readdirSync(at, { encoding: 'buffer' }).sort(Buffer.compare)
    for (const name of names) {
      const path = `${prefix}${name.toString('latin1')}`
      const full = Buffer.concat([at, Buffer.from('/'), name])
      if (leftOut.includes(path)) continue
      found.push(path)
      if (fs.lstatSync(full).isDirectory()) walk(full, `${path}/`)
    }
  }
  walk(Buffer.from(directory), '')
  return found
}

/** Makes files, with their parents; a name with a slash at its end is that of a directory. Names are latin1. */
function makeFiles(directory: string, names: readonly string[]): void {
  for (const name of names) {
    const path = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(name, 'latin1')])
    const end = path.lastIndexOf('/')
    fs.mkdirSync(path.subarray(0, end), { recursive: true })
    if (end < path.length - 1) fs.writeFileSync(path, name)
  }
}

t.test('oneFileSystem, and a filesystem that is mounted below', needsRoot, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  makeFiles(source, ['a', 'd/mount/', 'd/z', 'z'])
  const mount = join(source, 'd/mount')
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=0751', 'tmpfs', mount])
  try {
    makeFiles(mount, ['f', 'e/g'])
    const oneFileSystem = true
    t.same(await storedPaths(source), [
      'a',
      'd',
      'd/mount',
      'd/mount/e',
      'd/mount/e/g',
      'd/mount/f',
      'd/z',
      'z',
    ])
    const { bytes, events } = await archive(['.'], { directory: source, oneFileSystem })
    t.same(problems(events), [])
    t.same(notes(events), ["'d/mount' is on another filesystem, what is in it is left out"])
    await restore(bytes, target)
    t.same(pathsBut(target, []), ['a', 'd', 'd/mount', 'd/z', 'z'])
    t.equal(fs.statSync(join(target, 'd/mount')).mode & 0o7777, 0o751, 'the directory itself is there')
    t.same(await storedPaths(source, { oneFileSystem }, ['d/mount', 'a']), [
      'a',
      'd',
      'd/mount',
      'd/mount/e',
      'd/mount/e/g',
      'd/mount/f',
    ])
    const argv = ['create', '--one-file-system', '-C', source, '-f', 'x', '.']
    const { code, stderr } = await reftar(argv, { cwd: directory })
    t.same([code, stderr], [0, "reftar: 'd/mount' is on another filesystem, what is in it is left out\n"])

    await t.test('a path that was given is on a filesystem of its own, also below another one', async t => {
      t.same(await storedPaths(source, { oneFileSystem }, ['.', 'd/mount']), await storedPaths(source))
    })
  } finally {
    execFileSync('umount', [mount])
  }
})

/** BTRFS_IOC_SUBVOL_CREATE */
const SUBVOLUME = `
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x5000940e, bytearray(struct.pack('q4088s', 0, sys.argv[2].encode())))`

t.test('oneFileSystem, and a subvolume of btrfs', needsRoot, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  makeFiles(directory, ['a', 'z'])
  execFileSync('python3', ['-c', SUBVOLUME, directory, 'volume'])
  makeFiles(directory, ['volume/d/f', 'volume/g'])
  t.same(await storedPaths(directory), ['a', 'volume', 'volume/d', 'volume/d/f', 'volume/g', 'z'])
  t.same(await storedPaths(directory, { oneFileSystem: true }), ['a', 'volume', 'z'])
  t.same(await storedPaths(directory, { oneFileSystem: true }, ['volume']), [
    'volume',
    'volume/d',
    'volume/d/f',
    'volume/g',
  ])
})

t.test('a socket that is given by its name is noted', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  const bind = 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])'
  execFileSync('python3', ['-c', bind, join(directory, 'socket')])
  fs.writeFileSync(join(directory, 'f'), '')
  const { bytes, events } = await archive(['socket', 'f'], { directory })
  t.same(notes(events), ["'socket': a socket is not archived"])
  t.same(problems(events), [])
  t.same(
    (await listed(bytes)).map(({ path }) => Buffer.from(path).toString()),
    ['f'],
  )
  t.same(notes((await archive(['.'], { directory, exclude: ['socket'] })).events), [], 'not when excluded')
})

interface Exclude {
  readonly what: string
  readonly patterns: readonly string[]
  /** Names and patterns are latin1 where they are not UTF-8. */
  readonly names: readonly string[]
  readonly leftOut: readonly string[]
}

const utf8 = (text: string) => Buffer.from(text).toString('latin1')

const excludes: readonly Exclude[] = [
  {
    what: 'a pattern without a slash matches names anywhere',
    patterns: ['*.o'],
    names: ['a.o', 'a.c', 'd/a.o', 'd/e/a.o', 'd/e/a.oo', '.o', '.d/.x.o', 'x.o/inside', 'x.o/d/inside'],
    leftOut: ['a.o', 'd/a.o', 'd/e/a.o', '.o', '.d/.x.o', 'x.o'],
  },
  {
    what: 'a name stands for a directory with all that is below',
    patterns: ['node_modules'],
    names: ['node_modules/a/b', 'd/node_modules/c', 'node_modules2', 'd/my_node_modules/x'],
    leftOut: ['node_modules', 'd/node_modules'],
  },
  {
    what: 'a pattern with a slash matches from any directory on',
    patterns: ['d/x'],
    names: ['d/x', 'e/d/x', 'e/f/d/x/y', 'ad/x', 'd/x2', 'd/e/x', 'x'],
    leftOut: ['d/x', 'e/d/x', 'e/f/d/x'],
  },
  {
    what: 'a leading slash stands for the top',
    patterns: ['/d', '/e/x'],
    names: ['d/y', 'a/d/y', 'e/x', 'e/y', 'a/e/x'],
    leftOut: ['d', 'e/x'],
  },
  {
    what: 'a star stops at a slash',
    patterns: ['/d/*/x', '/e/*'],
    names: ['d/x', 'd/a/x', 'd/a/b/x', 'e/f', 'e/g/h', 'a/e/f'],
    leftOut: ['d/a/x', 'e/f', 'e/g'],
  },
  {
    what: 'two stars do not',
    patterns: ['/d/**/x', 'e/**/*'],
    names: ['d/x', 'd/a/x', 'd/a/b/x', 'd/a/y', 'a/d/x', 'e/f', 'e/.g', 'a/e/f/g'],
    leftOut: ['d/x', 'd/a/x', 'd/a/b/x', 'e/f', 'e/.g', 'a/e/f'],
  },
  {
    what: 'two stars and a slash stand for no directory, too',
    patterns: ['**/x', '**/d/y'],
    names: ['x', 'a/x', 'a/b/x', 'd/y', 'a/d/y', 'y', 'ax'],
    leftOut: ['x', 'a/x', 'a/b/x', 'd/y', 'a/d/y'],
  },
  {
    what: 'braces',
    patterns: ['*.{jpg,png}', '/x{1,2}/y', 'v{1..3}'],
    names: ['a.jpg', 'd/b.png', 'c.gif', 'x1/y', 'x2/y', 'x3/y', 'v1', 'd/v3', 'v4', 'jpg', 'png'],
    leftOut: ['a.jpg', 'd/b.png', 'x1/y', 'x2/y', 'v1', 'd/v3'],
  },
  {
    what: 'characters of a set, one character, and what is escaped',
    patterns: ['[ab]', 'x?', '\\*', '\\[z\\]'],
    names: ['a', 'b', 'c', 'd/a', 'x1', 'x', 'x12', '*', 'y', '[z]', 'z'],
    leftOut: ['a', 'b', 'd/a', 'x1', '*', '[z]'],
  },
  {
    what: 'names that begin with a dot are as others',
    patterns: ['*.tmp', '.cache', '/q/*'],
    names: ['.tmp', '.a.tmp', '.d/.tmp', '.cache/x', 'd/.cache', 'cache', 'q/.x', 'q/..y'],
    leftOut: ['.tmp', '.a.tmp', '.d/.tmp', '.cache', 'd/.cache', 'q/.x', 'q/..y'],
  },
  {
    what: 'a slash at the end of a pattern for directories',
    patterns: ['d/', '/e/f/'],
    names: ['d/x', 'a/d/y', 'e/f/g', 'a/e/f/g', 'dd/x'],
    leftOut: ['d', 'a/d', 'e/f'],
  },
  {
    what: 'upper and lower case differ',
    patterns: ['A', '*.O'],
    names: ['a', 'A', 'x.o', 'x.O'],
    leftOut: ['A', 'x.O'],
  },
  {
    what: 'names of other scripts',
    patterns: ['ä*', '日本'],
    names: [utf8('ä.txt'), utf8('d/äb'), utf8('日本/x'), 'a.txt'],
    leftOut: [utf8('ä.txt'), utf8('d/äb'), utf8('日本')],
  },
  {
    what: 'names that are not UTF-8',
    patterns: ['*.o', '/d/?'],
    names: ['\xff.o', '\xff.c', '\xff\xfe/a.o', '\xff\xfe/a.c', 'd/\xff', 'd/\xff\xff'],
    leftOut: ['\xff.o', '\xff\xfe/a.o', 'd/\xff'],
  },
  {
    what: 'names that are UTF-8, in a directory that is not',
    patterns: ['ä*'],
    names: [`\xff/${utf8('ä.txt')}`, '\xff/a.txt'],
    leftOut: [`\xff/${utf8('ä.txt')}`],
  },
  {
    what: 'directories with a newline in their names',
    patterns: ['*.o', 'd/**/x'],
    names: ['two\nlines/a.o', 'two\nlines/a.c', 'a\nb.o', 'd/\n/x', 'd/e\nf/g/x'],
    leftOut: ['two\nlines/a.o', 'a\nb.o', 'd/\n/x', 'd/e\nf/g/x'],
  },
  {
    what: 'names of nothing but dots, and those that begin with two',
    patterns: ['...', '..a'],
    names: ['...', 'd/...', '..a', 'd/..a', '....', 'a'],
    leftOut: ['...', 'd/...', '..a', 'd/..a'],
  },
  {
    what: 'a comma is a character like any other',
    patterns: ['*,v', 'a,b', '/e,'],
    names: ['x', 'x,v', 'd/x,v', 'd/x', 'v', 'a', 'b', 'a,b', 'd/a,b', 'd/a', 'e', 'e,'],
    leftOut: ['x,v', 'd/x,v', 'a,b', 'd/a,b', 'e,'],
  },
  {
    what: 'so is a bar',
    patterns: ['a|b'],
    names: ['a', 'b', 'a|b', 'd/a', 'd/b'],
    leftOut: ['a|b'],
  },
  {
    what: 'an exclamation mark after the slash does not turn the rest around',
    patterns: ['/!a'],
    names: ['a', 'b', '!a', 'd/!a'],
    leftOut: ['!a'],
  },
  {
    what: 'words that objects know',
    patterns: ['__proto__', 'constructor'],
    names: ['__proto__', 'constructor/x', 'toString', 'd/__proto__'],
    leftOut: ['__proto__', 'constructor', 'd/__proto__'],
  },
]

for (const { what, patterns, names, leftOut } of excludes) {
  t.test(`exclude: ${what}`, async t => {
    const directory = testDirectory(t, 'tmpfs')
    if (directory === undefined) return
    makeFiles(directory, names)
    t.same(await storedPaths(directory, { exclude: patterns }), pathsBut(directory, leftOut))
  })
}

t.test('exclude: a pattern that is the name itself', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  const names = [
    'report (1).pdf',
    'a(b',
    'a)b',
    'a{b',
    'a}b',
    'a;b',
    '$a',
    '^a',
    'a+b',
    '@a',
    '~a',
    '#a',
    "'",
    '"',
  ]
  makeFiles(directory, [...names, 'z', 'a', 'b', 'report 1.pdf'])
  for (const name of names) {
    t.same(await storedPaths(directory, { exclude: [name] }), pathsBut(directory, [name]), name)
  }
})

t.test('exclude: what makes no pattern is refused', async t => {
  for (const exclude of [[''], ['a', '']]) {
    t.equal((await failure(() => treeSource(['.'], { exclude }))).code, 'INVALID_ARGUMENT')
  }
})

t.test('exclude: a pattern that is too long is refused, or matches nothing', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  makeFiles(directory, ['a'])
  const exclude = ['x'.repeat(70_000)]
  try {
    t.same(await storedPaths(directory, { exclude }), ['a'])
  } catch (error) {
    t.match(error, { name: 'ReftarError', code: 'INVALID_ARGUMENT' })
  }
})

t.test('a path that is given is never excluded', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  makeFiles(directory, ['d/a.o', 'd/b.o', 'd/c', 'x.o/a.o', 'x.o/c', 'z.o'])
  const stored = (...paths: readonly string[]) => storedPaths(directory, { exclude: ['*.o', 'd'] }, paths)
  t.same(await stored('d/a.o', 'z.o'), ['d', 'd/a.o', 'z.o'])
  t.same(await stored('d'), ['d', 'd/c'], 'what is in it may be')
  t.same(await stored('x.o'), ['x.o', 'x.o/c'])
})

t.test('a path that is given is never excluded, also below another one', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  makeFiles(directory, ['d/a.o', 'd/b.o', 'd/c', 'x/a.o', 'x/b', 'z.o'])
  fs.writeFileSync(join(directory, 'x/CACHEDIR.TAG'), SIGNATURE)
  const exclude = ['*.o', 'd']
  const stored = (...paths: readonly string[]) => storedPaths(directory, { exclude }, paths)
  t.same(await stored('d', 'd/a.o'), ['d', 'd/a.o', 'd/c'], 'nor when its directory is given')
  t.same(
    await stored('.', 'z.o', 'd/a.o'),
    ['d', 'd/a.o', 'x', 'x/CACHEDIR.TAG', 'x/b', 'z.o'],
    'nor when all is',
  )
  const cached = await storedPaths(directory, { excludeCaches: true }, ['x', 'x/b'])
  t.same(cached, ['x', 'x/CACHEDIR.TAG', 'x/b'], 'nor in a cache')
})

t.test('--exclude and --exclude-from', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  makeFiles(directory, ['tree/a.o', 'tree/b.tmp', 'tree/d/c.log', 'tree/d/e', 'tree/#f', 'tree/ g', 'tree/h'])
  const lines = ['# comment', '', '*.o', '   ', '#f', '\\#f', '/tree/d/c.log', ' g', '*.tmp']
  fs.writeFileSync(join(directory, 'patterns'), lines.join('\n'))
  fs.writeFileSync(join(directory, 'none'), '# nothing\n\n')
  const stored = async (...argv: readonly string[]) => {
    const created = await reftar(['create', '-f', 'x', ...argv, 'tree'], {
      cwd: directory,
      stdin: Buffer.from('h\n*.o\n'),
    })
    t.same([created.code, created.stderr], [0, ''])
    const entries = await listed(fs.readFileSync(join(directory, 'x')))
    return entries.map(({ path }) => Buffer.from(path).toString())
  }
  t.same(await stored('--exclude-from', 'patterns'), ['tree', 'tree/d', 'tree/d/e', 'tree/h'])
  t.same(await stored('--exclude-from', 'patterns', '--exclude-from', 'none', '--exclude', 'h'), [
    'tree',
    'tree/d',
    'tree/d/e',
  ])
  t.same(await stored('--exclude', 'd', '--exclude', '*.*'), ['tree', 'tree/ g', 'tree/#f', 'tree/h'])
  t.equal((await stored('--exclude-from', 'none')).length, 9, 'nothing is left out')
  t.same(await stored('--exclude-from', '-'), [
    'tree',
    'tree/ g',
    'tree/#f',
    'tree/b.tmp',
    'tree/d',
    'tree/d/c.log',
    'tree/d/e',
  ])
  const missing = await reftar(['create', '-f', 'y', '--exclude-from', 'missing', 'tree'], { cwd: directory })
  t.equal(missing.code, 2)
  t.match(missing.stderr, /^reftar: 'missing': .*ENOENT.*\n$/)
  const empty = await reftar(['create', '-f', 'y', '--exclude', '', 'tree'], { cwd: directory })
  t.equal(empty.code, 2)
  t.match(empty.stderr, /^reftar: .*empty.*\n$/)
  t.notOk(fs.existsSync(join(directory, 'y')))
})

interface Ignore {
  readonly what: string
  /** By directory. */
  readonly files: Readonly<Record<string, readonly string[] | string>>
  readonly names: readonly string[]
  /** As `git ls-files --others --exclude-standard` has it. */
  readonly leftOut: readonly string[]
}

const ignores: readonly Ignore[] = [
  {
    what: 'names anywhere, comments, blank lines and escapes',
    files: { '': ['*.log', '# comment', '', '\\#literal', '\\!mark', 'trailing   ', 'space\\ '] },
    names: ['a.log', 'd/b.log', '# comment', '#literal', '!mark', 'trailing', 'space ', 'space', 'a.txt'],
    leftOut: ['a.log', 'd/b.log', '#literal', '!mark', 'trailing', 'space '],
  },
  {
    what: 'lines that end with CR and LF',
    files: { '': '*.log\r\n\r\n# comment\r\n/build/\r\n' },
    names: ['a.log', 'build/x', 'd/build/x', 'b'],
    leftOut: ['a.log', 'build'],
  },
  {
    what: 'a byte order mark',
    files: { '': '\ufeffa\nb\n' },
    names: ['a', 'b', 'd/a', 'c'],
    leftOut: ['a', 'b', 'd/a'],
  },
  {
    what: 'a pattern with a slash is anchored where its file is',
    files: { '': ['/top', 'x/y'], d: ['/top', 'x/y'] },
    names: ['top', 'd/top', 'd/e/top', 'x/y', 'd/x/y', 'd/e/x/y', 'e/top', 'e/x/y'],
    leftOut: ['top', 'd/top', 'x/y', 'd/x/y'],
  },
  {
    what: 'a pattern with a slash at its end is for directories only',
    files: { '': ['build/', 'out/'] },
    names: ['build/x', 'd/build', 'e/build/x', 'out'],
    leftOut: ['build', 'e/build'],
  },
  {
    what: 'negation, of which the last one counts',
    files: { '': ['*.log', '!keep.log', '/d/*', '!/d/keep', 'x', '!x', 'x'] },
    names: ['a.log', 'keep.log', 'd/keep', 'd/other', 'e/keep.log', 'x'],
    leftOut: ['a.log', 'd/other', 'x'],
  },
  {
    what: 'what is in a directory that is ignored cannot be wanted again',
    files: { '': ['build/', '!build/keep', '!keep'], build: ['!keep'] },
    names: ['build/keep', 'keep'],
    leftOut: ['build'],
  },
  {
    what: 'inner files go before outer ones, which hold where the inner are silent',
    files: { '': ['*.log', '*.tmp'], d: ['!*.log', '*.txt'], 'd/e': ['*.log', '!b.txt'] },
    names: ['a.log', 'd/a.log', 'd/e/a.log', 'd/a.tmp', 'd/a.txt', 'd/e/a.txt', 'd/e/b.txt', 'a.txt'],
    leftOut: ['a.log', 'd/e/a.log', 'd/a.tmp', 'd/a.txt', 'd/e/a.txt'],
  },
  {
    what: 'a directory that an inner file wants again is wanted with what is in it',
    files: { '': ['build/', 'x'], d: ['!build/', '!x'] },
    names: ['build/a', 'd/build/a', 'd/build/e/b', 'd/build/x', 'd/x/c', 'd/e/build/x'],
    leftOut: ['build'],
  },
  {
    what: 'two stars',
    files: { '': ['**/a', 'b/**', 'c/**/d'] },
    names: ['a', 'x/a', 'b/x', 'b/y/z', 'c/d', 'c/x/y/d', 'c/x/e', 'x/b/y'],
    leftOut: ['a', 'x/a', 'b/x', 'b/y', 'c/d', 'c/x/y/d'],
  },
  {
    what: 'names of nothing but dots, and other odd ones',
    files: { '': ['...', '..a', '/ ', 'c,d', '(x)'] },
    names: ['...', 'd/...', '....', '..a', 'c,d', 'c', '(x)', 'x'],
    leftOut: ['...', 'd/...', '..a', 'c,d', '(x)'],
  },
  {
    what: 'upper and lower case differ',
    files: { '': ['README'] },
    names: ['README', 'readme'],
    leftOut: ['README'],
  },
  {
    what: 'the ignore files themselves',
    files: { '': ['.gitignore'], d: ['*.o'] },
    names: ['a.o', 'd/b.o'],
    leftOut: ['.gitignore', 'd/.gitignore', 'd/b.o'],
  },
  {
    what: 'names that are not UTF-8',
    files: { '': ['*.o'] },
    names: ['\xff.o', '\xff.c', '\xfe/\xff.o'],
    leftOut: ['\xff.o', '\xfe/\xff.o'],
  },
  {
    what: 'names that are not UTF-8, below a directory that is',
    files: { äöü: ['/*.o', '/d/*.p'] },
    names: [
      `${utf8('äöü')}/\xff.o`,
      `${utf8('äöü')}/a.o`,
      `${utf8('äöü')}/d/\xff.p`,
      `${utf8('äöü')}/d/\xff.o`,
    ],
    leftOut: [`${utf8('äöü')}/\xff.o`, `${utf8('äöü')}/a.o`, `${utf8('äöü')}/d/\xff.p`],
  },
  {
    what: 'words that objects know',
    files: { '': ['__proto__', 'constructor/'] },
    names: ['__proto__', 'constructor/x', 'd/__proto__', 'toString', 'hasOwnProperty/x'],
    leftOut: ['__proto__', 'constructor', 'd/__proto__'],
  },
]

for (const { what, files, names, leftOut } of ignores) {
  t.test(`excludeVcsIgnores: ${what}`, async t => {
    const directory = testDirectory(t, 'tmpfs')
    if (directory === undefined) return
    makeFiles(directory, names)
    for (const [inside, lines] of Object.entries(files)) {
      const text = typeof lines === 'string' ? lines : lines.join('\n')
      fs.mkdirSync(join(directory, inside), { recursive: true })
      fs.writeFileSync(join(directory, inside, '.gitignore'), text)
    }
    t.same(await storedPaths(directory, { excludeVcsIgnores: true }), pathsBut(directory, leftOut))
    t.same(await storedPaths(directory), pathsBut(directory, []), 'only where it is asked for')
  })
}

t.test('excludeVcsIgnores: what is no ignore file', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  makeFiles(directory, ['rules', 'a/x', 'b/x', 'b/.gitignore/x', 'c/x'])
  fs.writeFileSync(join(directory, 'rules'), 'x\n')
  fs.symlinkSync('../rules', join(directory, 'a/.gitignore'))
  fs.writeFileSync(join(directory, 'c/.gitignore'), '')
  t.same(await storedPaths(directory, { excludeVcsIgnores: true }), pathsBut(directory, []))
})

t.test('excludeVcsIgnores: paths that are given, and links to directories', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  makeFiles(directory, ['d/build/x.o', 'd/a.o', 'd/c'])
  fs.writeFileSync(join(directory, 'd/.gitignore'), '*.o\nbuild/\nlink/\n')
  fs.symlinkSync('build', join(directory, 'd/link'))
  const stored = (...paths: readonly string[]) => storedPaths(directory, { excludeVcsIgnores: true }, paths)
  t.same(await stored('d'), ['d', 'd/.gitignore', 'd/c', 'd/link'], 'a link is no directory')
  t.same(await stored('d/a.o', 'd/build'), ['d', 'd/a.o', 'd/build', 'd/build/x.o'])
})

t.test('excludeCaches leaves out all but the tag', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  const tags: Readonly<Record<string, string>> = {
    exact: SIGNATURE,
    longer: `${SIGNATURE}\n# This directory is a cache.\n`,
    'd/nested': `${SIGNATURE}\n`,
    wrong: SIGNATURE.replace('8a', '8b'),
    short: SIGNATURE.slice(0, -1),
    empty: '',
    late: ` ${SIGNATURE}`,
    lower: SIGNATURE.toLowerCase(),
  }
  for (const [name, tag] of Object.entries(tags)) {
    makeFiles(directory, [`${name}/a`, `${name}/d/b`])
    fs.writeFileSync(join(directory, name, 'CACHEDIR.TAG'), tag)
  }
  makeFiles(directory, ['linked/a', 'directory/CACHEDIR.TAG/a'])
  fs.symlinkSync('../exact/CACHEDIR.TAG', join(directory, 'linked/CACHEDIR.TAG'))
  const caches = ['exact', 'longer', 'd/nested']
  const leftOut = caches.flatMap(name => [`${name}/a`, `${name}/d`])
  t.same(await storedPaths(directory, { excludeCaches: true }), pathsBut(directory, leftOut))
  t.same(await storedPaths(directory), pathsBut(directory, []), 'only where it is asked for')

  const { events } = await archive(['.'], { directory, excludeCaches: true })
  t.same(problems(events), [])
  t.same(
    notes(events).sort(),
    caches.map(name => `'${name}' is a cache, what is in it is left out`).sort(),
    'each is noted',
  )
  const given = await storedPaths(directory, { excludeCaches: true }, ['exact/a', 'longer'])
  t.same(given, ['exact', 'exact/a', 'longer', 'longer/CACHEDIR.TAG'], 'what is given is there')
})

t.test('hard links of which the first name is excluded', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  makeFiles(source, ['a.o', 'd/'])
  const content = noise(200 * KIB)
  fs.writeFileSync(join(source, 'a.o'), content)
  for (const name of ['b', 'c', 'd/e.o', 'd/f']) fs.linkSync(join(source, 'a.o'), join(source, name))
  execFileSync('mkfifo', [join(source, 'p.o')])
  fs.linkSync(join(source, 'p.o'), join(source, 'q'))
  fs.linkSync(join(source, 'p.o'), join(source, 'r'))
  fs.writeFileSync(join(source, 's.o'), 'alone')
  fs.linkSync(join(source, 's.o'), join(source, 't'))
  const { bytes, events } = await archive(['.'], { directory: source, exclude: ['*.o'] })
  t.same(problems(events), [])
  t.same(
    (await listed(bytes)).slice(1).map(({ path, entry }) => `${Buffer.from(path)} ${entry.type}`),
    ['b file', 'c hardlink', 'd directory', 'd/f hardlink', 'q fifo', 'r hardlink', 't file'],
  )
  await restore(bytes, target)
  for (const name of fs.readdirSync(source)) if (name.endsWith('.o')) fs.rmSync(join(source, name))
  fs.rmSync(join(source, 'd/e.o'))
  const time = (tree: string) => fs.utimesSync(join(tree, 'd'), 1, 1)
  time(source)
  time(target)
  t.same(compareTrees(source, target), [])
  t.equal(fs.statSync(join(target, 'b')).nlink, 3)
  t.ok(fs.readFileSync(join(target, 'd/f')).equals(content))
})

for (const name of ['btrfs', 'btrfs-zstd', 'xfs'] as const) {
  t.test(`${name}: files that share with one that is excluded`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    const inside = (file: string) => join(source, file)
    fs.writeFileSync(inside('a.o'), noise(2 * MIB))
    reflink(inside('a.o'), inside('b'))
    reflink(inside('a.o'), inside('c.o'))
    reflink(inside('a.o'), inside('d'))
    fs.writeFileSync(inside('e'), noise(MIB, 'e'))
    cloneRange(inside('a.o'), 512 * KIB, 256 * KIB, inside('e'), 0)
    const { bytes, events, summary } = await archive(['.'], { directory: source, exclude: ['*.o'] })
    t.same(problems(events), [])
    await restore(bytes, target)
    for (const file of ['a.o', 'c.o']) fs.rmSync(inside(file))
    t.same(compareTrees(source, target), [])
    if (name === 'btrfs-zstd') return
    t.equal(summary.tree.bytesRead, 2 * MIB + 768 * KIB, 'what only they share is read once')
    t.equal(summary.tree.sharedBytes, 2 * MIB + 256 * KIB)
    t.equal(sharedBytes(join(target, 'b'), join(target, 'd')), 2 * MIB, 'they share again')
    t.equal(sharedBytes(join(target, 'b'), join(target, 'e')), 256 * KIB)
  })
}
