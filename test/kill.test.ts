// A process that is killed at any call leaves nothing wrong under a final name, loses nothing that was there before, and
// keeps nobody from running it once more.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { reftar } from './cli/run.js'
import { makeFaultTree, someOf } from './faults/cases.js'
import { compareTrees } from './support/compare-trees.js'
import { tracing } from './support/extractor.js'
import { testDirectory } from './support/filesystems.js'
import { killedAt, loggedCalls } from './support/injected.js'
import { setXattr } from './support/system-calls.js'
import { archive, KIB, namesBelow, noise, notes, problems, reflink, restore } from './support/trees.js'

process.umask(0o022)
t.setTimeout(300_000)

const OLD = 'this was here before'
const STAGING = /(^|\/)\.reftar-[^/]*/

/** What was in the target before: directories that get new names, a stranger, and files that `--overwrite` replaces. */
function prepare(target: string, replaced: readonly string[]): void {
  fs.rmSync(target, { recursive: true, force: true })
  fs.mkdirSync(join(target, 'merged'), { recursive: true })
  for (const path of ['merged/stranger', ...replaced]) fs.writeFileSync(join(target, path), OLD)
}

function fill(source: string): void {
  makeFaultTree(source)
  fs.mkdirSync(join(source, 'merged'))
  reflink(join(source, 'directory/a'), join(source, 'merged/clone'))
  fs.writeFileSync(join(source, 'merged/old'), noise(9 * KIB, 'old'))
  execFileSync('mkfifo', [join(source, 'fifo')])
  setXattr(Buffer.from(join(source, 'merged/old')), Buffer.from('user.x'), Buffer.from('y'))
}

function isOld(path: string): boolean {
  return (
    fs.lstatSync(path, { throwIfNoEntry: false })?.isFile() === true && fs.readFileSync(path, 'utf8') === OLD
  )
}

/** What is wrong under final names. Directories get their metadata last, and a hard link may still be alone. */
function wrongIn(source: string, target: string): string[] {
  return compareTrees(source, target).filter(line => {
    const path = line.slice(0, line.indexOf(': '))
    const isFine =
      STAGING.test(path) ||
      path === 'merged/stranger' ||
      isOld(join(target, path)) ||
      /: (only in the first|hard link to: .*)$/.test(line) ||
      (/: (permissions|mtime): /.test(line) && fs.statSync(join(target, path)).isDirectory())
    return !isFine
  })
}

function stagingIn(target: string): string[] {
  return namesBelow(target).filter(path => /^\.reftar-[^/]*$/.test(path.slice(path.lastIndexOf('/') + 1)))
}

type Stage = 'nothing' | 'a part' | 'everything'

/** Checks what a killed run left, runs it again, and tells how far it had come. */
async function checkAfter(
  t: Test,
  what: string,
  { source, target, bytes, replaced }: Extraction,
): Promise<Stage> {
  const names = namesBelow(target)
  t.equal(fs.readFileSync(join(target, 'merged/stranger'), 'utf8'), OLD, what)
  t.same(wrongIn(source, target), [], `${what}: nothing wrong under a final name`)
  const missing = namesBelow(source).filter(path => !names.includes(path) || isOld(join(target, path)))
  const isNew = (path: string) => names.includes(path) && path !== 'merged' && !missing.includes(path)
  const stage = missing.length === 0 ? 'everything' : namesBelow(source).some(isNew) ? 'a part' : 'nothing'
  if (stage !== 'everything') {
    const kept = names.filter(path => isOld(join(target, path))).length
    t.equal(kept, replaced.length + 1, `${what}: what is replaced is still there`)
  }
  const left = stagingIn(target)
  const existing = stage === 'nothing' && replaced.length === 0 ? 'refuse' : 'overwrite'
  const again = await restore(bytes, target, { existing })
  t.same(problems(again.events), [], `${what}: run again`)
  const told = notes(again.events).join('\n')
  t.same(
    left.filter(path => !told.includes(`'${path}' is left over`)),
    [],
    `${what}: what is left over is told`,
  )
  for (const path of left) fs.rmSync(join(target, path), { recursive: true })
  const differences = compareTrees(source, target).filter(line => !/^merged(\/stranger)?: /.test(line))
  t.same(differences, [], `${what}: and all is there`)
  return stage
}

interface Extraction {
  readonly source: string
  readonly target: string
  readonly bytes: Buffer
  readonly replaced: readonly string[]
}

