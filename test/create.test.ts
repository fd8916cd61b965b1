import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { create } from '../src/create.js'
import type { ArchiveRecord, Entry } from '../src/record.js'
import { compareTrees, dataRanges } from './support/compare-trees.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import {
  archive,
  BECOME_NOBODY,
  checkRoundTrip,
  decoded,
  ended,
  failure,
  KIB,
  listed,
  MIB,
  moduleCommand,
  namesBelow,
  noise,
  notes,
  overwrite,
  problems,
  restore,
  sourceAndTarget,
  sparse,
} from './support/trees.js'

process.umask(0o022)

const isRoot = process.getuid?.() === 0
const every: FilesystemName[] = ['btrfs', 'btrfs-zstd', 'xfs', 'xfs-1k', 'xfs-16k', 'ext4', 'tmpfs']

function entriesOf(records: readonly ArchiveRecord[]): Entry[] {
  return records.filter(record => record.kind === 'entry')
}

async function namesIn(bytes: Uint8Array): Promise<string[]> {
  return (await listed(bytes)).map(({ path }) => Buffer.from(path).toString('latin1'))
}

/** A path of raw bytes below a directory. */
function raw(directory: string, ...name: readonly (number | string)[]): Buffer {
  const bytes = name.map(part => (typeof part === 'number' ? Buffer.from([part]) : Buffer.from(part)))
  return Buffer.concat([Buffer.from(`${directory}/`), ...bytes])
}

function touch(path: string | Buffer, time: string): void {
  execFileSync('touch', ['-h', '-d', `@${time}`, '--', path.toString()])
}

for (const name of every) {
  t.test(`every kind of entry on ${name}`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    const inside = (file: string) => join(source, file)
    fs.mkdirSync(inside('dir/inner'), { recursive: true })
    fs.mkdirSync(inside('dir/empty'))
    fs.writeFileSync(inside('file'), noise(MIB + 13))
    fs.writeFileSync(inside('empty'), '')
    fs.writeFileSync(inside('one'), '1')
    fs.writeFileSync(inside('block'), noise(4096))
    fs.writeFileSync(inside('dir/inner/deep'), 'deep')
    fs.linkSync(inside('file'), inside('dir/hard1'))
    fs.linkSync(inside('file'), inside('dir/inner/hard2'))
    fs.linkSync(inside('empty'), inside('zz-empty'))
    fs.symlinkSync('dir/inner', inside('symlink'))
    fs.symlinkSync('/nowhere/at all', inside('dangling'))
    fs.symlinkSync(Buffer.from([0xff, 0xfe, 0x0a]), inside('rawlink'))
    fs.symlinkSync('x'.repeat(1023), inside('longlink'))
    fs.linkSync(inside('dangling'), inside('dir/samelink'))
    execFileSync('mkfifo', ['-m', '0666', inside('fifo')])
    fs.linkSync(inside('fifo'), inside('fifo2'))
    for (const [file, mode] of Object.entries({
      file: 0o4711,
      empty: 0o2640,
      one: 0,
      block: 0o777,
      'dir/empty': 0o1777,
    })) {
      fs.chmodSync(inside(file), mode)
    }
    fs.chmodSync(inside('dir'), 0o2755)
    fs.chmodSync(inside('dir/inner'), 0o555)
    if (isRoot) {
      execFileSync('mknod', ['-m', '0606', inside('null'), 'c', '1', '3'])
      execFileSync('mknod', ['-m', '0660', inside('disk'), 'b', '259', '70000'])
      fs.chownSync(inside('file'), 1234, 5678)
      fs.chmodSync(inside('file'), 0o4711)
      fs.lchownSync(inside('symlink'), 7, 8)
      fs.chownSync(inside('fifo'), 9, 10)
      fs.chownSync(inside('dir/empty'), 4_000_000_000, 3_000_000_000)
    }
    const times: [string, string][] = [
      ['file', '1.000000001'],
      ['one', '-1.5'],
      ['block', '-2000000000.999999999'],
      ['symlink', '1234567890.123456789'],
      ['fifo', '2147483648.5'],
      ['dir/empty', '0'],
      ['dir/inner', '1000000000.000000999'],
      ['dir', '-1'],
    ]
    for (const [file, time] of times) touch(inside(file), time)
    const { events, summary } = await checkRoundTrip(t, source, target)
    t.same(problems(events), [])
    t.equal(fs.statSync(join(target, 'file')).nlink, 3)
    t.equal(fs.lstatSync(join(target, 'dangling')).nlink, 2)
    t.equal(summary.tree.entries, namesBelow(source).length + 1)
    t.equal(summary.tree.files, 5)
  })

  t.test(`holes on ${name}`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    const inside = (file: string) => join(source, file)
    const data = noise(64 * KIB)
    sparse(inside('leading'), 256 * KIB, [192 * KIB, data])
    sparse(inside('middle'), 256 * KIB, [0, data], [192 * KIB, data])
    sparse(inside('trailing'), 256 * KIB, [0, data])
    sparse(inside('only'), 256 * KIB)
    sparse(inside('only-odd'), 2 ** 40 + 1)
    sparse(inside('tail'), 192 * KIB + 5, [192 * KIB, data.subarray(0, 5)])
    sparse(
      inside('many'),
      4 * MIB,
      ...Array.from({ length: 32 }, (_, i) => [i * 128 * KIB, data.subarray(i)] as [number, Buffer]),
    )
    sparse(inside('far'), 2 ** 42, [2 ** 41, data])
    sparse(inside('zeros'), 64 * KIB, [0, Buffer.alloc(64 * KIB)])
    const { summary } = await checkRoundTrip(t, source, target)
    for (const file of fs.readdirSync(source)) {
      const fd = fs.openSync(join(target, file), 'r')
      const ranges = dataRanges(fd, fs.fstatSync(fd).size)
      fs.closeSync(fd)
      if (file.startsWith('only')) t.same(ranges, [], file)
      if (file === 'trailing') t.same(ranges, [{ start: 0, end: 64 * KIB }])
      if (file === 'zeros') t.same(ranges, [{ start: 0, end: 64 * KIB }], 'zeros that were written are data')
    }
    t.ok(summary.tree.holeBytes > 2 ** 42)
    t.ok(summary.tree.bytesRead < 4 * MIB)
  })
}

