// What shares storage, compared with what the kernel says of each file.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ReftarEvent } from '../src/event.js'
import { type SharingOptions, sharing } from '../src/sharing.js'
import type { SharingReport, Usage } from '../src/sharing-report.js'
import { type Ended, reftar, scratch, unprivileged } from './cli/run.js'
import { cloneRange, fiemap, regularFiles, sharedBytes, storage } from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import {
  descriptorsAfter,
  failure,
  KIB,
  MIB,
  noise,
  notes,
  overwrite,
  problems,
  reflink,
  settledDescriptors,
  sparse,
  text,
} from './support/trees.js'

process.umask(0o022)

const text8 = (path: Uint8Array) => Buffer.from(path).toString()

/** The report of all in a directory; its totals are what its parts add up to. */
async function report(
  t: Pick<Test, 'same' | 'equal'>,
  directory: string,
  paths: readonly string[] = ['.'],
  options: SharingOptions = {},
): Promise<SharingReport> {
  const found = await sharing(paths, { directory, ...options })
  const { summary, files, groups } = found
  const ranges = [...found.ranges()]
  for (const key of ['apparent', 'data', 'unique', 'shared', 'outside'] as const) {
    t.equal(
      summary[key],
      sum(files, file => file[key]),
      `${key} is the sum over all files`,
    )
  }
  const parts = ({ unique, shared, outside }: Usage) => unique + shared + outside
  t.same(
    files.filter(file => parts(file) !== file.data || parts(file) > file.apparent),
    [],
    'data is what its parts make',
  )
  t.equal(summary.stored + summary.saved, summary.data, 'what is not stored is saved')
  t.equal(
    summary.shared,
    sum(ranges, ({ bytes, places }) => bytes * places.length),
  )
  t.equal(
    summary.saved,
    sum(ranges, ({ bytes, places }) => bytes * (places.length - 1)),
  )
  t.equal(
    summary.saved,
    sum(groups, group => group.saved),
  )
  t.equal(
    ranges.length,
    sum(groups, group => group.ranges),
  )
  t.same(
    groups.map(group => group.saved),
    groups.map(group => group.saved).sort((a, b) => b - a),
    'what saves most comes first',
  )
  return found
}

/** Checks a report on files that are not compressed against FIEMAP. */
async function checkReport(t: Test, directory: string): Promise<SharingReport> {
  const found = await report(t, directory)
  const paths = regularFiles(directory).map(file => join(directory, file.toString()))
  const expected = storage(paths)
  t.equal(found.summary.files, new Set(paths.map(path => fs.statSync(path).ino)).size, 'each inode once')
  t.equal(found.summary.data, expected.apparent, 'data')
  t.equal(found.summary.stored, expected.unique, 'stored')
  t.equal(found.summary.saved, expected.shared, 'saved')
  const blockSize = fs.statfsSync(directory).bsize
  for (const { physical, block, bytes, places } of found.ranges()) {
    t.equal(block * blockSize, physical, 'blocks are those of the filesystem')
    for (const { file, offset } of places) {
      const rows = fiemap(join(directory, text8(file.path)))
      const row = rows.find(({ logical, length }) => logical <= offset && offset < logical + length)
      t.equal(row && row.physical + offset - row.logical, physical, `${text8(file.path)} at ${offset}`)
      t.ok(offset + bytes <= file.apparent, 'no more than the file has')
    }
  }
  return found
}

function sum<T>(items: Iterable<T>, value: (item: T) => number): number {
  let total = 0
  for (const item of items) total += value(item)
  return total
}

/** Each range as its length and its places. */
function shape(found: SharingReport): string[] {
  return Array.from(found.ranges(), ({ bytes, places }) =>
    [bytes, ...places.map(({ file, offset }) => `${text8(file.path)}@${offset}`)].join(' '),
  ).sort()
}

