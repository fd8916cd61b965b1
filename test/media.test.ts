// A disk that does not give back what was written to it: btrfs finds a byte that was changed behind its back, and reading
// it gives EIO.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { reftar, scratch, shell } from './cli/run.js'
import { compareTrees } from './support/compare-trees.js'
import { tracing } from './support/extractor.js'
import { injected, loggedCalls } from './support/injected.js'
import { needsRoot, type OwnFilesystem, ownFilesystem } from './support/own-filesystem.js'
import { KIB, MIB, namesBelow, noise, overwrite, reflink } from './support/trees.js'

process.umask(0o022)
t.setTimeout(120_000)

const BLOCK = 4 * KIB
const SIZE = 2 * MIB + 5
/** Two runs of blocks that cannot be read, in different reads of the file, and one in its tail. */
const DAMAGE = [
  { offset: 256 * KIB, length: 3 * BLOCK },
  { offset: MIB + 8 * BLOCK, length: BLOCK },
  { offset: 2 * MIB, length: 5 },
]
const MISSING = DAMAGE.reduce((sum, { length }) => sum + length, 0)

/** Changes one byte of each block, where it lies in the image, and once more to heal it. */
function flip(
  own: OwnFilesystem,
  content: Buffer,
  damage: readonly { offset: number; length: number }[],
): void {
  own.unmount()
  const image = fs.readFileSync(own.image)
  for (const { offset, length } of damage) {
    for (let at = offset; at < offset + length; at += BLOCK) {
      // The byte itself is not looked for, as it may be changed already.
      const place = image.indexOf(content.subarray(at + 1, Math.min(at + BLOCK, offset + length)))
      if (place <= 0) throw new Error(`no block of the image is that at ${at}`)
      overwrite(own.image, place - 1, Buffer.from([(image[place - 1] ?? 0) ^ 1]))
    }
  }
  own.mount()
}

/** Lines that name what is missing of each file. */
function missing(
  names: readonly string[],
  text: (damage: { offset: number; length: number }) => string,
): string {
  return names.flatMap(name => DAMAGE.map(damage => `reftar: '${name}': ${text(damage)}\n`)).join('')
}

/** A tree on a disk that is damaged: a file and a clone of it. Returns what its content was. */
function damagedTree(t: Test): { own: OwnFilesystem; tree: string; content: Buffer } {
  const own = ownFilesystem(t, 'btrfs')
  const tree = join(own.mountPoint, 'tree')
  const content = noise(SIZE, 'damaged')
  fs.mkdirSync(tree)
  fs.writeFileSync(join(tree, 'a'), noise(300 * KIB, 'before'))
  fs.writeFileSync(join(tree, 'damaged'), content)
  reflink(join(tree, 'damaged'), join(tree, 'damaged clone'))
  fs.writeFileSync(join(tree, 'z'), noise(300 * KIB, 'after'))
  flip(own, content, DAMAGE)
  t.throws(() => fs.readFileSync(join(tree, 'damaged')), { code: 'EIO' })
  return { own, tree, content }
}

t.test('create names what cannot be read, and goes on', needsRoot, async t => {
  const { own, tree, content } = damagedTree(t)
  const directory = scratch(t)
  const file = join(directory, 'archive')
  const damaged = ['damaged', 'damaged clone']
  for (const options of [[], ['--paranoid'], ['--snapshot'], ['--dedup=none'], ['--block-size=65536']]) {
    const what = options.join('')
    const created = await reftar(['create', '-f', file, '-C', tree, '.', ...options])
    const told = damaged.map(
      name => `reftar: '${name}': ${MISSING} bytes could not be read and are missing\n`,
    )
    t.match({ code: created.code, stderr: created.stderr }, { code: 1, stderr: told.join('') }, what)

    const target = join(directory, `restored ${what}`)
    fs.mkdirSync(target)
    // Whether the target can clone is no matter here: else what it cannot is told, too.
    const extracted = await reftar(['extract', '--reflink=never', '-f', file, '-C', target])
    const ranges = missing(
      damaged,
      ({ offset, length }) => `${length} bytes at ${offset} are missing, the source gave EIO`,
    )
    t.equal(extracted.code, 1, what)
    t.equal(extracted.stderr, ranges, `${what}: the ranges are in the archive`)
    for (const name of damaged) {
      const expected = Buffer.from(content)
      for (const { offset, length } of DAMAGE) expected.fill(0, offset, offset + length)
      t.ok(fs.readFileSync(join(target, name)).equals(expected), `${what}: ${name}: all that can be read`)
    }
    for (const name of ['a', 'z'])
      t.ok(fs.readFileSync(join(target, name)).equals(fs.readFileSync(join(tree, name))), `${what}: ${name}`)
  }

  flip(own, content, DAMAGE)
  const healed = await reftar(['create', '-f', file, '-C', tree, '.'])
  t.match({ code: healed.code, stderr: healed.stderr }, { code: 0, stderr: '' }, 'what is healed is read')
})

