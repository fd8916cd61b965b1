// What many new files put off until they are written back is done while more of them come.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { reftar } from './cli/run.js'
import { compareTrees } from './support/compare-trees.js'
import { tracing } from './support/extractor.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import { injected, loggedCalls } from './support/injected.js'

process.umask(0o022)
t.setTimeout(120_000)

/** More than are written back at once, twice. */
const FILES = 5000

async function fixture(t: Test, name: FilesystemName) {
  const base = testDirectory(t, name)
  if (base === undefined) return undefined
  const at = (path: string) => join(base, path)
  fs.mkdirSync(at('tree'))
  fs.mkdirSync(at('out'))
  for (let i = 0; i < FILES; i++) fs.writeFileSync(at(`tree/${i}`), `file ${i}`)
  const archive = at('archive')
  const { code, stderr } = await reftar(['create', '-C', base, '-f', archive, 'tree'])
  t.equal(code, 0, stderr)
  return {
    tree: at('tree'),
    out: at('out'),
    log: at('log'),
    argv: ['extract', '-f', archive, '-C', at('out')],
  }
}

t.test('XFS writes back while files are made, and btrfs when it sees fit', tracing, async t => {
  for (const name of ['xfs', 'btrfs'] as const) {
    const at = await fixture(t, name)
    if (at === undefined) return
    const { code, stderr, calls } = await loggedCalls(at.log, ['syncfs', 'openat'], at.argv)
    t.match({ code, stderr }, { code: 0, stderr: '' }, name)
    const made = calls.flatMap(({ call, line }, i) => (call === 'openat' && line.includes('O_EXCL') ? i : []))
    const synced = calls.flatMap(({ call }, i) => (call === 'syncfs' ? i : []))
    const amid = synced.filter(i => i > (made[0] ?? 0) && i < (made.at(-1) ?? 0))
    t.equal(made.length, FILES, name)
    if (name === 'xfs') t.ok(amid.length > 0, 'it has begun before all were made')
    else t.same(synced, [], name)
    t.same(compareTrees(at.tree, join(at.out, 'tree')), [], name)
  }
})

t.test('what cannot be written back is told, and nothing shows', tracing, async t => {
  const at = await fixture(t, 'xfs')
  if (at === undefined) return
  const { code, stderr } = await injected('syncfs', 'error=EIO', 1, at.argv)
  t.equal(code, 2)
  t.match(stderr, /^reftar: .*syncfs: i\/o error \(EIO\)\n/)
  t.same(fs.readdirSync(at.out), [])
})
