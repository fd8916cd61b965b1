// Where there is no room left, of whatever kind: the error is told, and everything is as it was before.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { reflinkWriter } from '../src/stream/reflink-writer.js'
import { CLI, type Ended, run as runCommand, scratch, until } from './cli/run.js'
import { compareTrees } from './support/compare-trees.js'
import { BARE } from './support/injected.js'
import { needsRoot, ownFilesystem } from './support/own-filesystem.js'
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, fallocate } from './support/system-calls.js'
import { archive, decoded, failure, KIB, MIB, namesBelow, noise, reflink, run } from './support/trees.js'

process.umask(0o022)
t.setTimeout(300_000)

const OLD = 'this was here before'

/** A directory in which there can be no room. */
interface Place {
  readonly directory: string
  /** Leaves too little of it for what is to come. */
  readonly fill: (use: 'extract' | 'create') => void
  readonly makeRoom: () => void
  /** Goes ahead of the command while there is no room. */
  readonly prefix?: readonly string[]
}

interface Case {
  readonly what: string
  readonly error: 'ENOSPC' | 'EDQUOT' | 'EFBIG'
  readonly place: (t: Test) => Place
}

const nothing = () => undefined

/** All bytes but a few. */
function bytesOf(filesystem: string): Pick<Place, 'fill' | 'makeRoom'> {
  const [spare, filler] = ['spare', 'filler'].map(name => join(filesystem, name)) as [string, string]
  return {
    fill() {
      fs.writeFileSync(spare, noise(512 * KIB, 'spare'))
      execFileSync('sync', ['--file-system', filesystem])
      reserveAll(filler)
      fs.rmSync(spare)
    },
    makeRoom() {
      fs.rmSync(filler)
      execFileSync('sync', ['--file-system', filesystem])
    },
  }
}

function reserveAll(filler: string): void {
  const fd = fs.openSync(filler, 'w')
  let size = 0
  for (let step = 1024 * MIB; step >= 4 * KIB; ) {
    try {
      fallocate(fd, 0, size, step)
      size += step
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      step /= 2
    }
  }
  fs.closeSync(fd)
}

function makeDirectory(...parts: readonly string[]): string {
  const directory = join(...parts)
  fs.mkdirSync(directory)
  return directory
}

const CASES: readonly Case[] = [
  ...(['tmpfs', 'btrfs', 'xfs'] as const).map(
    (type): Case => ({
      what: type,
      error: 'ENOSPC',
      place(t) {
        const { mountPoint } = ownFilesystem(t, type, type === 'tmpfs' ? 'size=16m' : '')
        return { directory: makeDirectory(mountPoint, 'place'), ...bytesOf(mountPoint) }
      },
    }),
  ),
  {
    what: 'inodes of tmpfs',
    error: 'ENOSPC',
    place(t) {
      const { mountPoint } = ownFilesystem(t, 'tmpfs', 'nr_inodes=100')
      const limit = (count: number) =>
        execFileSync('mount', ['-o', `remount,nr_inodes=${count}`, mountPoint], { stdio: 'pipe' })
      const used = () => Number(execFileSync('df', ['--output=iused', mountPoint]).toString().split('\n')[1])
      return {
        directory: makeDirectory(mountPoint, 'place'),
        fill: use => limit(used() + (use === 'create' ? 0 : 6)),
        makeRoom: () => limit(100),
      }
    },
  },
  {
    what: 'a quota of btrfs',
    error: 'EDQUOT',
    place(t) {
      const { mountPoint } = ownFilesystem(t, 'btrfs')
      const directory = join(mountPoint, 'place')
      const btrfs = (...argv: string[]) => execFileSync('btrfs', argv, { stdio: 'pipe' })
      btrfs('subvolume', 'create', directory)
      btrfs('quota', 'enable', mountPoint)
      return {
        directory,
        fill: () => btrfs('qgroup', 'limit', '2M', directory),
        makeRoom: () => btrfs('qgroup', 'limit', 'none', directory),
      }
    },
  },
  {
    what: 'the size that a file may have',
    error: 'EFBIG',
    place: t => ({
      directory: makeDirectory(scratch(t), 'place'),
      fill: nothing,
      makeRoom: nothing,
      prefix: ['prlimit', `--fsize=${MIB}`],
    }),
  },
]

/** What is to be archived: 6 MiB, in names of which the larger ones come first. */
function makeTree(t: Test): string {
  const tree = join(scratch(t), 'tree')
  fs.mkdirSync(join(tree, 'directory/inner'), { recursive: true })
  for (const name of ['a', 'directory/b']) fs.writeFileSync(join(tree, name), noise(3 * MIB, name))
  for (const name of ['c', 'd', 'directory/inner/e', 'directory/inner/f', 'g'])
    fs.writeFileSync(join(tree, name), name)
  return tree
}

/** A picture of what nothing may change; the times of directories may. */
function picture(directory: string): string[] {
  const names = namesBelow(directory).map(name => {
    const { ino, mode, size, mtimeNs } = fs.lstatSync(join(directory, name), { bigint: true })
    const isFile = fs.lstatSync(join(directory, name)).isFile()
    return isFile ? `${name} ${ino} ${mode} ${size} ${mtimeNs}` : `${name} ${ino} ${mode}`
  })
  return names
}