t.test('names of any bytes', async t => {
  for (const name of ['btrfs', 'xfs', 'ext4', 'tmpfs'] as const) {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    const names = [
      raw(source, 'new\nline'),
      raw(source, 0xff, 0xfe, 0x80),
      raw(source, 'x'.repeat(255)),
      raw(source, ...Array.from({ length: 255 }, () => 0xc3)),
      raw(source, ' '),
      raw(source, '-rf'),
      raw(source, '\\'),
      raw(source, '...'),
      raw(source, '..a'),
      raw(source, 'ä'),
      raw(source, 'a\u0308'),
      raw(source, '\u{1f600}'),
    ]
    for (const path of names) fs.writeFileSync(path, path)
    for (let byte = 1; byte < 256; byte++) {
      if (byte !== 0x2f && byte !== 0x2e) fs.mkdirSync(raw(source, 'd', byte))
    }
    fs.writeFileSync(Buffer.concat([raw(source, 'd', 0xff), raw('', 0xfe)]), 'inside')
    const { bytes } = await checkRoundTrip(t, source, target)
    const stored = (await listed(bytes)).map(({ path }) => Buffer.from(path))
    const sorted = [...stored].sort(Buffer.compare)
    t.same(stored, sorted, 'in the order of bytes')
  }
})