t.test('verify --against names what cannot be read', needsRoot, async t => {
  const { own, tree, content } = damagedTree(t)
  flip(own, content, DAMAGE)
  const file = join(scratch(t), 'archive')
  t.equal((await reftar(['create', '-f', file, '-C', tree, '.'])).code, 0)
  flip(own, content, DAMAGE)
  const { code, stderr, stdout } = await reftar(['verify', '-f', file, '--against', tree])
  t.equal(code, 1, stderr)
  const text = stdout.toString() + stderr
  for (const name of ['damaged', 'damaged clone']) t.ok(text.includes(`'${name}': `), text)
  t.notMatch(text, /'[az]': /)
})

t.test('verify --against goes on after any call that fails', tracing, async t => {
  const directory = scratch(t)
  const tree = join(directory, 'tree')
  fs.mkdirSync(join(tree, 'd'), { recursive: true })
  for (const name of ['a', 'b', 'd/c']) fs.writeFileSync(join(tree, name), noise(300 * KIB, name))
  const file = join(directory, 'archive')
  t.equal((await reftar(['create', '-f', file, '-C', tree, '.'])).code, 0)
  const argv = ['verify', '-f', file, '--against', tree]
  const calls = ['openat', 'statx', 'getdents64', 'flistxattr', 'ioctl', 'pread64', 'lseek', 'fstatfs']
  const whole = await loggedCalls(join(directory, 'log'), calls, argv)
  t.equal(whole.code, 0)
  for (const call of calls) {
    const ours = whole.calls.filter(made => made.call === call && made.line.includes(`${tree}/`))
    const { when = 0 } = ours.at(-1) ?? whole.calls.filter(made => made.call === call).at(-1) ?? {}
    const { code, stdout, stderr } = await injected(call, 'error=EIO', when, argv)
    t.equal(code, 1, `${call}: ${stderr}`)
    t.match(`${stdout}${stderr}`, /^(reftar: )?'[^']*': .*EIO$/m, call)
  }

  for (const name of ['x1', 'x2', 'x3']) fs.writeFileSync(join(tree, 'd', name), name)
  const more = await loggedCalls(join(directory, 'log'), ['statx'], argv)
  const { when = 0 } = more.calls.find(({ line }) => line.includes('"x2"')) ?? {}
  const { code, stdout, stderr } = await injected('statx', 'error=EIO', when, argv)
  t.equal(code, 1, stderr)
  const said = `${stdout}${stderr}`
  for (const text of ["'d/x1': is not in", "'d/x2': cannot be read: EIO", "'d/x3': is not in"])
    t.ok(said.includes(text), said)
})

t.test('an archive that cannot be read is not restored', needsRoot, async t => {
  const own = ownFilesystem(t, 'btrfs')
  const directory = scratch(t)
  const tree = join(directory, 'tree')
  const target = join(directory, 'target')
  for (const path of [tree, target]) fs.mkdirSync(path)
  for (const name of ['a', 'b', 'c']) fs.writeFileSync(join(tree, name), noise(3 * MIB, name))
  const file = join(own.mountPoint, 'archive')
  t.equal((await reftar(['create', '-f', file, '-C', tree, '.'])).code, 0)
  flip(own, noise(3 * MIB, 'b'), [{ offset: MIB, length: BLOCK }])
  for (const argv of [['list'], ['verify'], ['extract', '-C', target]]) {
    const { code, stderr } = await reftar([...argv, '-f', file])
    const said = `reftar: '${file}': read: i/o error (EIO)\n`
    t.same([code, stderr], [2, said], argv.join(' '))
    t.same(namesBelow(target), [], 'nothing is published, and nothing is left')
  }
  // What dd gives for a block that it cannot read is damage like any other.
  const dd = `dd if=${file} bs=${BLOCK} conv=noerror,sync status=none 2> /dev/null`
  for (const [what, rescue] of [
    ['by name', () => reftar(['extract', '--salvage', '-C', target, '-f', file])],
    ['by dd', () => shell(`${dd} | "$NODE" "$CLI" extract --salvage -C ${target}`)],
  ] as const) {
    const { code, stderr } = await rescue()
    t.equal(code, 1, stderr)
    t.match(stderr, /'b': 4096 bytes at \d+ are missing/, what)
    if (what === 'by name') t.match(stderr, /archive': 4096 bytes at \d+ cannot be read \(EIO\)/)
    t.same(
      compareTrees(tree, target).filter(line => !line.startsWith('b: ')),
      [],
      `${what}: all but the file that is damaged`,
    )
    fs.rmSync(target, { recursive: true })
    fs.mkdirSync(target)
  }

  flip(own, noise(3 * MIB, 'b'), [{ offset: MIB, length: BLOCK }])
  t.equal((await reftar(['extract', '-C', target, '-f', file])).code, 0)
  t.same(compareTrees(tree, target), [])
})
