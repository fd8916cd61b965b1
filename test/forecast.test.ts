// Whether an archive fits is told before anything is written, and never said of one that does.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { forecast } from '../src/forecast.js'
import { reftar, scratch, shell } from './cli/run.js'
import { FS_COMPR_FL, setFlags } from './support/attributes.js'
import { needsRoot, ownFilesystem } from './support/own-filesystem.js'
import { fallocate } from './support/system-calls.js'
import { archive, failure, MIB, namesBelow, noise, reflink, sparse, text } from './support/trees.js'

process.umask(0o022)

const REFUSED =
  /^reftar: the archive does not fit: it needs ([\d.]+ \w+) with reflinks and ([\d.]+ \w+) without, [\d.]+ MiB are free in '[^']+'(, where nothing can be cloned)?: --force tries it\n$/

/** An archive file of a tree that is filled by `fill`, on a filesystem with room for all of it. */
async function archiveOf(t: Test, fill: (directory: string) => void): Promise<string> {
  const place = scratch(t)
  fs.mkdirSync(join(place, 'tree'))
  fill(join(place, 'tree'))
  fs.writeFileSync(join(place, 'archive'), (await archive(['tree'], { directory: place })).bytes)
  return join(place, 'archive')
}

function write(directory: string, name: string, bytes: Uint8Array): void {
  fs.writeFileSync(join(directory, name), bytes)
}

/** 8 MiB of data, which three files have. */
const thrice = (directory: string) => {
  for (const name of ['a', 'b', 'c']) write(directory, name, noise(8 * MIB))
}

/** 40 MiB that are like nothing else. */
const large = (directory: string) => {
  for (let i = 0; i < 5; i++) write(directory, `large-${i}`, noise(8 * MIB, i))
}

function target(mountPoint: string): string {
  return fs.mkdtempSync(join(mountPoint, 'target-'))
}

/** Leaves so much of a filesystem. */
function leave(mountPoint: string, bytes: number): void {
  execFileSync('sync', ['--file-system', mountPoint])
  const { bfree, bsize } = fs.statfsSync(mountPoint)
  const fd = fs.openSync(join(mountPoint, `filler-${bytes}`), 'w')
  fallocate(fd, 0, 0, bfree * bsize - bytes)
  fs.closeSync(fd)
  execFileSync('sync', ['--file-system', mountPoint])
}

async function checkRefused(t: Test, directory: string, file: string, options: readonly string[] = []) {
  const said = await reftar(['extract', '-f', file, '-C', directory, ...options])
  t.match({ code: said.code, stdout: String(said.stdout) }, { code: 2, stdout: '' })
  t.match(said.stderr, REFUSED)
  t.same(namesBelow(directory), [], 'nothing is written')
  return REFUSED.exec(said.stderr)?.slice(1) ?? []
}

async function checkTaken(t: Test, directory: string, file: string, options: readonly string[] = []) {
  const { code, stderr } = await reftar(['extract', '-f', file, '-C', directory, ...options])
  t.equal(code, 0, stderr)
}

t.test('where nothing can be cloned', needsRoot, async t => {
  const { mountPoint } = ownFilesystem(t, 'tmpfs', 'size=16m')
  const file = await archiveOf(t, thrice)
  t.same(await checkRefused(t, target(mountPoint), file), [
    '8.0 MiB',
    '24.0 MiB',
    ', where nothing can be cloned',
  ])

  await t.test('--force tries it', async t => {
    const directory = target(mountPoint)
    const { code, stderr } = await reftar(['extract', '--force', '-f', file, '-C', directory])
    t.equal(code, 2)
    t.match(stderr, /^reftar: 'tree\/[abc]': .*ENOSPC/)
    t.same(namesBelow(directory), [])
  })

  await t.test('so does whoever gets it from a pipe', async t => {
    const { code, stderr } = await shell(`"$NODE" "$CLI" extract -C ${target(mountPoint)} < <(cat ${file})`)
    t.equal(code, 2)
    t.match(stderr, /ENOSPC/)
  })

  await t.test('in JSON', async t => {
    const argv = ['extract', '--json', '-f', file, '-C', target(mountPoint)]
    const [error, summary] = String((await reftar(argv)).stdout)
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    t.match(error, { type: 'error', code: 'NO_SPACE' })
    t.match(summary, { type: 'summary', status: 2 })
  })

  await t.test('the library', async t => {
    const needs = { withReflinks: 8 * MIB, withoutReflinks: 24 * MIB, needed: 24 * MIB, canClone: false }
    const found = await forecast(file, mountPoint)
    t.match(found, needs)
    t.equal(
      found?.free,
      16 * MIB - (fs.statfsSync(mountPoint).blocks - fs.statfsSync(mountPoint).bfree) * 4096,
    )
    const bytes = fs.readFileSync(file)
    const source = {
      size: bytes.byteLength,
      read: (offset: number, into: Uint8Array) => into.set(bytes.subarray(offset, offset + into.byteLength)),
    }
    t.match(await forecast(source, Buffer.from(mountPoint)), needs)
    t.equal((await failure(forecast(file, join(mountPoint, 'none')))).code, 'SYSTEM_CALL')
    t.equal((await failure(forecast(`${file}-none`, mountPoint))).code, 'SYSTEM_CALL')
    t.equal(await forecast('/dev/null', mountPoint), undefined, 'no file')
    for (const [what, part] of Object.entries({
      'cut off': bytes.subarray(0, -1),
      damaged: Buffer.concat([bytes.subarray(0, 4100), Buffer.alloc(8), bytes.subarray(4108)]),
      empty: Buffer.alloc(0),
    })) {
      fs.writeFileSync(`${file}-2`, part)
      t.equal(await forecast(`${file}-2`, mountPoint), undefined, what)
    }
  })

  await t.test('holes take nothing', async t => {
    const holes = await archiveOf(t, directory => sparse(join(directory, 'a'), 900 * MIB, [MIB, noise(MIB)]))
    await checkTaken(t, target(mountPoint), holes)
  })

  await t.test('names that exist are not written', async t => {
    const directory = target(mountPoint)
    fs.mkdirSync(join(directory, 'tree'))
    for (const name of ['b', 'c']) fs.writeFileSync(join(directory, 'tree', name), '')
    const { stderr } = await reftar(['extract', '--keep-existing', '-f', file, '-C', directory])
    t.notMatch(stderr, /does not fit/)
  })
})

