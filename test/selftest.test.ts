// `reftar selftest`, on every kind of filesystem and for every kind of user; and that it notices what goes wrong.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CLI, type Ended, reftar, run, scratch, shell, started } from './cli/run.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import { BARE, injected } from './support/injected.js'
import { NOBODY } from './support/nobody.js'
import { needsRoot, ownFilesystem } from './support/own-filesystem.js'
import { MIB } from './support/trees.js'

process.umask(0o022)

/** What clones of the sample share: three of a template of 4 MiB and 1234 bytes, without 512 KiB each. */
const SHARED = 3 * (4 * MIB + 1234 - MIB / 2)
const asNobody = [...BARE, 'setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups']

interface Told {
  readonly type: string
  readonly name?: string
  readonly can?: boolean
  readonly error?: string
  readonly unit?: number
  readonly way?: string
  readonly sharedBytes?: number
  readonly keptBytes?: number
}

function told({ stdout }: Ended): Told[] {
  const lines = stdout.toString().split('\n').slice(0, -1)
  return lines.map(line => JSON.parse(line) as Told)
}

/** True, or the error that says no. */
function abilities(lines: readonly Told[]): Map<string | undefined, boolean | string> {
  const found = lines.filter(({ type }) => type === 'ability')
  return new Map(found.map(({ name, can, error }) => [name, can || (error ?? false)]))
}

function comparisons(lines: readonly Told[]): unknown[] {
  return lines
    .filter(({ type }) => type === 'compared')
    .map(({ way, sharedBytes, keptBytes }) => [way, sharedBytes, keptBytes])
}

const KINDS: readonly (readonly [FilesystemName, string, number | undefined, boolean])[] = [
  ['btrfs', 'btrfs', 4096, true],
  ['btrfs-zstd', 'btrfs', 4096, true],
  ['xfs', 'XFS', 4096, true],
  ['xfs-1k', 'XFS', 1024, true],
  ['xfs-16k', 'XFS', 16384, true],
  ['ext4', 'ext4', undefined, true],
  ['tmpfs', 'tmpfs', undefined, false],
]

for (const [kind, name, unit, hasMap] of KINDS) {
  t.test(`on ${kind}`, async t => {
    const directory = testDirectory(t, kind)
    if (directory === undefined) return
    const ended = await reftar(['selftest', '--json', directory])
    t.match(ended, { code: 0, stderr: '' })
    const lines = told(ended)
    t.match(lines[0], { type: 'filesystem', name, path: directory })
    const can = abilities(lines)
    t.equal(can.get('clone'), unit === undefined ? 'EOPNOTSUPP' : true)
    t.equal(lines.find(({ name }) => name === 'clone')?.unit, unit)
    t.equal(can.get('map'), hasMap || 'EOPNOTSUPP')
    for (const always of ['holes', 'unnamedFiles', 'renameToFree', 'exchange', 'userXattrs', 'times'])
      t.equal(can.get(always), true, always)
    const kept = unit === undefined ? 0 : SHARED
    const ways = unit === undefined ? ['stream'] : ['stream', 'zeroCopy']
    t.same(
      comparisons(lines),
      ways.map(way => (hasMap ? [way, kept, kept] : [way, undefined, undefined])),
    )
    t.match(lines.at(-1), { type: 'summary', status: 0, problems: 0 })
    t.same(fs.readdirSync(directory), [], 'nothing is left')
  })
}

for (const kind of ['btrfs', 'xfs', 'ext4', 'tmpfs'] as const) {
  t.test(`without root, on ${kind}`, needsRoot, async t => {
    const directory = testDirectory(t, kind)
    if (directory === undefined) return
    fs.chownSync(directory, NOBODY, NOBODY)
    const ended = await run([...asNobody, process.execPath, CLI, 'selftest', '--json', directory])
    t.match(ended, { code: 0, stderr: '' })
    const can = abilities(told(ended))
    for (const ofRoot of ['owners', 'devices', 'trustedXattrs']) t.equal(can.get(ofRoot), 'EPERM', ofRoot)
    t.equal(can.get('userXattrs'), true)
    if (kind === 'btrfs') t.equal(can.get('compressedExtents'), false)
    t.match(told(ended)[0], { root: false })
    t.same(fs.readdirSync(directory), [], 'nothing is left')
  })
}

