// Where names cannot be given in one step, or owners and modes cannot be set: NFS, FUSE, VFAT.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ExtractOptions } from '../src/extract.js'
import { type Ended, reftar } from './cli/run.js'
import { testDirectory } from './support/filesystems.js'
import {
  archive,
  ended,
  moduleCommand,
  namesBelow,
  noise,
  restore,
  sourceAndTarget,
} from './support/trees.js'

process.umask(0o022)

const asRoot = { skip: process.getuid?.() === 0 ? false : 'needs root' } as const
const KINDS = ['directory', 'directory/file', 'fifo', 'file', 'hard-link', 'symlink']

interface Scene {
  readonly archive: string
  readonly target: string
}

/** An archive with one of each kind, and an empty target. */
async function scene(t: Test, kinds = KINDS): Promise<Scene | undefined> {
  const base = testDirectory(t, 'btrfs')
  if (base === undefined) return undefined
  const { source, target } = sourceAndTarget(base)
  const at = (name: string) => join(source, name)
  fs.mkdirSync(at('directory'))
  fs.writeFileSync(at('directory/file'), noise(5000))
  fs.writeFileSync(at('file'), noise(50_000), { mode: 0o640 })
  fs.linkSync(at('file'), at('hard-link'))
  fs.symlinkSync('file', at('symlink'))
  execFileSync('mkfifo', [at('fifo')])
  const archive = join(base, 'archive')
  const names = kinds.filter(name => !name.includes('/'))
  const { code, stderr } = await reftar(['create', '-f', archive, '-C', source, ...names])
  t.same([code, stderr], [0, ''])
  return { archive, target }
}

/** A directory as FUSE shows it. */
function mirrored(t: Test, directory: string, ...options: readonly string[]): string {
  const mountPoint = `${directory}-mirrored`
  fs.mkdirSync(mountPoint)
  // It stays, and would keep pipes open.
  execFileSync('bindfs', [...options, directory, mountPoint], { stdio: 'ignore' })
  t.teardown(() => {
    execFileSync('umount', [mountPoint])
    fs.rmdirSync(mountPoint)
  })
  return mountPoint
}

function extract({ archive, target }: Scene, ...options: readonly string[]): Promise<Ended> {
  return reftar(['extract', '-f', archive, '-C', target, ...options])
}