t.test('another filesystem in it has room of its own', needsRoot, async t => {
  const { mountPoint } = ownFilesystem(t, 'tmpfs', 'size=4m')
  const directory = target(mountPoint)
  fs.mkdirSync(join(directory, 'tree'))
  const file = await archiveOf(t, thrice)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'none', join(directory, 'tree')])
  t.teardown(() => execFileSync('umount', [join(directory, 'tree')]))
  await checkTaken(t, directory, file)
})

t.test('btrfs and XFS, where clones take nothing', needsRoot, async t => {
  for (const type of ['btrfs', 'xfs'] as const) {
    const { mountPoint } = ownFilesystem(t, type)
    const file = await archiveOf(t, thrice)
    const two = await archiveOf(t, large)
    leave(mountPoint, 20 * MIB)
    await checkTaken(t, target(mountPoint), file)
    for (const how of ['never', 'exact']) {
      const figures = await checkRefused(t, target(mountPoint), file, [`--reflink=${how}`])
      t.same(figures, ['8.0 MiB', '24.0 MiB', undefined], `${type}: ${how}`)
    }
    t.same(await checkRefused(t, target(mountPoint), two), ['40.0 MiB', '40.0 MiB', undefined], type)
  }
})

t.test('what was shared, and is to be shared again', needsRoot, async t => {
  const { mountPoint } = ownFilesystem(t, 'btrfs')
  const tree = join(mountPoint, 'tree')
  fs.mkdirSync(tree)
  write(tree, 'a', noise(8 * MIB))
  for (const name of ['b', 'c', 'd']) reflink(join(tree, 'a'), join(tree, name))
  const file = join(scratch(t), 'archive')
  fs.writeFileSync(file, (await archive(['tree'], { directory: mountPoint })).bytes)
  leave(mountPoint, 20 * MIB)
  await checkTaken(t, target(mountPoint), file, ['--reflink=exact'])
  t.same(await checkRefused(t, target(mountPoint), file, ['--reflink=never']), [
    '8.0 MiB',
    '32.0 MiB',
    undefined,
  ])
})

t.test('what is cloned out of the archive takes nothing', needsRoot, async t => {
  const { mountPoint } = ownFilesystem(t, 'btrfs')
  const file = join(mountPoint, 'archive')
  fs.copyFileSync(await archiveOf(t, large), file)
  leave(mountPoint, 20 * MIB)
  await checkTaken(t, target(mountPoint), file)
  await checkRefused(t, target(mountPoint), file, ['--no-zero-copy'])
})

t.test('what is compressed takes less', needsRoot, async t => {
  const compressible = (directory: string) => {
    write(directory, 'text', text(40 * MIB))
  }
  const file = await archiveOf(t, compressible)
  for (const options of ['compress=zstd', 'compress-force=lzo', '']) {
    const { mountPoint } = ownFilesystem(t, 'btrfs', options)
    leave(mountPoint, 20 * MIB)
    const directory = target(mountPoint)
    if (options === '') setFlags(directory, FS_COMPR_FL)
    const found = await reftar(['extract', '-f', file, '-C', directory])
    t.notMatch(found.stderr, /does not fit/, options)
    if (options !== '') t.equal(found.code, 0, found.stderr)
  }

  const { mountPoint } = ownFilesystem(t, 'btrfs')
  const tree = join(mountPoint, 'tree')
  fs.mkdirSync(tree)
  execFileSync('btrfs', ['property', 'set', tree, 'compression', 'zstd'])
  compressible(tree)
  const asked = join(scratch(t), 'archive')
  fs.writeFileSync(asked, (await archive(['tree'], { directory: mountPoint })).bytes)
  leave(mountPoint, 20 * MIB)
  await checkTaken(t, target(mountPoint), asked)
  await checkRefused(t, target(mountPoint), file)
})

t.test('-v tells where it fits only because of reflinks', needsRoot, async t => {
  const { mountPoint } = ownFilesystem(t, 'btrfs')
  const file = await archiveOf(t, thrice)
  const extract = (...options: string[]) =>
    reftar(['extract', '-v', '-f', file, '-C', target(mountPoint), ...options])
  const first = await extract()
  t.match(first, { code: 0, stderr: /^reftar: 4 entries/ })
  leave(mountPoint, 20 * MIB)
  const second = await extract()
  t.equal(second.code, 0)
  t.match(
    second.stderr,
    /^reftar: it needs 8\.0 MiB with reflinks and 24\.0 MiB without, [\d.]+ MiB are free\n/,
  )
  const { stdout } = await extract('--json')
  t.match(JSON.parse(String(stdout).split('\n')[0] ?? ''), {
    type: 'forecast',
    withReflinks: 8 * MIB,
    withoutReflinks: 24 * MIB,
    needed: 8 * MIB,
    canClone: true,
  })
})