function usage(found: SharingReport, path: string) {
  const file = found.files.find(file => text8(file.path) === path)
  if (!file) throw new Error(`no ${path}`)
  const { apparent, data, unique, shared, outside } = file
  return { apparent, data, unique, shared, outside }
}

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
      const size = 3 * MIB + 100
      const a = join(directory, 'a')
      fs.writeFileSync(a, noise(size))
      for (const clone of ['b', 'c', 'd']) reflink(a, join(directory, clone))
      fs.writeFileSync(join(directory, 'e'), noise(block + 1, 'e'))
      const found = await checkReport(t, directory)
      t.match(found.summary, {
        files: 5,
        apparent: 4 * size + block + 1,
        unique: block + 1,
        shared: 4 * size,
        outside: 0,
        stored: size + block + 1,
        saved: 3 * size,
        problems: 0,
      })
      t.same(usage(found, 'b'), { apparent: size, data: size, unique: 0, shared: size, outside: 0 })
      t.same(
        found.groups.map(({ files, bytes }) => [files.map(({ path }) => text8(path)).join(), bytes]),
        [['a,b,c,d', size]],
      )
      t.equal(found.groups[0]?.largest.physical, fiemap(a)[0]?.physical)
    })

    t.test('ranges at other offsets', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const [a, b, c] = ['a', 'b', 'c'].map(file => join(directory, file)) as [string, string, string]
      fs.writeFileSync(a, noise(128 * block))
      fs.writeFileSync(b, '')
      cloneRange(a, 32 * block, 32 * block, b, 3 * block)
      cloneRange(a, 48 * block, 32 * block, b, 64 * block)
      fs.writeFileSync(c, noise(16 * block, 'c'))
      cloneRange(a, 0, 8 * block, c, 3 * block)
      const found = await checkReport(t, directory)
      t.same(
        shape(found),
        [
          `${8 * block} a@0 c@${3 * block}`,
          `${16 * block} a@${32 * block} b@${3 * block}`,
          `${16 * block} a@${48 * block} b@${19 * block} b@${64 * block}`,
          `${16 * block} a@${64 * block} b@${80 * block}`,
        ].sort(),
      )
      t.same(
        found.groups.map(({ files, ranges, saved }) => [
          files.map(({ path }) => text8(path)).join(),
          ranges,
          saved,
        ]),
        [
          ['a,b', 3, 64 * block],
          ['a,c', 1, 8 * block],
        ],
      )
      t.equal(usage(found, 'b').data, 64 * block)
      t.equal(usage(found, 'c').shared, sharedBytes(a, c))
      t.equal(usage(found, 'c').unique, 8 * block)
    })

    t.test('a file that shares with itself', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const self = join(directory, 'self')
      fs.writeFileSync(self, noise(32 * block))
      cloneRange(self, 0, 32 * block, self, 32 * block)
      cloneRange(self, 4 * block, 8 * block, self, 72 * block)
      const found = await checkReport(t, directory)
      t.match(found.summary, { stored: 32 * block, saved: 40 * block, shared: 72 * block })
      t.equal(found.groups.length, 1)
      t.equal(found.groups[0]?.files.length, 1)
    })

    t.test('generations of clones, each with its changes', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const file = (i: number) => join(directory, `g${String(i).padStart(2, '0')}`)
      fs.writeFileSync(file(0), noise(64 * block))
      for (let i = 1; i <= 12; i++) {
        reflink(file(i - 1), file(i))
        overwrite(file(i), ((i * 7) % 60) * block, noise(2 * block, i))
      }
      fs.rmSync(file(3))
      const found = await checkReport(t, directory)
      t.ok(found.groups.length > 10)
      const first = found.groups[0]?.files.length
      t.equal(first, 12, 'what all of them share saves most')
    })

    t.test('holes and reserved space', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const a = join(directory, 'a')
      sparse(a, 100 * block, [8 * block, noise(8 * block)], [40 * block, noise(8 * block, 2)])
      reflink(a, join(directory, 'b'))
      fs.writeFileSync(join(directory, 'reserved'), '')
      execFileSync('fallocate', ['-l', String(8 * block), join(directory, 'reserved')])
      reflink(join(directory, 'reserved'), join(directory, 'reserved2'))
      sparse(join(directory, 'empty'), 10 * block)
      const found = await checkReport(t, directory)
      t.match(found.summary, { apparent: 226 * block, data: 32 * block, stored: 16 * block })
    })

    t.test('hard links count once', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      fs.writeFileSync(join(directory, 'a'), noise(8 * block))
      fs.linkSync(join(directory, 'a'), join(directory, 'b'))
      const found = await checkReport(t, directory)
      t.match(found.summary, { files: 1, apparent: 8 * block, unique: 8 * block, shared: 0, saved: 0 })
      t.same([...found.ranges()], [])
      reflink(join(directory, 'a'), join(directory, 'c'))
      t.same(shape(await checkReport(t, directory)), [`${8 * block} a@0 c@0`])
    })

    t.test('files outside of the paths', async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      for (const place of ['in', 'out']) fs.mkdirSync(join(directory, place))
      fs.writeFileSync(join(directory, 'in/a'), noise(16 * block))
      reflink(join(directory, 'in/a'), join(directory, 'out/a'))
      fs.writeFileSync(join(directory, 'in/b'), noise(16 * block, 'b'))
      const alone = await report(t, directory, ['in'])
      t.match(alone.summary, { unique: 16 * block, shared: 0, outside: 16 * block, saved: 0 })
      t.same(alone.groups, [])
      t.same(usage(alone, 'in/a'), {
        apparent: 16 * block,
        data: 16 * block,
        unique: 0,
        shared: 0,
        outside: 16 * block,
      })
      const both = await report(t, directory, ['in', 'out/a'])
      t.match(both.summary, { unique: 16 * block, shared: 32 * block, outside: 0, saved: 16 * block })
    })
  })
}