t.test('on overlays, and through FUSE', needsRoot, async t => {
  for (const kind of ['btrfs', 'ext4'] as const) {
    const base = testDirectory(t, kind)
    if (base === undefined) return
    const layers = ['lower', 'upper', 'work', 'merged'].map(name => join(base, name))
    for (const layer of layers) fs.mkdirSync(layer)
    const [lower, upper, work, merged = ''] = layers
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`
    execFileSync('mount', ['-t', 'overlay', '-o', options, 'overlay', merged])
    t.teardown(() => execFileSync('umount', [merged]))
    const ended = await reftar(['selftest', '--json', merged])
    t.match(ended, { code: 0, stderr: '' })
    const lines = told(ended)
    t.match(lines[0], { name: 'overlay' })
    const kept = kind === 'btrfs' ? SHARED : 0
    t.same(comparisons(lines)[0], ['stream', kept, kept], kind)
    t.same(fs.readdirSync(merged), [])
  }
  const base = scratch(t)
  const [behind, mounted] = ['behind', 'mounted'].map(name => join(base, name)) as [string, string]
  for (const directory of [behind, mounted]) fs.mkdirSync(directory)
  execFileSync('bindfs', [behind, mounted], { stdio: 'ignore' })
  t.teardown(() => execFileSync('umount', [mounted]))
  const { code, stdout, stderr } = await reftar(['selftest', mounted])
  t.same([code, stderr], [0, ''])
  t.match(stdout.toString(), 'two names change places: RENAME_EXCHANGE (EINVAL)')
  t.same(fs.readdirSync(behind), [])
})

t.test('in words', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { stdout, stderr, code } = await run([process.execPath, CLI, 'selftest', '-v'], { cwd: directory })
  t.same([code, stderr], [0, ''])
  const text = stdout.toString()
  t.match(text, /^\. is on XFS, with blocks of 4096 bytes; Linux /)
  t.match(text, 'yes  files share storage: FICLONERANGE, in units of 4096 bytes\n')
  t.match(text, '\nsharing kept: 10.5 MiB of 10.5 MiB\n')
  t.match(text, /\n +[\d.]+ - [\d.]+ +[\d.]+ - [\d.]+ {2}template {2}web {2}db {2}moved\n/)
  t.match(text, /\nall of it came out right\n$/)
})

t.test('where it cannot work', needsRoot, async t => {
  const base = scratch(t)
  const fails = async (directory: string, stderr: RegExp, prefix: readonly string[] = []) => {
    const ended = await run([...prefix, process.execPath, CLI, 'selftest', directory])
    t.match(ended, { code: 2, stderr }, directory)
  }
  fs.writeFileSync(join(base, 'file'), '')
  await fails(join(base, 'none'), /^reftar: '.*\/none': openat: .*ENOENT\)\n$/)
  await fails(join(base, 'file'), /^reftar: '.*\/file': openat: .*ENOTDIR\)\n$/)
  await fails('/', /^reftar: '\/': mkdirat: .*EACCES\)\n$/, asNobody)

  const own = ownFilesystem(t, 'tmpfs', 'size=64m')
  execFileSync('mount', ['-o', 'remount,ro', own.mountPoint])
  await fails(own.mountPoint, /^reftar: '.*': mkdirat: .*EROFS\)\n$/)
  // Until it is probed, filled, archived, restored.
  for (const size of ['64k', '2m', '20m', '30m']) {
    execFileSync('mount', ['-o', `remount,rw,size=${size}`, own.mountPoint])
    await fails(own.mountPoint, /^reftar: '.*': .*no space left on device.*ENOSPC\)\n$/)
    t.same(fs.readdirSync(own.mountPoint), [], `${size}: nothing is left`)
  }
})

t.test('interrupted, it leaves nothing', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  for (const [call, when] of [
    ['pwrite64', 1],
    ['pwrite64', 12],
    ['linkat', 2],
    ['renameat2', 5],
    ['ioctl', 40],
    ['ioctl', 80],
  ] as const) {
    const { signal, stderr } = await injected(call, 'signal=SIGINT', when, ['selftest', directory])
    t.same([signal, stderr], ['SIGINT', ''], `${call} ${when}`)
    t.same(fs.readdirSync(directory), [], `${call} ${when}: nothing is left`)
  }
  const running = started(['selftest', directory])
  t.teardown(() => running.kill('SIGKILL'))
  running.kill('SIGTERM')
  t.equal((await running.ended).signal, 'SIGTERM')
  t.same(fs.readdirSync(directory), [])

  const { code } = await shell('"$NODE" "$CLI" selftest . | head -n 1', { cwd: directory })
  t.equal(code, 2, 'and where nobody reads what it says')
  t.same(fs.readdirSync(directory), [])
})
