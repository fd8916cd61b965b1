// Stages of one's own between ours, as in the examples: one that leaves entries out, others that rename and count; and entries
// that come from a tarball.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { attributeDifferences } from '../support/compare-attributes.js'
import { lostSharing } from '../support/compare-storage.js'
import { compareTrees } from '../support/compare-trees.js'
import { example } from '../support/example.js'
import { cloneRange, regularFiles, sharingKept } from '../support/fiemap.js'
import { testDirectory } from '../support/filesystems.js'
import { makeRandomTree } from '../support/random-tree.js'
import { archive, KIB, MIB, namesBelow, noise, reflink, restore, sourceAndTarget } from '../support/trees.js'

process.umask(0o022)

interface Place {
  readonly directory: string
  readonly source: string
  readonly target: string
}

function place(t: Test, filesystem: 'btrfs' | 'xfs' = 'xfs'): Place | undefined {
  const directory = testDirectory(t, filesystem)
  return directory === undefined ? undefined : { directory, ...sourceAndTarget(directory) }
}

function writeBack(...directories: readonly string[]): void {
  execFileSync('sync', ['--file-system', ...directories])
}

/** Archives a tree, leaves entries out of the archive, restores that, and compares it with a tree that lacks them. */
async function checkFiltered(
  t: Test,
  { directory, source, target }: Place,
  unwanted: readonly string[],
  what: string,
) {
  writeBack(source)
  const { bytes } = await archive(['.'], { directory: source })
  fs.writeFileSync(join(directory, 'all'), bytes)
  const ended = await example('filter', ['all', 'fewer', ...unwanted], { cwd: directory })
  t.match(ended, { code: 0, stderr: '' }, what)
  for (const name of unwanted) fs.rmSync(join(source, name), { recursive: true, force: true })
  const fewer = fs.readFileSync(join(directory, 'fewer'))
  const { summary } = await restore(fewer, target)
  writeBack(source, target)
  // A directory that a name was taken from has another time than the one that was restored.
  const differences = compareTrees(source, target, { holes: false }).filter(line => {
    const [path = '', field] = line.split(': ')
    return field !== 'mtime' || !fs.statSync(join(source, path)).isDirectory()
  })
  t.same(differences, [], `${what}: the same, but for what is left out`)
  t.same(lostSharing(source, target), [], `${what}: all sharing kept`)
  return { bytes, fewer, summary }
}

t.test('what shared storage with a file that is left out still shares it', async t => {
  const scene = place(t)
  if (!scene) return
  const { source } = scene
  fs.mkdirSync(join(source, 'd/sub'), { recursive: true })
  fs.writeFileSync(join(source, 'a'), noise(4 * MIB + 100, 'a'))
  reflink(join(source, 'a'), join(source, 'd/b'))
  reflink(join(source, 'a'), join(source, 'd/sub/c'))
  fs.writeFileSync(join(source, 'e'), noise(8 * KIB, 'e'))
  cloneRange(join(source, 'a'), MIB, 2 * MIB, join(source, 'e'), 8 * KIB)
  reflink(join(source, 'a'), join(source, 'f'))
  fs.writeFileSync(join(source, 'g'), noise(MIB, 'g'))
  const { bytes, fewer, summary } = await checkFiltered(t, scene, ['a', 'd/sub', 'g'], 'a, d/sub, g')
  t.ok(fewer.byteLength < bytes.byteLength - 900 * KIB, 'what nobody shares is gone')
  t.equal(summary.target.clonedBytes, 2 * MIB + 4 * MIB + 100)
  const { sourceShared, keptShared } = sharingKept(source, scene.target, regularFiles(source))
  t.equal(sourceShared, 2 * MIB + 4 * MIB + 100)
  t.equal(keptShared, sourceShared)
})

