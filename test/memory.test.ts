// What is archived, read and restored may be of any size, and memory is not: 200 MiB are enough for everything.
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { data, type RawRow } from '../fixtures/recipes/raw.js'
import { amplified, segmentsOf } from './support/bombs.js'
import { testDirectory } from './support/filesystems.js'
import { content, directory, fifo, file, unsorted } from './support/hostile.js'
import { type Limited, limitedProgram, limitedTo } from './support/memory-limit.js'
import { MIB, noise, reflink, sourceAndTarget } from './support/trees.js'

const LIMIT = 200 * MIB

t.setTimeout(300_000)

t.test('the limit is one', async t => {
  const limited = limitedProgram(t, LIMIT)
  if (!limited) return
  const take = (mebibytes: number) => [process.execPath, '-e', `Buffer.alloc(${mebibytes} << 20, 1)`]
  t.equal((await limited(take(100))).code, 0)
  t.equal((await limited(take(300))).signal, 'SIGKILL')
})

/** A tree through an archive and back, as the commands do it. */
async function roundTrip(t: Test, limited: Limited, base: string): Promise<void> {
  const [archive, source, target] = ['archive', 'source', 'target'].map(name => join(base, name))
  for (const command of [
    ['create', '-f', archive, '-C', source, '.'],
    ['list', '-f', archive],
    ['extract', '-f', archive, '-C', target],
    ['verify', '-f', archive, '--against', target],
  ] as string[][]) {
    const { code, signal, stderr } = await limited(command)
    t.same([code, signal], [0, undefined], `${command[0]}: ${stderr.slice(-300)}`)
  }
}

t.test('large files, and many clones', async t => {
  const limited = limitedTo(t, LIMIT)
  const base = testDirectory(t, 'xfs')
  if (!limited || base === undefined) return
  const { source } = sourceAndTarget(base)
  const large = join(source, 'large')
  for (let i = 0; i < 8; i++) fs.appendFileSync(large, noise(32 * MIB, i))
  for (let i = 0; i < 100; i++) reflink(large, join(source, `clone-${i}`))
  fs.truncateSync(large, 2 ** 40)
  await roundTrip(t, limited, base)
})

t.test('many small files in one directory, and hard links', async t => {
  const limited = limitedTo(t, LIMIT)
  const base = testDirectory(t, 'btrfs')
  if (!limited || base === undefined) return
  const { source } = sourceAndTarget(base)
  const script = `
import os, sys
for i in range(50000):
    name = '%s/a-name-of-some-length-%06d' % (sys.argv[1], i)
    if i % 10 < 8: open(name, 'wb').write(b'%d' % i * (i % 50))
    else: os.link('%s/a-name-of-some-length-%06d' % (sys.argv[1], i - 5), name)`
  t.equal(spawnSync('python3', ['-c', script, source], { stdio: 'inherit' }).status, 0)
  await roundTrip(t, limited, base)
})

const deep = Array.from({ length: 700 }, (_, i) => directory('n'.repeat(255), i))
const wide = (count: number): RawRow[] =>
  Array.from({ length: count }, (_, i) => fifo(`${i}`.padStart(200, 'n')))
/** Of those that can be made small: archives that ask for much. */
const ASKING = {
  'many references': () => amplified(4096, 20, 10_000),
  'a deep tree of long names': () => unsorted([], { segments: segmentsOf(deep, 1000) }),
  // The group is charged for the inodes and names that the kernel keeps, too: 1.5 KiB each, as long as they are new.
  'long names, all different': () => unsorted([], { segments: segmentsOf(wide(30_000), 7000) }),
  'files of one byte': () => {
    const rows = Array.from({ length: 50_000 }, (_, i) => file(`${i}`, {}, data(content(1)))).flat()
    return unsorted([], { segments: segmentsOf(rows, 60_000) })
  },
}

for (const [what, make] of Object.entries(ASKING)) {
  t.test(`an archive of ${what}`, async t => {
    const limited = limitedTo(t, LIMIT)
    // ext4 would keep the inodes of so many new files in the memory of the group until its journal is written.
    const base = testDirectory(t, 'xfs')
    if (!limited || base === undefined) return
    const { target } = sourceAndTarget(base)
    const archive = join(base, 'archive')
    fs.writeFileSync(archive, make())
    for (const command of [
      ['list'],
      ['verify'],
      ['extract', '-C', target],
      ['extract', '--salvage', '-C', base],
    ]) {
      const { code, signal, stderr } = await limited([...command, '-f', archive])
      t.same([code, signal], [0, undefined], `${command.slice(0, 2).join(' ')}: ${stderr.slice(-300)}`)
    }
  })
}