/** The same by the library, with system calls that fail as strace(1) says; told is what it prints. */
async function tampered({ archive, target }: Scene, faults: readonly string[], options: ExtractOptions = {}) {
  const script = `
    const { createReadStream } = await import('node:fs')
    const { pipeline } = await import('node:stream/promises')
    const { extract } = await import('./src/extract.ts')
    const onEvent = event => event.type !== 'entry' && console.log(event.message)
    const options = { ...${JSON.stringify(options)}, onEvent }
    const target = ${JSON.stringify(target)}
    await pipeline(createReadStream(${JSON.stringify(archive)}), extract(target, options)).catch(error => {
      console.log(error.message)
      process.exitCode = 2
    })`
  const injections = faults.flatMap(fault => ['-e', `inject=${fault}`])
  const calls = faults.map(fault => fault.slice(0, fault.indexOf(':')))
  const strace = ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${calls}`, ...injections]
  const { code, output } = await ended('strace', ...strace, ...moduleCommand(script))
  return { code, told: output }
}

async function checkSame(t: Test, { archive, target }: Scene): Promise<void> {
  const { code, stdout } = await reftar(['verify', '-f', archive, '--against', target])
  t.equal(code, 0, String(stdout))
}

t.test('a filesystem of FUSE, which cannot rename without replacing', asRoot, async t => {
  const made = await scene(t)
  if (!made) return
  const mounted = { ...made, target: mirrored(t, made.target) }
  const { code, stderr } = await extract(mounted)
  t.same([code, stderr], [0, ''])
  t.same(namesBelow(mounted.target), KINDS)
  await checkSame(t, mounted)

  const again = await extract(mounted)
  t.match(again, { code: 2, stderr: /is already there, expected a free name/ })
  fs.writeFileSync(join(mounted.target, 'file'), 'changed')
  fs.rmSync(join(mounted.target, 'fifo'))
  fs.writeFileSync(join(mounted.target, 'fifo'), 'no more')
  const over = await extract(mounted, '--overwrite')
  t.same([over.code, over.stderr], [0, ''])
  t.same(namesBelow(mounted.target), KINDS)
  await checkSame(t, mounted)

  fs.rmSync(join(mounted.target, 'fifo'))
  fs.writeFileSync(join(mounted.target, 'fifo'), 'kept')
  fs.rmSync(join(mounted.target, 'symlink'))
  fs.mkdirSync(join(mounted.target, 'symlink'))
  const refused = await extract(mounted, '--overwrite')
  t.match(refused, { code: 2, stderr: /'symlink' is already there/ })
  t.same(namesBelow(mounted.target), KINDS, 'what was replaced by then is there again')
  t.ok(fs.statSync(join(mounted.target, 'symlink')).isDirectory())
})

t.test('FUSE, to which two names can be two files: both have all of it at once', asRoot, async t => {
  const base = testDirectory(t, 'btrfs')
  if (base === undefined) return
  const { source, target } = sourceAndTarget(base)
  // The second is a reference to the first, and complete only when all such are.
  for (const name of ['a', 'b']) fs.writeFileSync(join(source, name), noise(5000))
  fs.linkSync(join(source, 'b'), join(source, 'c'))
  const { bytes } = await archive(['.'], { directory: source })
  const mounted = mirrored(t, target)
  await restore(bytes, mounted)
  for (const name of ['a', 'b', 'c']) t.ok(fs.readFileSync(join(mounted, name)).equals(noise(5000)), name)
})

t.test('a filesystem that gives everything the same owner and mode', asRoot, async t => {
  const made = await scene(t)
  if (!made) return
  const mounted = { ...made, target: mirrored(t, made.target, '--force-user=1234', '--perms=a+rwx') }
  const { code, stderr } = await extract(mounted, '--no-same-owner')
  t.equal(code, 1, 'it is told')
  t.match(stderr, /'file': mode 640 is not restored/)
  t.same(namesBelow(mounted.target), KINDS)
  t.ok(fs.readFileSync(join(mounted.target, 'file')).equals(noise(50_000)))
})

/** NFS says EINVAL to the flags of renameat2(2), filesystems without hard links EPERM to link(2). */
const NO_FLAGS = 'renameat2:error=EINVAL'
const NO_LINKS = 'linkat:error=EPERM'

for (const [what, faults, kinds] of [
  ['renaming without replacing', [NO_FLAGS], KINDS],
  ['hard links too', [NO_FLAGS, NO_LINKS], KINDS.filter(name => name !== 'hard-link')],
] as const) {
  t.test(`a filesystem without ${what}`, asRoot, async t => {
    const made = await scene(t, kinds as string[])
    if (!made) return
    for (const existing of ['refuse', 'overwrite'] as const) {
      const { code, told } = await tampered(made, faults, { existing })
      t.same([code, told], [0, ''], existing)
      t.same(namesBelow(made.target), kinds)
      await checkSame(t, made)
    }
  })
}

t.test('a step that fails', asRoot, async t => {
  const made = await scene(t, ['file'])
  if (!made) return
  const file = join(made.target, 'file')
  const begun = await tampered(made, [NO_FLAGS, 'unlinkat:error=EIO:when=1'])
  t.match(begun, { code: 2, told: /unlinkat.*EIO/ })
  t.same(namesBelow(made.target), [], 'the new name is taken back')

  fs.writeFileSync(file, 'old')
  // The first one finds the name taken.
  const undone = await tampered(made, [NO_FLAGS, 'linkat:error=EIO:when=2'], { existing: 'overwrite' })
  t.match(undone, { code: 2, told: /linkat.*EIO/ })
  t.same(namesBelow(made.target), ['file'])
  t.equal(fs.readFileSync(file, 'latin1'), 'old')

  const stuck = await tampered(made, [NO_FLAGS, 'linkat:error=EIO:when=2+'], { existing: 'overwrite' })
  t.match(stuck, { code: 2, told: /in '\.reftar-.*', what was 'file' is now '\.reftar-.*EIO/ })
  t.match(stuck.told, /'\.reftar-.*' holds what was replaced, or what others have put there/)
  const old = namesBelow(made.target).map(name => join(made.target, name))
  const contents = old.filter(name => fs.statSync(name).isFile()).map(name => fs.readFileSync(name, 'latin1'))
  t.ok(contents.includes('old'), 'it is lost to nobody')
})

t.test('what was replaced is never lost, whatever fails', asRoot, async t => {
  for (const [what, faults, isBack] of [
    ['the last step', [NO_FLAGS, 'renameat:error=EIO:when=2'], true],
    ['that, and putting it back', [NO_FLAGS, 'renameat:error=EIO:when=2+'], false],
    ['the second name, and taking back the first', ['renameat2:error=EIO:when=4+'], false],
    [
      'the second name, without flags, and taking back the first',
      [NO_FLAGS, 'linkat:error=EIO:when=3+'],
      false,
    ],
  ] as const) {
    const made = await scene(t, what.includes('second') ? ['file', 'hard-link'] : ['file'])
    if (!made) return
    const file = join(made.target, 'file')
    fs.writeFileSync(file, 'old')
    if (what.includes('second')) fs.writeFileSync(join(made.target, 'hard-link'), 'old, too')
    const { code, told } = await tampered(made, faults, { existing: 'overwrite' })
    t.equal(code, 2, told)
    const found = namesBelow(made.target).filter(name => fs.statSync(join(made.target, name)).isFile())
    const contents = found.map(name => fs.readFileSync(join(made.target, name), 'latin1'))
    t.ok(contents.includes('old'), `${what}: ${told}`)
    if (isBack) t.same(namesBelow(made.target), ['file'], `${what}: and nothing is left`)
    else t.match(told, /holds what was replaced/, what)
  }
})