t.test('subvolumes and snapshots of one btrfs', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const btrfs = (...args: string[]) => execFileSync('btrfs', ['subvolume', ...args], { stdio: 'pipe' })
  const main = join(directory, 'main')
  btrfs('create', main)
  t.teardown(() => {
    for (const name of ['main', 'snapshot']) btrfs('delete', join(directory, name))
  })
  fs.writeFileSync(join(main, 'a'), noise(MIB + 5))
  btrfs('snapshot', '-r', main, join(directory, 'snapshot'))
  overwrite(join(main, 'a'), 128 * KIB, noise(8 * KIB, 'new'))
  const found = await report(t, directory)
  t.same(
    shape(found),
    [
      `${128 * KIB} main/a@0 snapshot/a@0`,
      `${888 * KIB + 5} main/a@${136 * KIB} snapshot/a@${136 * KIB}`,
    ].sort(),
  )
  const paths = ['main/a', 'snapshot/a'].map(name => join(directory, name))
  t.equal(found.summary.stored, storage(paths).unique)
  t.equal(found.summary.saved, MIB + 5 - 8 * KIB)
})

t.test('filesystems do not share with each other', async t => {
  const [btrfs, xfs] = [testDirectory(t, 'btrfs'), testDirectory(t, 'xfs')]
  if (btrfs === undefined || xfs === undefined) return
  for (const directory of [btrfs, xfs]) {
    for (let i = 0; i < 20; i++) {
      fs.writeFileSync(join(directory, `${i}`), noise(8 * KIB, i))
      reflink(join(directory, `${i}`), join(directory, `${i}-clone`))
    }
  }
  const found = await report(t, '/', [btrfs, xfs])
  t.equal(found.groups.length, 40)
  t.ok(found.groups.every(({ files }) => files.length === 2))
  t.equal(new Set(Array.from(found.ranges(), ({ space }) => space)).size, 2)
  t.equal(found.summary.stored, found.summary.data / 2)
})