function reftar(argv: readonly string[], prefix: readonly string[] = []): Promise<Ended> {
  return runCommand([...BARE, ...prefix, process.execPath, CLI, ...argv])
}

for (const { what, error, place } of CASES) {
  t.test(`extract: ${what}`, needsRoot, async t => {
    const { directory, fill, makeRoom, prefix } = place(t)
    const tree = makeTree(t)
    const file = join(scratch(t), 'archive')
    fs.writeFileSync(file, (await archive(['.'], { directory: tree })).bytes)
    // A directory that exists gets names of its own, and files of it are to be replaced.
    makeDirectory(directory, 'directory')
    for (const name of ['c', 'directory/stranger', 'directory/b'])
      fs.writeFileSync(join(directory, name), OLD)
    fill('extract')
    const before = picture(directory)
    // Else it is told before anything is tried.
    for (const options of [['--overwrite'], ['--overwrite', '--fsync']].map(some => [...some, '--force'])) {
      const argv = ['extract', '-f', file, '-C', directory, ...options]
      const { code, stderr, stdout } = await reftar(argv, prefix)
      t.match({ code, stdout: stdout.toString() }, { code: 2, stdout: '' }, stderr)
      const [, path = '', ...more] = /^reftar: '([^']*)': \w+: [^']*\n$/.exec(stderr) ?? []
      t.ok(namesBelow(tree).includes(path) && more.length === 0, `it names an entry: ${stderr}`)
      t.ok(stderr.includes(error), error)
      t.same(picture(directory), before, 'nothing is changed, and nothing is left')
      t.equal(fs.readFileSync(join(directory, 'directory/b'), 'utf8'), OLD)
    }
    makeRoom()
    const again = await reftar(['extract', '-f', file, '-C', directory, '--overwrite'])
    t.match({ code: again.code, stderr: again.stderr }, { code: 0, stderr: '' }, 'with room it works')
    fs.rmSync(join(directory, 'directory/stranger'))
    const differences = compareTrees(tree, directory).filter(line => !line.startsWith('directory: '))
    t.same(differences, [])
  })

  t.test(`create: ${what}`, needsRoot, async t => {
    const { directory, fill, makeRoom, prefix } = place(t)
    const tree = makeTree(t)
    const file = join(directory, 'archive')
    for (const old of [undefined, OLD]) {
      if (old !== undefined) fs.writeFileSync(file, old)
      fill('create')
      const before = picture(directory)
      for (const options of [[], ['--json']]) {
        const argv = ['create', '-f', file, '-C', tree, '.', ...options]
        const { code, stderr, stdout } = await reftar(argv, prefix)
        t.equal(code, 2, stderr)
        // It is never a file of the tree that there is no room for.
        const expected = new RegExp(`^reftar: '${file}': (open|write): [^']*${error}[^']*\\n$`)
        t.match(stderr, expected)
        t.notMatch(stdout.toString(), /"type":"problem"|"path":"(?!\/)/)
        t.same(picture(directory), before, 'nothing is changed, and nothing is left')
      }
      if (old !== undefined) t.equal(fs.readFileSync(file, 'utf8'), old)
      makeRoom()
    }
    const { code, stderr } = await reftar(['create', '-f', file, '-C', tree, '.'])
    t.match({ code, stderr }, { code: 0, stderr: '' }, 'with room it works')
    t.ok(fs.readFileSync(file).equals((await archive(['.'], { directory: tree })).bytes))
  })
}

t.test('extract: a clone finds no room', needsRoot, async t => {
  const { mountPoint } = ownFilesystem(t, 'xfs')
  const tree = makeDirectory(mountPoint, 'tree')
  const [a, b] = [join(tree, 'a'), join(tree, 'b')]
  const blocks = 8000
  fs.writeFileSync(a, noise(blocks * 4 * KIB))
  reflink(a, b)
  // So many extents take blocks to be written down in.
  const fd = fs.openSync(b, 'r+')
  for (let i = 0; i < blocks; i += 2)
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, i * 4 * KIB, 4 * KIB)
  fs.closeSync(fd)
  const records = await decoded((await archive(['.'], { directory: tree })).bytes)
  const target = makeDirectory(mountPoint, 'target')
  fs.writeFileSync(join(target, 'stranger'), OLD)
  const before = picture(target)
  // Clones are made at the end, when all else has its room.
  const feed = async function* () {
    yield* records.slice(0, -1)
    await until(() => namesBelow(target).some(name => name.endsWith('/b')))
    execFileSync('sync', ['--file-system', mountPoint])
    reserveAll(join(mountPoint, 'filler'))
    yield* records.slice(-1)
  }
  const { message, errno } = await failure(run(Readable.from(feed()), reflinkWriter(target)))
  t.match({ message, errno }, { message: 'ioctl(FICLONERANGE): no space left on device (ENOSPC)', errno: 28 })
  t.same(picture(target), before, 'nothing is changed, and nothing is left')
})