t.test('order is that of names, directory by directory', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  for (const name of ['b', 'a-b', 'a', 'A', 'aa']) fs.mkdirSync(join(directory, name))
  fs.writeFileSync(join(directory, 'a/z'), '')
  fs.writeFileSync(join(directory, 'a.z'), '')
  const { bytes } = await archive(['.'], { directory })
  t.same(await namesIn(bytes), ['', 'A', 'a', 'a/z', 'a-b', 'a.z', 'aa', 'b'])
  const again = await archive(['b', 'aa', './a.z', 'a', 'A/', 'a//', 'a-b/.', '.'], { directory })
  t.ok(again.bytes.equals(bytes), 'the order of arguments does not matter')
})

t.test('the same tree gives the same bytes', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  for (let i = 0; i < 50; i++) fs.writeFileSync(join(source, `f${i}`), noise(i * 3000, i))
  const [first, second] = [
    await archive(['.'], { directory: source }),
    await archive(['.'], { directory: source }),
  ]
  t.ok(first.bytes.equals(second.bytes))
})

t.test('stored names', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.mkdirSync(join(source, 'a/b'), { recursive: true, mode: 0o700 })
  fs.mkdirSync(join(source, 'a/other'))
  fs.mkdirSync(join(source, 'x'))
  fs.writeFileSync(join(source, 'a/b/c'), 'c')
  fs.writeFileSync(join(source, 'a/b/d'), 'd')
  fs.writeFileSync(join(source, 'x/y'), 'y')
  const stored = async (...paths: string[]) => namesIn((await archive(paths, { directory: source })).bytes)

  t.same(await stored('a/b/c'), ['a', 'a/b', 'a/b/c'])
  t.same(await stored('./a/./b//c'), ['a', 'a/b', 'a/b/c'])
  t.same(await stored('a/b'), ['a', 'a/b', 'a/b/c', 'a/b/d'])
  t.same(await stored('.'), ['', 'a', 'a/b', 'a/b/c', 'a/b/d', 'a/other', 'x', 'x/y'])
  t.same(await stored('a/b/d', 'x', 'a/b/c', 'a/b/d'), ['a', 'a/b', 'a/b/c', 'a/b/d', 'x', 'x/y'])
  t.same(await stored('a/b/d', 'a'), ['a', 'a/b', 'a/b/c', 'a/b/d', 'a/other'])
  t.same(await stored('a/b/d', 'a/b', 'x/y'), ['a', 'a/b', 'a/b/c', 'a/b/d', 'x', 'x/y'])

  const implied = entriesOf(await decoded((await archive(['a/b/c'], { directory: source })).bytes))
  t.same(implied[0]?.metadata, {}, 'a parent is only implied')
  t.same(implied[1]?.metadata, {})
  t.ok(implied[2]?.metadata.owner)
  const merged = entriesOf(await decoded((await archive(['a/b/c', 'a'], { directory: source })).bytes))
  t.equal(merged[0]?.metadata.mode, 0o700, 'asked for, also as a parent')

  await restore((await archive(['a/b/c'], { directory: source })).bytes, target)
  t.equal(fs.statSync(join(target, 'a/b')).mode & 0o7777, 0o755, 'as a new directory')
  t.equal(fs.readFileSync(join(target, 'a/b/c'), 'utf8'), 'c')
})

t.test('absolute paths', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'f'), 'f')
  fs.writeFileSync(join(source, 'g'), 'g')
  const { bytes, events } = await archive([join(source, 'f'), join(source, 'g')])
  t.equal(notes(events).length, 1, 'one note for both')
  t.match(notes(events)[0], /leading '\/'/)
  t.same((await namesIn(bytes)).slice(-2), [join(source, 'f').slice(1), join(source, 'g').slice(1)])
  await restore(bytes, target)
  t.equal(fs.readFileSync(join(target, source, 'f'), 'utf8'), 'f')

  // Beside a relative path: each name is looked for where it belongs.
  const [, top = ''] = source.split('/')
  fs.mkdirSync(join(source, 'rel'))
  const mixed = await archive([join(source, 'f'), 'rel', 'g'], { directory: source })
  const names = await namesIn(mixed.bytes)
  t.ok(names.includes('rel') && names.includes('g') && names.includes(join(source, 'f').slice(1)))
  fs.mkdirSync(join(source, top))
  const clash = await failure(() => archive([join(source, 'f'), top], { directory: source }))
  t.equal(clash.code, 'INVALID_ARGUMENT')
  t.equal(
    (await failure(() => archive([join(source, 'f'), '.'], { directory: source }))).code,
    'INVALID_ARGUMENT',
  )
})