for (const name of ['btrfs', 'btrfs-zstd'] as const) {
  t.test(`compressed extents on ${name}`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    execFileSync('btrfs', ['property', 'set', directory, 'compression', 'zstd'])
    const file = (letter: string) => join(directory, letter)
    fs.writeFileSync(file('a'), text(128 * KIB))
    for (const empty of ['g', 'h', 'm']) fs.writeFileSync(file(empty), '')
    cloneRange(file('a'), 0, 64 * KIB, file('g'), 0)
    cloneRange(file('a'), 64 * KIB, 64 * KIB, file('h'), 0)
    cloneRange(file('a'), 48 * KIB, 32 * KIB, file('m'), 0)
    execFileSync('sync', ['-f', directory])
    const places = new Set(['a', 'g', 'h', 'm'].map(letter => fiemap(file(letter))[0]?.physical))
    t.equal(places.size, 1, 'different parts of one extent, at one address')

    const found = await report(t, directory)
    t.same(
      shape(found),
      [
        `${48 * KIB} a@0 g@0`,
        `${16 * KIB} a@${48 * KIB} g@${48 * KIB} m@0`,
        `${16 * KIB} a@${64 * KIB} h@0 m@${16 * KIB}`,
        `${48 * KIB} a@${80 * KIB} h@${16 * KIB}`,
      ].sort(),
    )
    t.ok([...found.ranges()].every(({ compressed, physical }) => compressed && places.has(physical)))
    t.match(found.summary, { stored: 128 * KIB, saved: 160 * KIB, unique: 0, outside: 0 })
    t.match(
      (await reftar(['sharing', directory])).stdout.toString(),
      /^physical block \d+ \(compressed\) shared by:$/m,
    )

    const weak = await unprivileged(['sharing', directory])
    t.equal(weak.code, 0)
    t.match(weak.stderr, /^reftar: what compressed extents share is left out: only root .*\n$/)
    t.match(weak.stdout.toString(), /nothing is shared among them/)
  })
}

t.test('an overlay, whose addresses prove nothing', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const [lower, merged] = ['lower', 'merged'].map(name => join(directory, name)) as [string, string]
  for (const name of ['lower', 'merged', 'upper', 'work']) fs.mkdirSync(join(directory, name))
  fs.writeFileSync(join(lower, 'a'), noise(64 * KIB))
  reflink(join(lower, 'a'), join(lower, 'b'))
  const layers = `lowerdir=${lower},upperdir=${directory}/upper,workdir=${directory}/work`
  execFileSync('mount', ['-t', 'overlay', '-o', layers, 'overlay', merged])
  t.teardown(() => execFileSync('umount', [merged]))
  const events: ReftarEvent[] = []
  const found = await report(t, merged, ['.'], { onEvent: event => events.push(event) })
  t.equal(found.summary.saved, 64 * KIB)
  t.same(notes(events), ['some addresses may be wrong: only those of btrfs and XFS are sure'])
})

t.test('where nothing can share', async t => {
  for (const name of ['ext4', 'tmpfs'] as const) {
    const directory = testDirectory(t, name)
    if (directory === undefined) continue
    fs.writeFileSync(join(directory, 'a'), noise(64 * KIB))
    fs.writeFileSync(join(directory, 'b'), noise(64 * KIB))
    const found = await report(t, directory)
    t.match(found.summary, { unique: 128 * KIB, shared: 0, outside: 0, stored: 128 * KIB, saved: 0 })
    const { code, stdout, stderr } = await reftar(['sharing', directory])
    t.equal(code, 0)
    t.equal(stderr, '')
    t.equal(
      stdout.toString(),
      '2 files, 128.0 KiB of data in 128.0 KiB of storage: nothing is shared among them\n',
    )
  }
})

