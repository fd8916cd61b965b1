// Table A1, P, C and N: names that would lead out of the target, or to something else.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { data, entry, type RawRow, TAG, TYPE, text } from '../../fixtures/recipes/raw.js'
import type { ErrorCode } from '../../src/errors.js'
import { reftar } from '../cli/run.js'
import {
  BEFORE,
  beside,
  CARRIERS,
  content,
  directory,
  eachWay,
  empty,
  fifo,
  file,
  flags,
  type Ground,
  ground,
  leftovers,
  METADATA,
  mode,
  modified,
  owner,
  refusals,
  STRANGER,
  symlink,
  unsorted,
  verified,
  xattrs,
} from '../support/hostile.js'
import { descriptorsAfter, failure, namesBelow, restore, settledDescriptors } from '../support/trees.js'

process.umask(0o022)

const SOME = content(5000)

/** Each name in each carrier, at the top and in a directory. */
async function checkNames(
  t: Test,
  place: Ground,
  names: readonly string[],
  code: ErrorCode = 'UNSAFE_NAME',
): Promise<void> {
  const descriptors = await settledDescriptors()
  for (const name of names) {
    const wrong: string[] = []
    for (const [what, rows] of Object.entries(CARRIERS)) {
      for (const parent of [0, 2]) {
        const archive = unsorted([...BEFORE, ...rows(name, parent)])
        for (const line of await refusals(place, archive, code)) wrong.push(`${what} in ${parent}: ${line}`)
      }
    }
    t.same(wrong, [], JSON.stringify(name.length > 50 ? `${name.length} bytes` : name))
  }
  t.equal(await descriptorsAfter(descriptors), descriptors, 'no descriptor is left')
}

/** By the command: what it exits with and says, of each way to read an archive. */
async function checkCommand(t: Test, place: Ground, archive: Uint8Array, says: RegExp): Promise<void> {
  const path = join(place.base, 'archive')
  fs.writeFileSync(path, archive)
  const before = beside(place)
  for (const argv of [
    ['list'],
    ['list', '-v', '--json'],
    ['verify'],
    ['verify', '--against', place.target],
    ['extract', '-C', place.target],
    ['extract', '-C', place.target, '--overwrite'],
    ['extract', '-C', place.target, '--keep-existing'],
    ['extract', '-C', place.target, '--keep-partial', '--no-same-owner'],
  ]) {
    const { code, stdout, stderr } = await reftar([...argv, '-f', path])
    t.equal(code, 2, argv.join(' '))
    t.match(`${stderr}${stdout}`, says, 'names the entry and where it is')
    empty(place.target)
  }
  const salvaged = await reftar(['extract', '--salvage', '-C', place.salvaged, '-f', path])
  t.equal(salvaged.code, 1, 'extract --salvage')
  t.same(beside(place), before)
  t.same(leftovers(place.target, place.salvaged), [])
  fs.rmSync(path)
  empty(place.salvaged)
}

t.test('P1 `..` in a name', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  await checkNames(t, place, ['..', '../victim', '../x', 'a/../../x', 'a/..', './../x', '../target/x'])
  const archive = unsorted([...BEFORE, ...file('../victim', {}, data(SOME))])
  await checkCommand(t, place, archive, /the name of entry 3 has a slash \(at byte \d+\)/)
})

t.test('P2 absolute names, and those of other systems', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const absolute = join(place.base, 'victim')
  await checkNames(t, place, ['/', '/x', '//x', '////x', absolute, 'C:/x', 'C:../x', './/x', '\\\\?\\C:/x'])

  // Without a slash they are names like any other.
  const plain = ['C:', 'C:x', '\\\\?\\C:\\x', '..\\victim', 'a\\b']
  const before = beside(place)
  const archive = unsorted(plain.flatMap(name => file(name, {}, data(SOME))))
  await restore(archive, place.target)
  t.same(fs.readdirSync(place.target).sort(), [...plain].sort())
  t.same(beside(place), before)
})

t.test('P3 names that stand for the target itself', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const empties = ['', '.', './', 'a//b', 'a/']
  await checkNames(t, place, empties)
  for (const first of [
    file('', {}, data(SOME)),
    file('', { fields: METADATA }),
    [symlink('', '../outside')],
    [fifo('', 0, METADATA)],
    [entry({ type: TYPE.directory, name: '', parent: 7 })],
    [entry({ type: TYPE.directory, name: '.', fields: METADATA })],
    [symlink('.', '../outside')],
  ]) {
    t.same(await refusals(place, unsorted(first), 'UNSAFE_NAME'), [])
  }
})

t.test('P3 the entry of the target itself leaves it as it is', async t => {
  for (const bits of [0, 0o7777]) {
    const place = ground(t, 'xfs')
    if (!place) return
    fs.chmodSync(place.target, 0o751)
    fs.chownSync(place.target, 12, 34)
    fs.utimesSync(place.target, 5_000_000, 5_000_000)
    const root = [mode(bits), owner(STRANGER, STRANGER), modified(1), xattrs(['user.x', 'y']), flags(0x40)]
    const picture = () => {
      const { mode, uid, gid, ino, mtimeMs, ctimeMs } = fs.statSync(place.target)
      return [mode, uid, gid, ino, mtimeMs, ctimeMs]
    }
    const before = picture()
    for (const existing of ['refuse', 'overwrite', 'keep'] as const) {
      await restore(unsorted([entry({ type: TYPE.directory, name: '', fields: root })]), place.target, {
        existing,
      })
      t.same(picture(), before, existing)
    }
    const rows = [entry({ type: TYPE.directory, name: '', fields: root }), ...file('f', { parent: 1 })]
    await restore(unsorted(rows), place.target, { existing: 'overwrite' })
    t.same(picture().slice(0, 4), before.slice(0, 4), 'with something in it')
  }
})

