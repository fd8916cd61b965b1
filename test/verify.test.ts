// An archive that is good is told so, and whatever differs between it and a tree is named.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import type { Path } from '../src/event.js'
import { type VerifySummary, verify } from '../src/verify.js'
import { reftar } from './cli/run.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import {
  archive,
  descriptorsAfter,
  failure,
  KIB,
  MIB,
  namesBelow,
  noise,
  overwrite,
  reflink,
  restore,
  run,
  settledDescriptors,
  sourceAndTarget,
  sparse,
} from './support/trees.js'

process.umask(0o022)

const TIME = 1_000_000_000

/** A tree with one of each; its archive; and the same tree restored. */
async function scene(directory: string): Promise<{ source: string; target: string; bytes: Buffer }> {
  const { source, target } = sourceAndTarget(directory)
  const inside = (name: string) => join(source, name)
  fs.mkdirSync(inside('dir/empty'), { recursive: true })
  fs.writeFileSync(inside('dir/a'), noise(MIB + 77))
  reflinkOrCopy(inside('dir/a'), inside('dir/b'))
  fs.writeFileSync(inside('dir/small'), 'small')
  fs.linkSync(inside('dir/small'), inside('link'))
  fs.symlinkSync('dir/a', inside('symlink'))
  sparse(inside('sparse'), MIB, [512 * KIB, noise(4 * KIB, 'sparse')])
  execFileSync('mkfifo', [inside('fifo')])
  fs.writeFileSync(inside('last'), noise(8 * KIB, 'last'))
  const { bytes } = await archive(['.'], { directory: source })
  await restore(bytes, target)
  return { source, target, bytes }
}

function reflinkOrCopy(from: string, to: string): void {
  execFileSync('cp', ['--reflink=auto', '--', from, to])
}

interface Verified {
  readonly differences: string[]
  readonly summary: VerifySummary
}

async function verified(bytes: Uint8Array, against?: Path): Promise<Verified> {
  const differences: string[] = []
  const sink = verify({
    ...(against !== undefined && { against }),
    onEvent: event => {
      if (event.type === 'problem') differences.push(event.message)
    },
  })
  const closed = new Promise(resolve => sink.once('close', resolve))
  await run(Readable.from([Uint8Array.from(bytes)], { objectMode: false }), sink)
  await closed
  return { differences, summary: sink.summary }
}

for (const name of ['btrfs', 'btrfs-zstd', 'xfs', 'xfs-1k', 'ext4', 'tmpfs'] satisfies FilesystemName[]) {
  t.test(`what was restored on ${name} is as it was`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target, bytes } = await scene(directory)
    for (const tree of [source, target]) {
      const { differences, summary } = await verified(bytes, tree)
      t.same(differences, [])
      const { entries, files, sharedBytes = 0, keptBytes } = summary.tree ?? {}
      t.equal(entries, namesBelow(source).length + 1)
      t.equal(files, 5)
      t.equal(keptBytes, sharedBytes, 'all sharing kept')
      t.equal(sharedBytes > 0, /btrfs|xfs/.test(name), `${sharedBytes} bytes shared`)
    }
  })
}