t.test('what is no file', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  fs.mkdirSync(join(directory, 'real'))
  fs.writeFileSync(join(directory, 'real/a'), noise(64 * KIB))
  reflink(join(directory, 'real/a'), join(directory, 'b'))
  fs.symlinkSync('real', join(directory, 'link'))
  fs.symlinkSync('real/a', join(directory, 'link-to-file'))
  execFileSync('mkfifo', [join(directory, 'fifo')])
  const before = await settledDescriptors()
  const found = await report(t, directory)
  t.same(
    found.files.map(({ path }) => text8(path)),
    ['b', 'real/a'],
  )
  const events: ReftarEvent[] = []
  const named = await report(t, directory, ['link', 'fifo', 'b', './real//a', 'real'], {
    onEvent: event => events.push(event),
  })
  t.same(problems(events), ['SOURCE_SKIPPED fifo', 'SOURCE_SKIPPED link'])
  t.equal(named.summary.problems, 2)
  t.equal(named.summary.files, 2, 'one that was asked for twice')
  t.equal((await report(t, directory, ['link/a'])).summary.files, 1, 'on the way, links are followed')
  t.equal(await descriptorsAfter(before), before)
})

t.test('how far it has come', async t => {
  const directory = scratch(t)
  for (const name of ['a', 'b']) fs.writeFileSync(join(directory, name), noise(MIB, name))
  fs.writeFileSync(join(directory, 'c'), noise(MIB, 'a'))
  const progress = { files: 0, logicalBytes: 0, bytesRead: 0 }
  await sharing(['.'], { directory, progress })
  t.same(progress, { files: 3, logicalBytes: 3 * MIB, bytesRead: 0 })
  const read = { files: 0, logicalBytes: 0, bytesRead: 0 }
  await sharing(['.'], { directory, progress: read, content: true })
  t.same(read, { files: 3, logicalBytes: 3 * MIB, bytesRead: 3 * MIB })
})

t.test('absolute paths stay absolute', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  fs.writeFileSync(join(directory, 'a'), noise(64 * KIB))
  const { files } = await sharing([directory])
  t.same(
    files.map(({ path }) => text8(path)),
    [join(directory, 'a')],
  )
})

t.test('usage of the command', async t => {
  const { code, stderr } = await reftar(['sharing'])
  t.equal(code, 2)
  t.match(stderr, /^reftar: no PATH, expected at least one\n/)
  const help = await reftar(['sharing', '--help'])
  t.match(help.stdout.toString(), /^Usage: reftar sharing .*--directory.*--content.*--verbose.*--json/s)
})

t.test('misuse and abort', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  fs.writeFileSync(join(directory, 'a'), noise(64 * KIB))
  for (const paths of [[], [''], ['a/../a']]) {
    t.equal((await failure(sharing(paths, { directory }))).code, 'INVALID_ARGUMENT', JSON.stringify(paths))
  }
  t.match(await failure(sharing(['none'], { directory })), { code: 'SYSTEM_CALL', syscall: 'statx' })
  t.match(await failure(sharing(['.'], { directory: join(directory, 'none') })), { code: 'SYSTEM_CALL' })
  const before = await settledDescriptors()
  for (const content of [false, true]) {
    const controller = new AbortController()
    controller.abort(new Error('enough'))
    await t.rejects(sharing(['.'], { directory, content, signal: controller.signal }), { message: 'enough' })
  }
  t.equal(await descriptorsAfter(before), before)
})

t.test('what may not be read', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  fs.writeFileSync(join(directory, 'a'), noise(64 * KIB))
  reflink(join(directory, 'a'), join(directory, 'b'))
  fs.writeFileSync(join(directory, 'closed'), noise(64 * KIB), { mode: 0 })
  fs.mkdirSync(join(directory, 'dark'), { mode: 0 })
  const { code, stdout, stderr } = await unprivileged(['sharing', '-C', directory, '.'])
  t.equal(code, 1)
  t.equal(
    stderr,
    "reftar: 'closed': left out: openat: EACCES\n" + "reftar: 'dark': left out: openat: EACCES\n",
  )
  t.match(stdout.toString(), /^2 files, 128.0 KiB of data in 64.0 KiB of storage: sharing saves 64.0 KiB$/m)
  const json = await unprivileged(['sharing', '--json', '--content', '-C', directory, '.'])
  t.equal(json.code, 1)
  t.same(
    objects(json).flatMap(({ type, path }) => (type === 'problem' ? path : [])),
    ['closed', 'dark'],
    'each is named once',
  )
  const named = await unprivileged(['sharing', '-C', directory, 'a', 'closed'])
  t.equal(named.code, 2)
  t.match(named.stderr, /^reftar: 'closed': openat: /)
})