t.test('a directory that was given through a symbolic link', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  fs.mkdirSync(join(source, 'real'))
  fs.writeFileSync(join(source, 'real/f'), 'f')
  fs.symlinkSync('real', join(source, 'link'))
  t.same(await namesIn((await archive(['.'], { directory: join(source, 'link') })).bytes), ['', 'f'])
  t.same(await namesIn((await archive(['link'], { directory: source })).bytes), ['link'], 'stored as a link')
  const through = entriesOf(await decoded((await archive(['link/f'], { directory: source })).bytes))
  t.same(
    through.map(({ type }) => type),
    ['directory', 'file'],
  )
})

t.test('arguments that are refused', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  for (const paths of [[], [''], ['..'], ['a/../b'], ['/..'], ['a/..']]) {
    const error = await failure(() => create(paths, { directory }))
    t.equal(error.code, 'INVALID_ARGUMENT', JSON.stringify(paths))
  }
  for (const blockSize of [0, 1, 256, 4097, 131072]) {
    t.equal((await failure(() => create(['.'], { directory, blockSize }))).code, 'INVALID_ARGUMENT')
  }
  fs.writeFileSync(join(directory, '..a'), '')
  fs.writeFileSync(join(directory, 'there'), '')
  t.same(await namesIn((await archive(['..a'], { directory })).bytes), ['..a'])
  for (const path of ['missing', 'missing/below', 'there/below']) {
    const error = await failure(archive(path === 'missing' ? ['there', path] : [path], { directory }))
    t.equal(error.code, 'SYSTEM_CALL', path)
  }
  t.equal((await failure(archive(['.'], { directory: join(directory, 'missing') }))).code, 'SYSTEM_CALL')
  t.equal((await failure(archive(['.'], { directory: join(directory, 'there') }))).code, 'SYSTEM_CALL')
})

t.test('sockets are left out, and noted', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  const make = 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])'
  execFileSync('python3', ['-c', make, join(directory, 'socket')])
  fs.writeFileSync(join(directory, 'z'), '')
  const { bytes, events, summary } = await archive(['.'], { directory })
  t.same(await namesIn(bytes), ['', 'z'])
  t.same(notes(events), ["'socket': a socket is not archived"])
  t.equal(summary.tree.problems, 0)
})

t.test('the archive in its own tree', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  fs.writeFileSync(join(directory, 'a'), 'a')
  fs.writeFileSync(join(directory, 'archive'), 'growing')
  const { dev, ino } = fs.statSync(join(directory, 'archive'), { bigint: true })
  const { bytes, events } = await archive(['.'], { directory, skip: [{ dev, ino }] })
  t.same(await namesIn(bytes), ['', 'a'])
  t.same(notes(events), ['the archive itself is left out'])
  const other = await archive(['.'], { directory, skip: [{ dev: dev + 1n, ino }] })
  t.same(await namesIn(other.bytes), ['', 'a', 'archive'])
})