t.test('P4 zero bytes, and names that are too long', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  await checkNames(t, place, [
    '\0',
    'a\0',
    '\0a',
    '..\0',
    'a'.repeat(256),
    'a/'.repeat(2048),
    'a'.repeat(65535),
  ])
  const target = unsorted([
    entry({ type: TYPE.symlink, name: 'l', fields: [[TAG.linkTarget, text('/etc\0x')]] }),
  ])
  t.same(await refusals(place, target, 'BAD_FIELD'), [])
})

t.test('P4 paths that no system call takes', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const depth = 20
  const long = 'n'.repeat(255)
  const rows: RawRow[] = Array.from({ length: depth }, (_, i) => directory(long, i))
  const up = '../'.repeat(depth + 1)
  rows.push(symlink('l', `${up}outside`, depth), ...file('f', { parent: depth }, data(SOME)))
  const before = beside(place)
  await restore(unsorted(rows), place.target)
  t.same(await verified(unsorted(rows), place.target), 0)
  const below = namesBelow(place.target)
  t.equal(below.length, depth + 2)
  t.ok((below.at(-1) ?? '').length > 4096)

  // Where a check of paths would have given up, a second archive finds a symlink in the place of a directory.
  const again = [...rows.slice(0, depth), directory('l', depth), ...file('inner', { parent: depth + 1 })]
  t.equal((await failure(restore(unsorted(again), place.target))).code, 'TARGET_EXISTS')
  await restore(unsorted(again), place.target, { existing: 'keep' })
  await restore(unsorted(again), place.target, { existing: 'overwrite' })
  t.same(beside(place), before)
  t.notOk(namesBelow(place.target).some(name => name.includes('.reftar-')))
})

t.test('P4 a link target that is longer than a path', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const before = beside(place)
  const archive = unsorted([symlink('l', '../'.repeat(2000))])
  const error = await failure(restore(archive, place.target))
  t.equal(error.code, 'SYSTEM_CALL')
  t.equal(Buffer.from(error.path ?? []).toString(), 'l')
  t.same(beside(place), before)
  t.same(fs.readdirSync(place.target), [])
})

t.test('P5 a sibling of which the name begins with that of the target', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const before = beside(place)
  await checkNames(t, place, ['../target-evil', '../target-evil/inner', `${place.target}-evil/inner`])
  const archive = unsorted([directory('l', 0, METADATA), ...file('inner', { parent: 1 }, data(SOME))])
  await eachWay(
    place,
    archive,
    (existing, outcome) => {
      const expected = { refuse: 'TARGET_EXISTS', keep: 'TARGET_EXISTS l', overwrite: 'done' }
      t.equal(outcome, expected[existing])
      t.same(beside(place), before, existing)
    },
    () => fs.symlinkSync('../target-evil', join(place.target, 'l')),
  )
})

t.test('C1 names that some filesystems take for one', async t => {
  const pairs = [
    ['Foo', 'foo'],
    ['\u00c9', 'E\u0301'],
    ['\u00df', 'ss'],
    ['\u00df', '\u1e9e'],
    ['\ufb01', 'fi'],
  ] as const
  for (const name of ['btrfs', 'xfs', 'ext4', 'tmpfs'] as const) {
    const place = ground(t, name)
    if (!place) return
    const before = beside(place)
    for (const [first, second] of pairs) {
      const [link, folder] = [first, second].map(name => Buffer.from(name).toString('latin1')) as [
        string,
        string,
      ]
      const rows = [
        symlink(link, '../outside'),
        directory(folder),
        ...file('inner', { parent: 2 }, data(SOME)),
      ]
      await restore(unsorted(rows), place.target)
      // Here they are two names: what is safe does not depend on that.
      t.ok(fs.lstatSync(join(place.target, first)).isSymbolicLink())
      t.ok(fs.readFileSync(join(place.target, second, 'inner')).equals(SOME))
      empty(place.target)
    }
    t.same(beside(place), before, name)
  }
})

t.test('C3 an entry that comes twice', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  for (const [one, first] of Object.entries(CARRIERS)) {
    for (const [two, second] of Object.entries(CARRIERS)) {
      if (one === 'a directory with an entry') continue
      const rows = [...BEFORE, ...first('n', 0), ...second('n', 0)]
      const wrong = await refusals(place, unsorted(rows), 'BAD_STRUCTURE')
      if (wrong.length > 0) t.same(wrong, [], `${one}, then ${two}`)
    }
  }
  const sorted = unsorted([...file('a'), ...file('a')], { flags: 1 })
  t.same(await refusals(place, sorted, 'BAD_STRUCTURE'), [], 'in a sorted archive')
})

t.test('N1 names that other systems reserve', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const names = ['CON', 'NUL.txt', 'a:b', 'a\\b', 'dot.', 'space ', '\\', '...']
  await restore(unsorted(names.flatMap(name => file(name, {}, data(SOME)))), place.target)
  t.same(fs.readdirSync(place.target).sort(), [...names].sort())
  execFileSync('test', ['-f', join(place.target, 'a\\b')])
})
