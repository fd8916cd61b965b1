// What list -v shows is what tar shows, and how much is shared.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { testDirectory } from '../support/filesystems.js'
import { MIB, noise, reflink } from '../support/trees.js'
import { reftar, scratch, shell } from './run.js'

process.umask(0o022)

const isRoot = process.getuid?.() === 0
/** What is between the size and the time, and tar does not have. */
const SHARE = /^(\S+ \S+ +\S+) ([ \d][ \d<][ \d][%-]) /

/** All kinds of entries, with all that makes a line longer. */
function makeTree(t: Test): string {
  const directory = scratch(t)
  const at = (name: string) => join(directory, 'tree', name)
  fs.mkdirSync(at('d/below'), { recursive: true })
  fs.writeFileSync(at('file'), 'x'.repeat(1234), { mode: 0o640 })
  fs.linkSync(at('file'), at('hard'))
  fs.linkSync(at('file'), at('d/hard'))
  fs.symlinkSync('some where', at('link'))
  fs.writeFileSync(at('d/below/\u00e9t\u00e9 1'), '')
  execFileSync('mkfifo', ['-m', '600', at('pipe')])
  for (const name of ['setid', 'huge', 'm-small', 'old']) fs.writeFileSync(at(name), '')
  fs.truncateSync(at('huge'), 123_456_789_012)
  if (isRoot) {
    execFileSync('mknod', ['-m', '620', at('block'), 'b', '7', '3'])
    execFileSync('mknod', ['-m', '666', at('char'), 'c', '1', '300'])
    fs.lchownSync(at('link'), 123456, 234567)
    fs.lchownSync(at('old'), 1234567890, 0)
  }
  fs.chmodSync(at('d'), 0o1777)
  fs.chmodSync(at('d/below'), 0o1706)
  fs.chmodSync(at('setid'), 0o6711)
  fs.chmodSync(at('m-small'), 0o4060)
  for (const [index, name] of fs
    .readdirSync(join(directory, 'tree'), { recursive: true, encoding: 'utf8' })
    .entries())
    fs.lutimesSync(at(name), 1e9, 1_000_000_000 + 100_000 * index + 0.5)
  fs.lutimesSync(at('old'), 1e9, -1e9)
  fs.utimesSync(join(directory, 'tree'), 1e9, 1_000_000_000)
  return directory
}

t.test('list -v is tar -tv, with a column more', async t => {
  const cwd = makeTree(t)
  for (const numeric of ['', ' --numeric-owner']) {
    const tar = await shell(
      `tar --format=gnu --sparse --sort=name -cf - tree | tar -tvf -${numeric} --quoting-style=literal`,
      { cwd },
    )
    const ours = await shell(`"$NODE" "$CLI" -c tree | "$NODE" "$CLI" -tv${numeric}`, { cwd })
    t.match([tar.code, ours.code], [0, 0], tar.stderr + ours.stderr)
    const lines = ours.stdout.toString().split('\n').slice(0, -1)
    t.ok(lines.length > 12)
    t.same(
      lines.filter(line => !SHARE.test(line)),
      [],
      'every line has the column',
    )
    t.equal(lines.map(line => `${line.replace(SHARE, '$1 ')}\n`).join(''), tar.stdout.toString())
  }
})

t.test('directories that nobody asked for have nothing to show', async t => {
  const cwd = makeTree(t)
  const { stdout } = await shell(`"$NODE" "$CLI" -c tree/d/hard | "$NODE" "$CLI" -tv`, { cwd })
  const [first = '', second = '', third = ''] = stdout.toString().split('\n')
  t.match(first, /^d\?{9} \?\/\? {15}0 {4}- \? {15} tree\/$/)
  t.match(second, /^d\?{9} .* tree\/d\/$/)
  t.match(third, /^-rw-r----- .* 1234 {4}- .* tree\/d\/hard$/)
})

async function shares(cwd: string, ...options: readonly string[]): Promise<Record<string, string>> {
  const created = await reftar(['create', ...options, 'tree'], { cwd })
  const { stdout } = await reftar(['list', '-v'], { cwd, stdin: created.stdout })
  const lines = stdout.toString().split('\n').slice(1, -1)
  return Object.fromEntries(
    lines.map(line => [line.replace(/.*\//, ''), SHARE.exec(line)?.[2]?.trim() ?? 'no column']),
  )
}

t.test('the column is the part of the data of a file that came earlier', async t => {
  const cwd = scratch(t)
  const write = (name: string, ...parts: readonly (Uint8Array | number)[]) => {
    const fd = fs.openSync(join(cwd, 'tree', name), 'w')
    let at = 0
    for (const part of parts) {
      if (typeof part !== 'number') fs.writeSync(fd, part, 0, part.byteLength, at)
      at += typeof part === 'number' ? part : part.byteLength
    }
    fs.ftruncateSync(fd, at)
    fs.closeSync(fd)
  }
  fs.mkdirSync(join(cwd, 'tree'))
  const data = noise(MIB, 'first')
  write('a', data)
  write('b', data)
  write('c', data, noise(MIB, 'second'))
  write('d', data.subarray(0, 4096), noise(MIB, 'third'))
  write('e', data, 64 * MIB)
  write('f', 64 * MIB)
  write('g', data, noise(4096, 'fourth'))
  write('h', noise(MIB, 'fifth'))
  write('i')
  t.same(await shares(cwd), {
    a: '-',
    b: '100%',
    c: '50%',
    d: '<1%',
    e: '100%',
    f: '-',
    g: '99%',
    h: '-',
    i: '-',
  })
  t.same(
    Object.values(await shares(cwd, '--dedup=none')).filter(share => share !== '-'),
    [],
    'without dedup, nothing is',
  )

  const created = await reftar(['create', 'tree'], { cwd })
  const { stdout } = await reftar(['list', '--json'], { cwd, stdin: created.stdout })
  const objects = stdout
    .toString()
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
  t.match(objects[3], { path: 'tree/c', size: 2 * MIB, holeBytes: 0, sharedBytes: 0, duplicateBytes: MIB })
  t.match(objects[5], { path: 'tree/e', size: 65 * MIB, holeBytes: 64 * MIB, duplicateBytes: MIB })
  t.notOk(Object.hasOwn(objects[0], 'sharedBytes'), 'a directory has no data')
})

t.test('what shares storage counts as what is equal', async t => {
  const cwd = testDirectory(t, 'xfs')
  if (cwd === undefined) return
  fs.mkdirSync(join(cwd, 'tree'))
  fs.writeFileSync(join(cwd, 'tree/a'), noise(MIB))
  for (const name of ['b', 'c']) reflink(join(cwd, 'tree/a'), join(cwd, 'tree', name))
  fs.appendFileSync(join(cwd, 'tree/c'), noise(MIB, 'more'))
  t.same(await shares(cwd), { a: '-', b: '100%', c: '50%' })
  const created = await reftar(['create', 'tree'], { cwd })
  const { stdout } = await reftar(['list', '--json'], { cwd, stdin: created.stdout })
  t.match(JSON.parse(stdout.toString().split('\n')[3] ?? ''), {
    path: 'tree/c',
    sharedBytes: MIB,
    duplicateBytes: 0,
  })
})