t.test('what cannot be read', { skip: isRoot ? false : 'needs root to become another user' }, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  fs.mkdirSync(join(source, 'closed'), { mode: 0o700 })
  fs.writeFileSync(join(source, 'closed/f'), 'f')
  fs.writeFileSync(join(source, 'secret'), 'secret', { mode: 0o600 })
  fs.writeFileSync(join(source, 'open'), 'open')
  const script = `
    const { create } = await import('./src/create.ts')
    const { list } = await import('./src/list.ts')
    const { pipeline } = await import('node:stream/promises')
    ${BECOME_NOBODY}
    const onEvent = event => event.type === 'problem' && console.log(event.code, String(Buffer.from(event.path)))
    const source = create(['.'], { directory: ${JSON.stringify(source)}, onEvent })
    for await (const { path } of source.pipe(list())) console.log('stored', String(Buffer.from(path)))
    console.log('problems', source.summary.tree.problems)
    try {
      for await (const _ of create(['secret'], { directory: ${JSON.stringify(source)} }));
    } catch (error) {
      console.log('alone', error.code, error.syscall)
    }`
  const { output } = await ended(...moduleCommand(script))
  t.same(output.trim().split('\n'), [
    'SOURCE_SKIPPED closed',
    'SOURCE_SKIPPED secret',
    'stored ',
    'stored closed',
    'stored open',
    'problems 2',
    'alone SYSTEM_CALL openat',
  ])
})

for (const depth of [300, 3000]) {
  t.test(`${depth} directories deep`, async t => {
    const directory = testDirectory(t, 'btrfs')
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    const make = `
import os, sys
os.chdir(sys.argv[1])
for i in range(int(sys.argv[2])):
    os.mkdir('level%d' % i)
    if i % 100 == 0:
        open('f', 'w').write('file %d' % i)
    os.chdir('level%d' % i)
open('bottom', 'w').write('bottom')`
    execFileSync('python3', ['-c', make, source, String(depth)])
    const { bytes, summary, events } = await archive(['.'], { directory: source })
    t.same(problems(events), [])
    t.equal(summary.tree.entries, depth + Math.ceil(depth / 100) + 2)
    t.equal((await listed(bytes)).length, summary.tree.entries)
    await restore(bytes, target)
    const walk = `
import os, sys
os.chdir(sys.argv[1])
for i in range(int(sys.argv[2])):
    print(*sorted(os.listdir('.')), os.stat('.').st_mtime_ns if i else '')
    os.chdir('level%d' % i)
print(open('bottom').read())`
    const seen = (tree: string) =>
      execFileSync('python3', ['-c', walk, tree, String(depth)], { encoding: 'utf8' })
    t.equal(seen(target), seen(source))
  })
}

t.test('many names in one directory', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  for (let i = 0; i < 5000; i++) fs.writeFileSync(join(source, `name-${i}`), i % 3 === 0 ? '' : String(i))
  const { bytes } = await archive(['.'], { directory: source })
  await restore(bytes, target)
  t.same(compareTrees(source, target), [])
})

t.test('other block sizes of the archive', async t => {
  for (const blockSize of [512, 16384, 65536]) {
    const directory = testDirectory(t, 'xfs-1k')
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    fs.writeFileSync(join(source, 'a'), noise(MIB + 1))
    execFileSync('cp', ['--reflink=always', join(source, 'a'), join(source, 'b')])
    overwrite(join(source, 'b'), 70 * KIB, noise(3 * KIB, 'b'))
    sparse(join(source, 'c'), 200 * KIB, [33 * KIB, noise(5 * KIB)], [100 * KIB, noise(77)])
    const { bytes, summary } = await archive(['.'], { directory: source, blockSize })
    t.equal(summary.tree.bytesRead, MIB + 1 + 3 * KIB + 6 * KIB)
    await restore(bytes, target)
    t.same(compareTrees(source, target), [], String(blockSize))
  }
})

t.test('a stream that is left in the middle', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  fs.writeFileSync(join(directory, 'a'), noise(20 * MIB))
  const before = fs.readdirSync('/proc/self/fd').length
  const source = create(['.'], { directory })
  for await (const _ of source) break
  const closed = create(['.'], { directory })
  const ending = new Promise(resolve => closed.on('close', () => resolve(undefined)))
  closed.destroy()
  await ending
  const controller = new AbortController()
  const aborted = create(['.'], { directory, signal: controller.signal })
  await t.rejects(async () => {
    for await (const _ of aborted) controller.abort(new Error('enough'))
  }, /enough/)
  await new Promise(resolve => setTimeout(resolve, 50))
  t.equal(fs.readdirSync('/proc/self/fd').length, before)
})
