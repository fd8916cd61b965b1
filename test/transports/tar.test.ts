// A tarball becomes an archive, as the example makes it.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { compareTrees } from '../support/compare-trees.js'
import { example } from '../support/example.js'
import { sharedBytes } from '../support/fiemap.js'
import { testDirectory } from '../support/filesystems.js'
import { MIB, noise, restore, sourceAndTarget } from '../support/trees.js'

process.umask(0o022)

const isRoot = process.getuid?.() === 0

interface Place {
  readonly source: string
  readonly target: string
}

function place(t: Test): Place | undefined {
  const directory = testDirectory(t, 'xfs')
  return directory === undefined ? undefined : sourceAndTarget(directory)
}

function tarball({ source }: Place, ...argv: readonly string[]): Buffer {
  return execFileSync('tar', ['-C', source, '-cf', '-', ...argv], { maxBuffer: 64 * MIB })
}

t.test('files, links, devices, modes, owners, times and sizes come through', async t => {
  const scene = place(t)
  if (!scene) return
  const { source, target } = scene
  const deep = join(source, 'd', 'deep'.repeat(30), 'deeper'.repeat(40))
  fs.mkdirSync(deep, { recursive: true, mode: 0o750 })
  for (const size of [0, 1, 511, 512, 513, MIB])
    fs.writeFileSync(join(source, `d/${size}`), noise(size, size))
  fs.writeFileSync(join(deep, 'name'.repeat(60)), noise(MIB, MIB), { mode: 0o600 })
  fs.writeFileSync(join(source, 'program'), '#!/bin/sh\n')
  fs.chmodSync(join(source, 'program'), 0o4751)
  fs.linkSync(join(source, 'program'), join(deep, 'hard'))
  fs.symlinkSync('d/1', join(source, 'link'))
  fs.linkSync(join(source, 'link'), join(source, 'other-link'))
  fs.symlinkSync('far'.repeat(60), join(source, 'long-link'))
  execFileSync('mkfifo', [join(source, 'fifo')])
  if (isRoot) {
    execFileSync('mknod', [join(source, 'null'), 'c', '1', '3'])
    execFileSync('mknod', [join(source, 'loop'), 'b', '7', '300'])
    fs.chownSync(join(source, 'd/1'), 1234, 4321)
    fs.lchownSync(join(source, 'link'), 0, 4321)
  }
  execFileSync('touch', ['-d', '1969-12-31T23:59:58.25Z', join(source, 'd/511')])
  execFileSync('touch', ['-d', '2020-02-02T02:02:02.123456789Z', join(source, 'd/512')])
  const ended = await example('from-tar', [], { stdin: tarball(scene, '--format=pax', '--sort=name', '.') })
  t.match(ended, { code: 0, stderr: '' })
  await restore(ended.stdout, target)
  t.same(compareTrees(source, target, { holes: false }), [])
  t.equal(
    sharedBytes(join(target, `d/${MIB}`), join(target, deep.slice(source.length), 'name'.repeat(60))),
    MIB,
  )
})

t.test('the old formats of tar, which count whole seconds', async t => {
  for (const format of ['gnu', 'ustar']) {
    const scene = place(t)
    if (!scene) return
    const { source, target } = scene
    fs.mkdirSync(join(source, 'd'))
    fs.writeFileSync(join(source, 'd/a'), noise(5000))
    fs.linkSync(join(source, 'd/a'), join(source, 'd/b'))
    for (const name of ['d/a', 'd']) fs.utimesSync(join(source, name), 1_600_000_000, 1_600_000_000)
    const ended = await example('from-tar', [], { stdin: tarball(scene, `--format=${format}`, 'd') })
    t.match(ended, { code: 0, stderr: '' }, format)
    await restore(ended.stdout, target)
    t.same(compareTrees(source, target), [], format)
  }
})

t.test('what is no tarball, or not all of one, fails', async t => {
  const scene = place(t)
  if (!scene) return
  const { source } = scene
  for (const name of ['a', 'b']) fs.writeFileSync(join(source, name), noise(100_000, name))
  const whole = tarball(scene, 'a', 'b')
  const cases: Record<string, Uint8Array> = {
    'some bytes of a header': whole.subarray(0, 100),
    'the middle of a file': whole.subarray(0, 150_000),
    'something else': noise(100_000),
  }
  for (const [what, stdin] of Object.entries(cases)) {
    t.match(await example('from-tar', [], { stdin }), { code: 1, stderr: /Unexpected end|Invalid tar/ }, what)
  }
})

t.test('what no archive can hold fails', async t => {
  const scene = place(t)
  if (!scene) return
  const { source, target } = scene
  for (const directory of ['d', 'e']) fs.mkdirSync(join(source, directory))
  for (const name of ['d/a', 'd/b', 'e/a']) fs.writeFileSync(join(source, name), name)
  fs.linkSync(join(source, 'd/a'), join(source, 'e/link'))
  const cases: Record<string, readonly [argv: readonly string[], message: RegExp]> = {
    'a name above': [['-P', '--transform=s:^:../:', 'd'], /UNSAFE_NAME/],
    'a directory twice': [['d/a', 'e/a', 'd/b'], /BAD_STRUCTURE/],
  }
  for (const [what, [argv, message]] of Object.entries(cases)) {
    const ended = await example('from-tar', [], { stdin: tarball(scene, ...argv) })
    t.match(ended, { code: 1, stderr: message }, what)
    await t.rejects(restore(ended.stdout, target), { code: 'TRUNCATED' }, `${what}: no archive`)
  }
  const file = join(source, 'e.tar')
  fs.writeFileSync(file, tarball(scene, 'd/a', 'e/link'))
  execFileSync('tar', ['--delete', '-f', file, 'd/a'])
  const ended = await example('from-tar', [], { stdin: fs.readFileSync(file) })
  t.match(ended, { code: 1, stderr: /'e\/link' is a hard link to 'd\/a', expected an earlier entry/ })
})