t.test('every difference is named', async t => {
  const touched = (path: string) => fs.utimesSync(path, TIME, TIME)
  const changes: Record<string, [(inside: (name: string) => string) => void, ...RegExp[]]> = {
    'one byte': [
      inside => keepTime(inside('dir/a'), () => overwrite(inside('dir/a'), MIB, Buffer.from([1]))),
      /^'dir\/a': differs at byte 1048576$/,
      /^'dir\/b': cannot be compared at byte 0/,
    ],
    'a byte of the last': [
      inside => keepTime(inside('last'), () => overwrite(inside('last'), 8191, Buffer.from([1]))),
      /^'last': differs at byte 8191$/,
    ],
    mode: [inside => fs.chmodSync(inside('last'), 0o600), /^'last': has mode 0600, expected 0644$/],
    owner: [inside => fs.chownSync(inside('last'), 12, 34), /^'last': has owner 12:34, expected 0:0$/],
    time: [inside => touched(inside('last')), /^'last': has time 1000000000.000000000, expected \d+\.\d{9}$/],
    'a nanosecond': [inside => later(inside('last')), /^'last': has time /],
    target: [inside => retarget(inside('symlink')), /^'symlink': has target 'elsewhere', expected 'dir\/a'$/],
    missing: [inside => keepTime(inside('.'), () => fs.rmSync(inside('last'))), /^'last': is not there$/],
    extra: [
      inside => keepTime(inside('dir'), () => fs.writeFileSync(inside('dir/more'), '')),
      /^'dir\/more': is not in the archive$/,
    ],
    type: [
      inside => keepTime(inside('.'), () => retype(inside('last'))),
      /^'last': is a directory, expected a file$/,
    ],
    'a directory that is gone': [
      inside => keepTime(inside('dir'), () => fs.rmdirSync(inside('dir/empty'))),
      /^'dir\/empty': is not there$/,
    ],
    'a hard link that is a copy': [
      inside => keepTime(inside('.'), () => unlinked(inside('link'))),
      /^'link': is not a hard link/,
    ],
    longer: [
      inside => keepTime(inside('last'), () => fs.appendFileSync(inside('last'), 'x')),
      /^'last': has 8193 bytes, expected 8192$/,
    ],
    shorter: [
      inside => keepTime(inside('last'), () => fs.truncateSync(inside('last'), 8000)),
      /^'last': differs at byte 8000$/,
      /^'last': has 8000 bytes, expected 8192$/,
    ],
    'a hole that is filled': [
      inside => keepTime(inside('sparse'), () => overwrite(inside('sparse'), 0, Buffer.alloc(4096))),
      /^'sparse': has data at byte 0, expected a hole of 524288 bytes at 0$/,
    ],
    'data that is a hole': [
      inside => keepTime(inside('last'), () => punch(inside('last'))),
      /^'last': differs at byte 0$/,
    ],
    sharing: [
      inside => keepTime(inside('dir'), () => unshare(inside('dir/b'))),
      /^'dir\/b': shares 0 of \d+ bytes at 0, expected all$/,
    ],
  }
  for (const name of ['btrfs', 'xfs'] satisfies FilesystemName[]) {
    for (const [what, [change, ...expected]] of Object.entries(changes)) {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { target, bytes } = await scene(directory)
      change(inner => join(target, inner))
      const { differences, summary } = await verified(bytes, target)
      t.equal(differences.length, expected.length, `${what} on ${name}: ${differences.join(', ')}`)
      for (const [i, pattern] of expected.entries()) t.match(differences[i], pattern)
      t.equal(summary.tree?.differences, expected.length)
    }
  }
})

/** Makes a change that shows in no time. */
function keepTime(path: string, change: () => void): void {
  const stamp = fs.mkdtempSync(join(tmpdir(), 'reftar-verify-'))
  execFileSync('touch', ['-r', path, stamp])
  change()
  execFileSync('touch', ['-r', stamp, path])
  fs.rmdirSync(stamp)
}

function later(file: string): void {
  const { mtimeNs } = fs.statSync(file, { bigint: true })
  const next = mtimeNs + 1n
  execFileSync('touch', [
    '-d',
    `@${next / 1_000_000_000n}.${String(next % 1_000_000_000n).padStart(9, '0')}`,
    file,
  ])
}

function retarget(link: string): void {
  const { mtimeNs } = fs.lstatSync(link, { bigint: true })
  keepTime(join(link, '..'), () => {
    fs.rmSync(link)
    fs.symlinkSync('elsewhere', link)
  })
  execFileSync('touch', [
    '-h',
    '-d',
    `@${mtimeNs / 1_000_000_000n}.${String(mtimeNs % 1_000_000_000n).padStart(9, '0')}`,
    link,
  ])
}

function retype(file: string): void {
  fs.rmSync(file)
  fs.mkdirSync(file)
}

function unlinked(link: string): void {
  execFileSync('cp', ['-p', link, `${link}.new`])
  fs.renameSync(`${link}.new`, link)
}