t.test('a hard link to what is left out takes its place', async t => {
  const scene = place(t)
  if (!scene) return
  const { source, target } = scene
  fs.writeFileSync(join(source, 'a'), noise(100_000, 'a'), { mode: 0o640 })
  fs.symlinkSync('a', join(source, 'b'))
  fs.writeFileSync(join(source, 'c'), noise(5000, 'c'))
  for (const name of ['x', 'y', 'z']) fs.linkSync(join(source, 'a'), join(source, name))
  for (const name of ['bb', 'bbb']) fs.linkSync(join(source, 'b'), join(source, name))
  fs.linkSync(join(source, 'c'), join(source, 'cc'))
  await checkFiltered(t, scene, ['a', 'b', 'x'], 'a, b, x')
  t.equal(fs.statSync(join(target, 'y')).nlink, 2)
})

t.test('a whole directory, and nothing', async t => {
  for (const unwanted of [[], ['d'], ['none'], ['d', 'a', 'z']]) {
    const scene = place(t)
    if (!scene) return
    const { source } = scene
    fs.mkdirSync(join(source, 'd'))
    for (const name of ['a', 'd/a', 'z']) fs.writeFileSync(join(source, name), noise(50_000, name))
    const { bytes, fewer } = await checkFiltered(t, scene, unwanted, `[${unwanted}]`)
    if (unwanted.every(name => name === 'none')) t.ok(fewer.equals(bytes), 'the same archive')
  }
})

t.test('random trees', async t => {
  for (const seed of [1, 2, 3, 4]) {
    const scene = place(t, seed % 2 === 0 ? 'xfs' : 'btrfs')
    if (!scene) return
    const { source, target } = scene
    makeRandomTree(source, seed, { nocow: false })
    const names = namesBelow(source).filter(name => /^[ -~]*$/.test(name))
    const unwanted = names.filter((_, i) => (i * 7 + seed) % 3 === 0)
    t.ok(unwanted.length > 3, `${unwanted.length} of ${names.length} names`)
    await checkFiltered(t, scene, unwanted, `seed ${seed}`)
    t.same(attributeDifferences(source, target), [], `seed ${seed}: equal attributes`)
  }
})

t.test('names that are others, and what an archive is made of', async t => {
  const scene = place(t)
  if (!scene) return
  const { directory, source, target } = scene
  fs.mkdirSync(join(source, 'images.img'))
  fs.writeFileSync(join(source, 'images.img/a.img'), noise(MIB + 1))
  reflink(join(source, 'images.img/a.img'), join(source, 'images.img/b.img'))
  fs.writeFileSync(join(source, 'z'), '')
  fs.truncateSync(join(source, 'z'), 64 * KIB)
  writeBack(source)
  fs.writeFileSync(join(directory, 'all'), (await archive(['.'], { directory: source })).bytes)
  const ended = await example('rename', ['all', target, '.img', '.raw'], { cwd: directory })
  t.match(ended, { code: 0, stderr: '' })
  const expected = `${MIB + 1} bytes of data, ${MIB + 1} that refer to them, ${64 * KIB} of holes\n`
  t.equal(ended.stdout.toString(), expected)
  t.same(namesBelow(target), ['images.raw', 'images.raw/a.raw', 'images.raw/b.raw', 'z'])
  fs.renameSync(join(target, 'images.raw/a.raw'), join(target, 'images.raw/a.img'))
  fs.renameSync(join(target, 'images.raw/b.raw'), join(target, 'images.raw/b.img'))
  fs.renameSync(join(target, 'images.raw'), join(target, 'images.img'))
  writeBack(target)
  t.match(sharingKept(source, target, regularFiles(source)), { sourceShared: MIB + 1, keptShared: MIB + 1 })
})

t.test('two names that become one: nothing is published', async t => {
  const scene = place(t)
  if (!scene) return
  const { directory, source, target } = scene
  for (const name of ['a.img', 'a.raw']) fs.writeFileSync(join(source, name), name)
  fs.writeFileSync(join(directory, 'all'), (await archive(['.'], { directory: source })).bytes)
  const ended = await example('rename', ['all', target, '.img', '.raw'], { cwd: directory })
  t.match(ended, { code: 1, stderr: /EEXIST/ })
  t.same(fs.readdirSync(target), [])
})