const MAKING = [
  'openat',
  'mkdirat',
  'mknodat',
  'symlinkat',
  'linkat',
  'pwrite64',
  'ftruncate',
  'ioctl',
  'fchown',
  'fsetxattr',
  'fdatasync',
]
const PUBLISHING = ['renameat2', 'unlinkat', 'fchmod', 'utimensat']

for (const { options, calls, replaced } of [
  { options: [], calls: [...MAKING, ...PUBLISHING], replaced: [] },
  {
    options: ['--overwrite', '--fsync'],
    calls: [...PUBLISHING, 'syncfs'],
    replaced: ['small', 'merged/old', 'clone'],
  },
]) {
  t.test(`extract ${options.join(' ')}`, tracing, async t => {
    const directory = testDirectory(t, 'btrfs')
    if (directory === undefined) return
    const [source, target, file] = ['source', 'target', 'archive'].map(name => join(directory, name)) as [
      string,
      string,
      string,
    ]
    fs.mkdirSync(source)
    fill(source)
    const { bytes } = await archive(['.'], { directory: source })
    fs.writeFileSync(file, bytes)
    const argv = ['extract', '-f', file, '-C', target, ...options]
    prepare(target, replaced)
    const whole = await loggedCalls(join(directory, 'log'), calls, argv)
    t.equal(whole.code, 0, whole.stderr)
    const stages = new Map<Stage, number>()
    for (const call of calls) {
      const ours = whole.calls.filter(made => made.call === call && made.line.includes(target))
      t.ok(ours.length > 0, call)
      for (const nth of PUBLISHING.includes(call) ? someOf(ours.length) : new Set([1, ours.length])) {
        const what = `killed at ${call} ${nth} of ${ours.length}`
        const { signal, stderr } = await killedAt(ours, nth, argv, () => prepare(target, replaced))
        t.equal(signal, 'SIGKILL', `${what} ${stderr}`)
        const stage = await checkAfter(t, what, { source, target, bytes, replaced })
        stages.set(stage, (stages.get(stage) ?? 0) + 1)
      }
    }
    t.equal(stages.size, 3, `of all kinds: ${JSON.stringify([...stages])}`)
  })
}

t.test('create -f', tracing, async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const [source, place] = ['source', 'place'].map(name => join(directory, name)) as [string, string]
  fs.mkdirSync(source)
  fill(source)
  for (const name of ['l1', 'l2']) fs.writeFileSync(join(source, name), noise(2600 * KIB, name))
  const file = join(place, 'archive')
  const argv = ['create', '-f', file, '-C', source, '.']
  const clear = (old: string | undefined) => {
    fs.rmSync(place, { recursive: true, force: true })
    fs.mkdirSync(place)
    if (old !== undefined) fs.writeFileSync(file, old)
  }
  clear(OLD)
  const calls = ['openat', 'pread64', 'pwrite64', 'ioctl', 'ftruncate', 'rename']
  const whole = await loggedCalls(join(directory, 'log'), calls, argv)
  t.equal(whole.code, 0, whole.stderr)
  for (const call of calls) {
    const ours = whole.calls.filter(made => made.call === call && made.line.includes(directory))
    t.ok(ours.length > 0, call)
    for (const nth of someOf(ours.length)) {
      const old = nth % 2 === 0 ? undefined : OLD
      const what = `killed at ${call} ${nth} of ${ours.length}`
      const { signal, stderr } = await killedAt(ours, nth, argv, () => clear(old))
      t.equal(signal, 'SIGKILL', `${what} ${stderr}`)
      const expected = old === undefined ? undefined : Buffer.from(old)
      const found = fs.existsSync(file) ? fs.readFileSync(file) : undefined
      t.ok(expected && found ? found.equals(expected) : found === expected, `${what}: as it was, or whole`)
      const left = fs.readdirSync(place).filter(name => name !== 'archive')
      const again = await reftar(argv)
      const told = left.map(name => {
        return `reftar: '${join(place, name)}' is left over from a run that was killed: look at it before you remove it\n`
      })
      t.match({ code: again.code, stderr: again.stderr }, { code: 0, stderr: told.join('') }, what)
      // Not the same bytes: what is left over has made shared storage of what was not.
      const { stdout } = await reftar(['verify', '-f', file, '--against', source])
      t.match(stdout.toString(), /^no differences\n/, `${what}: run again`)
      t.same(fs.readdirSync(place).sort(), [...left, 'archive'].sort(), `${what}: and nothing else is left`)
    }
  }
})