function punch(file: string): void {
  execFileSync('fallocate', ['--punch-hole', '-o', '0', '-l', '4096', file])
}

function unshare(file: string): void {
  execFileSync('cp', ['-p', '--reflink=never', file, `${file}.new`])
  fs.renameSync(`${file}.new`, file)
}

t.test('what follows a difference of shape is still compared', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  sparse(join(source, 'a'), MIB, [512 * KIB, noise(8 * KIB)])
  reflink(join(source, 'a'), join(source, 'b'))
  const { bytes } = await archive(['.'], { directory: source })
  await restore(bytes, target)
  keepTime(join(target, 'a'), () => {
    overwrite(join(target, 'a'), 0, Buffer.alloc(4096))
    overwrite(join(target, 'a'), 512 * KIB, Buffer.from([1]))
  })
  const { differences } = await verified(bytes, target)
  t.match(differences, [/^'a': has data at byte 0/, /^'b': cannot be compared at byte 524288/])
})

t.test('without a tree it checks, and writes nothing', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source, bytes } = await scene(directory)
  const { summary } = await verified(bytes)
  t.equal(summary.archive.archiveBytes, bytes.byteLength)
  t.equal(summary.tree, undefined)
  const before = namesBelow(directory)
  for (const at of [1000, bytes.byteLength - 100, bytes.byteLength / 2]) {
    const damaged = Buffer.from(bytes)
    damaged[Math.floor(at)] = (damaged[Math.floor(at)] as number) ^ 1
    t.ok((await failure(verified(damaged))).code, 'a bit that flipped is found')
    t.ok((await failure(verified(damaged, source))).code)
  }
  t.equal((await failure(verified(bytes.subarray(0, -1)))).code, 'TRUNCATED')
  t.same(namesBelow(directory), before)
})

t.test('every invalid archive fails as it does everywhere', async t => {
  const fixtures = new URL('../fixtures/invalid/', import.meta.url)
  for (const file of fs.readdirSync(fixtures).filter(name => name.endsWith('.reftar'))) {
    const bytes = fs.readFileSync(new URL(file, fixtures))
    t.equal((await failure(verified(bytes))).code, file.split('--')[0], file)
  }
})

t.test('a stream that dies, or is aborted, leaves no descriptor', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { target, bytes } = await scene(directory)
  await verified(bytes, target)
  const before = await settledDescriptors()
  const dying = new Readable({ read: () => undefined })
  dying.push(bytes.subarray(0, bytes.byteLength / 2))
  setImmediate(() => dying.destroy(new Error('gone')))
  await t.rejects(run(dying, verify({ against: target })), { message: 'gone' })
  await t.rejects(run(Readable.from([bytes]), verify({ against: target, signal: AbortSignal.abort() })))
  t.equal(await descriptorsAfter(before), before)
})

t.test('the command', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { target, bytes } = await scene(directory)
  const file = join(directory, 'archive')
  fs.writeFileSync(file, bytes)
  const good = await reftar(['verify', '-f', file])
  t.same([good.code, String(good.stdout), String(good.stderr)], [0, '', ''])
  const same = await reftar(['verify', '-f', file, '--against', target])
  t.equal(same.code, 0)
  t.match(String(same.stdout), /^no differences\nsharing kept 100 % \(1\.0 of 1\.0 MiB\)\n$/)
  fs.chmodSync(join(target, 'last'), 0o600)
  const other = await reftar(['verify', '-f', file, '--against', target, '--json'])
  t.equal(other.code, 1)
  const lines = String(other.stdout)
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as object)
  t.match(lines, [
    { type: 'problem', code: 'DIFFERENT', path: 'last' },
    { type: 'summary', status: 1, tree: { differences: 1 } },
  ])
  fs.writeFileSync(file, bytes.subarray(0, -1))
  t.equal((await reftar(['verify', '-f', file, '--against', target])).code, 2)
  t.equal((await reftar(['verify', '-f', file, '--against', join(directory, 'nowhere')])).code, 2)
})