function objects({ stdout }: Ended) {
  return stdout
    .toString()
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
}

t.test('the command', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const vm = join(directory, 'vm')
  fs.mkdirSync(vm)
  fs.writeFileSync(join(vm, 'a.img'), noise(MIB))
  reflink(join(vm, 'a.img'), join(vm, 'b.img'))
  overwrite(join(vm, 'b.img'), 512 * KIB, noise(64 * KIB, 'b'))
  const start = (fiemap(join(vm, 'a.img'))[0]?.physical ?? 0) / 4096

  t.test('for people', async t => {
    const { code, stdout, stderr } = await reftar(['sharing', 'vm'], { cwd: directory })
    t.equal(code, 0)
    t.equal(stderr, '')
    t.equal(
      stdout.toString(),
      [
        `physical block ${start} shared by:`,
        '  vm/a.img  offset 0, 524288 bytes',
        '  vm/b.img  offset 0, 524288 bytes',
        '  and 1 more range of these files, 458752 bytes',
        '   apparent     unique     shared    outside  file',
        '    1.0 MiB   64.0 KiB  960.0 KiB        0 B  vm/a.img',
        '    1.0 MiB   64.0 KiB  960.0 KiB        0 B  vm/b.img',
        '    2.0 MiB  128.0 KiB    1.9 MiB        0 B  total',
        '2 files, 2.0 MiB of data in 1.1 MiB of storage: sharing saves 960.0 KiB',
        '',
      ].join('\n'),
    )
    const all = (await reftar(['sharing', '-v', 'vm'], { cwd: directory })).stdout.toString()
    t.match(all, `physical block ${start + 144} shared by:\n  vm/a.img  offset 589824, 458752 bytes\n`)
    const one = await reftar(['sharing', '-C', vm, 'b.img'])
    t.match(one.stdout.toString(), /960.0 KiB of it is shared with others than these files\n$/)
  })

  t.test('for programs', async t => {
    const ended = await reftar(['sharing', '--json', 'vm'], { cwd: directory })
    t.equal(ended.code, 0)
    const files = (offset: number) => ['a', 'b'].map(name => ({ path: `vm/${name}.img`, offset }))
    const range = (at: number, bytes: number) => ({
      type: 'range',
      physical: (start + at / 4096) * 4096,
      block: start + at / 4096,
      bytes,
      compressed: false,
      files: files(at),
    })
    const file = { type: 'file', apparent: MIB, data: MIB, unique: 64 * KIB, shared: 960 * KIB, outside: 0 }
    const found = objects(ended)
    t.match(found, [
      range(0, 512 * KIB),
      range(576 * KIB, 448 * KIB),
      { ...file, path: 'vm/a.img' },
      { ...file, path: 'vm/b.img' },
      { type: 'summary', status: 0, files: 2, stored: MIB + 64 * KIB, saved: 960 * KIB, problems: 0 },
    ])
    t.equal(found.length, 5)
  })

  t.test('names that are not text', async t => {
    const names = [Buffer.from('\x1b[31m\n'), Buffer.from([0xff, 0xfe])]
    const odd = join(directory, 'odd')
    fs.mkdirSync(odd)
    fs.writeFileSync(join(odd, 'a'), noise(64 * KIB))
    for (const name of names) {
      fs.copyFileSync(
        join(odd, 'a'),
        Buffer.concat([Buffer.from(`${odd}/`), name]),
        fs.constants.COPYFILE_FICLONE_FORCE,
      )
    }
    const { stdout } = await reftar(['sharing', '-C', odd, '.'])
    t.match(stdout.toString(), '\n  \\033[31m\\n  offset 0, 65536 bytes\n')
    t.match(stdout.toString(), '\n  \\377\\376  offset 0, 65536 bytes\n')
    const [range] = objects(await reftar(['sharing', '--json', '-C', odd, '.']))
    t.same(range.files, [
      { path: '\x1b[31m\n', offset: 0 },
      { path: 'a', offset: 0 },
      { path: '\ufffd\ufffd', pathBase64: '//4=', offset: 0 },
    ])
  })

  t.test('many files and sets of files', async t => {
    const many = join(directory, 'many')
    fs.mkdirSync(many)
    for (let i = 0; i < 12; i++) {
      const file = join(many, String(i).padStart(2, '0'))
      fs.writeFileSync(file, noise((100 - i) * 4 * KIB, i))
      for (let j = 0; j < (i === 0 ? 14 : 1); j++) reflink(file, `${file}-${j}`)
    }
    const few = (await reftar(['sharing', '-C', many, '.'])).stdout.toString()
    t.equal(few.match(/^physical block/gm)?.length, 10)
    t.match(few, /\n {2}and 5 more places\n/)
    t.match(few, /\nand 2 more sets of files that share \(-v names all\)\n/)
    t.match(few, /\nand 27 more files\n/)
    const all = (await reftar(['sharing', '-v', '-C', many, '.'])).stdout.toString()
    t.equal(all.match(/^physical block/gm)?.length, 12)
    t.equal(all.match(/ {2}\d\d(-\d+)?$/gm)?.length, 37, 'every file has its line')
    t.notMatch(all, / more /)
  })
})

t.test('equal content that is not shared', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  fs.writeFileSync(join(directory, 'a'), noise(MIB + 100))
  reflink(join(directory, 'a'), join(directory, 'b'))
  fs.writeFileSync(join(directory, 'c'), noise(MIB + 100))
  fs.writeFileSync(join(directory, 'd'), Buffer.concat([noise(256 * KIB, 'd'), noise(256 * KIB)]))
  const found = await report(t, directory, ['.'], { content: true })
  t.equal(found.summary.saved, MIB + 100)
  t.equal(found.summary.duplicate, MIB + 100 + 256 * KIB)
  t.same(
    found.duplicates?.map(({ path, earlier, bytes }) => [text8(path), text8(earlier), bytes]),
    [
      ['c', 'a', MIB + 100],
      ['d', 'a', 256 * KIB],
    ],
  )
  const { stdout } = await reftar(['sharing', '--content', directory])
  t.match(stdout.toString(), `${directory}/c  1048676 bytes equal to ${directory}/a, not shared\n`)
  t.match(stdout.toString(), /\ndedup would save 1.3 MiB more: equal, but not shared\n$/)
  const json = objects(await reftar(['sharing', '--json', '--content', '-C', directory, 'a', 'c']))
  t.match(json.at(-2), { type: 'duplicate', path: 'c', bytes: MIB + 100, earlier: { path: 'a' } })
  t.match(json.at(-1), { type: 'summary', duplicate: MIB + 100 })
  t.same(await sharing(['.'], { directory }).then(({ duplicates }) => duplicates), undefined)
})

t.test('aborted while it reads', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  for (let i = 0; i < 64; i++) fs.writeFileSync(join(directory, `${i}`), noise(MIB, i))
  const before = await settledDescriptors()
  const controller = new AbortController()
  setTimeout(() => controller.abort(new Error('enough')), 20)
  await t.rejects(sharing(['.'], { directory, content: true, signal: controller.signal }), {
    message: 'enough',
  })
  t.equal(await descriptorsAfter(before), before)
})

t.test('a slash in front says which directory a path is below', async t => {
  const events: ReftarEvent[] = []
  const { files } = await sharing(['/dev/null', 'package.json'], { onEvent: event => events.push(event) })
  t.same(
    files.map(({ path }) => text8(path)),
    ['package.json'],
  )
  t.same(problems(events), ['SOURCE_SKIPPED /dev/null'])
  t.same(notes(events), [])
})
