import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  data,
  end,
  entry,
  hole,
  type RawRow,
  reference,
  TAG,
  TYPE,
  text,
} from '../../fixtures/recipes/raw.js'
import { extract } from '../../src/extract.js'
import { until } from '../cli/run.js'
import {
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
  hardlink,
  inside,
  leftovers,
  METADATA,
  mode,
  refusals,
  STRANGER,
  symlink,
  u64,
  unsorted,
  verified,
  xattrs,
} from '../support/hostile.js'
import { failure, listed, namesBelow, problems, restore } from '../support/trees.js'

process.umask(0o022)

const SOME = content(5000)

t.test('L1 a symlink is no parent', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  for (const length of [1, 2, 40]) {
    const chain = Array.from({ length }, (_, i) => symlink(`l${i}`, i === 0 ? place.outside : `l${i - 1}`))
    const last = `l${length - 1}`
    for (const [what, rows, code] of [
      ['by its ordinal', file('inner', { parent: length }, data(SOME)), 'BAD_STRUCTURE'],
      ['by its ordinal, a directory', [directory('inner', length, METADATA)], 'BAD_STRUCTURE'],
      ['by a path', file(`${last}/inner`, {}, data(SOME)), 'UNSAFE_NAME'],
      ['as a directory again', [directory(last), ...file('inner', { parent: length + 1 })], 'BAD_STRUCTURE'],
    ] as const) {
      t.same(await refusals(place, unsorted([...chain, ...rows]), code), [], `${length} links, ${what}`)
    }
  }
})

for (const [what, target] of [
  ['an absolute symlink', (place: Ground) => place.outside],
  ['a relative symlink', () => '../outside'],
  ['a chain of symlinks', () => 'l39'],
  ['a symlink to the target itself', () => '.'],
  ['a symlink to its parent', () => '..'],
] as const) {
  t.test(`L1 ${what} that an earlier archive has made`, async t => {
    const place = ground(t, 'xfs')
    if (!place) return
    const first = unsorted([
      symlink('l', target(place)),
      ...Array.from({ length: 40 }, (_, i) => symlink(`l${i}`, i === 0 ? '../outside' : `l${i - 1}`)),
    ])
    const second = unsorted([
      directory('l', 0, METADATA),
      ...file('inner', { parent: 1, flags: 1 }, data(SOME)),
      ...file('clone', { parent: 1 }, reference(0, SOME.byteLength)),
      symlink('link', 'x', 1),
      hardlink('hard', 2, 1),
      fifo('fifo', 1, METADATA),
      directory('target', 1, METADATA),
    ])
    const before = beside(place)
    await restore(first, place.target)
    const links = inside(place.target)
    t.equal((await failure(restore(second, place.target))).code, 'TARGET_EXISTS')
    t.same(inside(place.target), links)
    t.ok((await verified(second, place.target)) > 0, 'verify differs')

    await restore(second, place.target, { existing: 'keep' })
    t.same(inside(place.target), links, 'what cannot be put behind the link is nowhere')

    await restore(second, place.target, { existing: 'overwrite' })
    t.ok(fs.lstatSync(join(place.target, 'l')).isDirectory(), 'overwrite puts a directory in its place')
    t.equal(fs.readdirSync(join(place.target, 'l')).length, 6)
    t.same(beside(place), before)
    t.same(leftovers(place.target), [])
  })
}

t.test('L2 a name that is a symlink to something else', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const acl = Buffer.from('0200000001000700ffffffff04000700ffffffff20000700ffffffff', 'hex')
  const attributes = xattrs(
    ['security.x', 'y'],
    ['system.posix_acl_access', acl],
    ['trusted.x', 'y'],
    ['user.x', 'y'],
  )
  const rows: Record<string, RawRow[]> = {
    'a file with data': file('f', { fields: METADATA }, data(SOME)),
    'a file with nothing but metadata': file('f', { fields: METADATA }),
    'a file with an ACL, and flags': file('f', { fields: [mode(0o777), attributes, flags(0x40)] }),
    'a file with a hole': file('f', {}, hole(100_000)),
    'a file with reserved storage': file('f', { fields: [[TAG.reserved, u64(65536)]] }, hole(100_000, 1)),
    'a file with a reference': [...file('e', {}, data(SOME)), ...file('f', {}, reference(0, 5000))],
    'a directory': [directory('f', 0, [...METADATA.slice(0, 3), attributes])],
    'a hard link': [...file('e', { flags: 1 }, data(SOME)), hardlink('f', 1)],
    'a FIFO': [fifo('f', 0, METADATA)],
    'a symlink': [symlink('f', 'elsewhere', 0, { fields: METADATA })],
  }
  for (const [to, link] of [
    ['a file', '../victim'],
    ['a directory', '../outside'],
    ['nothing', '../new'],
  ] as const) {
    const before = beside(place)
    for (const [what, made] of Object.entries(rows)) {
      await eachWay(
        place,
        unsorted(made),
        (existing, outcome) => {
          const path = join(place.target, 'f')
          const isLink = fs.lstatSync(path).isSymbolicLink() && fs.readlinkSync(path) === link
          const expected = { refuse: 'TARGET_EXISTS', keep: 'TARGET_EXISTS f', overwrite: 'done' }
          t.same(
            [outcome, isLink],
            [expected[existing], existing !== 'overwrite'],
            `to ${to}: ${what}, ${existing}`,
          )
        },
        () => fs.symlinkSync(link, join(place.target, 'f')),
      )
      t.same(beside(place), before, `to ${to}: ${what}`)
    }
  }
  t.same(leftovers(place.target), [])
})

t.test('L2 the same name twice in one archive', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  for (const [what, rows] of Object.entries(CARRIERS)) {
    const archive = unsorted([symlink('l', '../victim'), directory('x'), ...rows('l', 0)])
    t.same(await refusals(place, archive, 'BAD_STRUCTURE'), [], what)
  }
})

t.test('L2 metadata of a symlink is its own', async t => {
  for (const name of ['btrfs', 'xfs', 'ext4', 'tmpfs'] as const) {
    const place = ground(t, name)
    if (!place) return
    const before = beside(place)
    const rows = ['../victim', '../outside', place.victim, '../new'].map((target, i) =>
      symlink(`l${i}`, target, 0, { fields: METADATA }),
    )
    await restore(unsorted(rows), place.target)
    for (const i of rows.keys()) {
      const { uid, gid, mtimeMs } = fs.lstatSync(join(place.target, `l${i}`))
      t.same([uid, gid, mtimeMs], [STRANGER, STRANGER, 1000])
    }
    t.same(beside(place), before, name)
  }
})

t.test('L3 targets of symlinks are kept, and never followed', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const before = beside(place)
  const targets = ['/etc', '/', '../../x', 'a/../../..', '..', '.', '////', place.victim, 'l0', '\x1b[31m']
  const rows = targets.map((target, i) => symlink(`l${i}`, target))
  const archive = unsorted(rows)
  await restore(archive, place.target)
  t.same(
    [...targets.keys()].map(i => fs.readlinkSync(join(place.target, `l${i}`))),
    targets,
  )
  t.equal(await verified(archive, place.target), 0, 'verify compares the links, not what they lead to')
  const paths = (await listed(archive)).map(({ path }) => Buffer.from(path).toString())
  t.same(
    paths,
    [...rows.keys()].map(i => `l${i}`),
  )
  await restore(archive, place.target, { existing: 'overwrite' })
  t.same(beside(place), before)
})

t.test('L4 a hard link can name nothing but an entry', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const raw = (value: Uint8Array) => entry({ type: TYPE.hardlink, name: 'h', fields: [[TAG.linkTo, value]] })
  const linked = fifo('a', 0, [], 1)
  for (const [what, rows, code] of [
    ['a path', [linked, raw(text('../victim'))], 'LIMIT_EXCEEDED'],
    ['eight bytes of a path', [linked, raw(text('../v/xyz'))], 'LIMIT_EXCEEDED'],
    ['a longer number', [linked, raw(new Uint8Array(12))], 'BAD_FIELD'],
    [
      'a link target',
      [linked, entry({ type: TYPE.hardlink, name: 'h', fields: [[TAG.linkTarget, text('../victim')]] })],
      'BAD_FIELD',
    ],
    ['the target itself', [linked, hardlink('h', 0)], 'BAD_STRUCTURE'],
    ['a directory', [directory('d'), hardlink('h', 1)], 'BAD_STRUCTURE'],
    ['a hard link', [linked, hardlink('g', 1), hardlink('h', 2)], 'BAD_STRUCTURE'],
    ['what may not be linked to', [...file('f'), hardlink('h', 1)], 'BAD_STRUCTURE'],
    ['an ordinal that no entry has', [linked, hardlink('h', 2 ** 52)], 'BAD_STRUCTURE'],
  ] as const) {
    t.same(await refusals(place, unsorted(rows), code, false), [], what)
  }
  for (const field of METADATA) {
    const fields = [[TAG.linkTo, u64(1)] as const, field].sort(([a], [b]) => a - b)
    const rows = [linked, entry({ type: TYPE.hardlink, name: 'h', fields })]
    t.same(await refusals(place, unsorted(rows), 'BAD_FIELD'), [], `with field ${field[0]}`)
  }
  for (const extent of [data(SOME), hole(10), reference(0, 10), end()]) {
    const rows = [...file('a', { flags: 1 }, data(SOME)), hardlink('h', 1), extent]
    t.same(await refusals(place, unsorted(rows), 'BAD_STRUCTURE', false), [], `with ${extent.kind}`)
  }
})

t.test('L4 a hard link to a symlink is one to the symlink', async t => {
  for (const name of ['btrfs', 'xfs', 'ext4'] as const) {
    const place = ground(t, name)
    if (!place) return
    const before = beside(place)
    for (const existing of ['refuse', 'overwrite'] as const) {
      const rows = [symlink('l', '../victim', 0, { flags: 1 }), directory('d'), hardlink('h', 1, 2)]
      await restore(unsorted(rows), place.target, { existing })
      const [link, hard] = ['l', 'd/h'].map(path => fs.lstatSync(join(place.target, path)))
      t.ok(hard?.isSymbolicLink())
      t.equal(hard?.ino, link?.ino)
      t.same(beside(place), before, `${name}, ${existing}`)
    }
  }
})

t.test('L4 a hard link to an entry whose name is taken is not one to what has it', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  fs.linkSync(place.victim, join(place.target, 'a'))
  const before = beside(place)
  const rows = [...file('a', { flags: 1 }, data(SOME)), hardlink('h', 1)]
  t.equal((await failure(restore(unsorted(rows), place.target))).code, 'TARGET_EXISTS')
  const { events } = await restore(unsorted(rows), place.target, { existing: 'keep' })
  t.same(problems(events), ['TARGET_EXISTS a'])
  t.ok(fs.readFileSync(join(place.target, 'h')).equals(SOME), 'it has the content of the archive')
  t.equal(fs.readFileSync(join(place.target, 'a'), 'utf8'), 'untouched')
  t.same(beside(place), before)
})

t.test('L5 hard links forward, to themselves, and in circles', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  for (const [what, rows] of [
    ['forward', [hardlink('h', 2), fifo('a', 0, [], 1)]],
    ['to itself', [hardlink('h', 1)]],
    ['in a circle', [hardlink('g', 2), hardlink('h', 1)]],
    ['to what never comes', [hardlink('h', 3), fifo('a', 0, [], 1)]],
    ['to the file that it is in', [entry({ name: 'a', flags: 1 }), hardlink('h', 1), end()]],
  ] as const) {
    t.same(await refusals(place, unsorted(rows), 'BAD_STRUCTURE'), [], what)
  }
})

t.test('C2 a directory that becomes a symlink between its entries', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const d = directory('d')
  const inner = (name: string, parent: number) => file(name, { parent }, data(SOME))
  for (const [what, rows] of [
    ['by the directory that was', [d, ...inner('a', 1), symlink('d', '../outside'), ...inner('b', 1)]],
    ['by the symlink', [d, symlink('e', '../outside'), ...inner('b', 3)]],
    ['a directory that was left', [d, fifo('x'), ...inner('b', 1)]],
    ['a directory again', [d, fifo('x'), directory('d'), ...inner('b', 3)]],
    ['in a file', [...file('f'), ...inner('b', 1)]],
  ] as const) {
    t.same(await refusals(place, unsorted(rows), 'BAD_STRUCTURE'), [], what)
  }
})

t.test('C2 a directory that is replaced by a symlink between two segments', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const before = beside(place)
  const inner = (name: string) => file(name, { parent: 1 }, data(content(5000, name)))
  const segments = [
    { rows: [directory('d'), ...inner('a')] },
    { rows: [...inner('b'), directory('e', 1), fifo('p', 4, METADATA)] },
    { rows: [...inner('f'), symlink('l', '../../victim', 1)] },
  ]
  const archive = unsorted([], { segments })
  const d = join(place.target, 'd')
  const moved = join(place.target, 'moved')
  fs.mkdirSync(d)
  for (const existing of ['refuse', 'overwrite', 'keep'] as const) {
    const sink = extract(place.target, { existing })
    const ended = new Promise(resolve => sink.once('close', resolve))
    sink.on('error', () => undefined)
    // A segment is let through when the next one has come.
    const cut = archive.byteLength - 300
    sink.write(Buffer.from(archive.subarray(0, cut)))
    await until(() => leftovers(place.target).some(name => name.endsWith('/a')))
    fs.renameSync(d, moved)
    fs.symlinkSync('../outside', d)
    sink.end(Buffer.from(archive.subarray(cut)))
    await ended
    t.same(beside(place), before, existing)
    t.same(leftovers(place.target), [], existing)
    t.ok(fs.lstatSync(d).isSymbolicLink(), existing)
    fs.rmSync(d)
    fs.renameSync(moved, d)
    empty(d)
  }
})

t.test('C2 a directory that is moved out of the target while it is worked in', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  // So deep that the way back is by `..`, which now leads elsewhere.
  const depth = 150
  const left = 40
  const deep = (count: number) => join(place.target, ...Array.from({ length: count }, () => 'd'))
  fs.mkdirSync(deep(depth), { recursive: true })
  const chain = Array.from({ length: depth }, (_, i) => directory('d', i))
  const segments = [
    { rows: [...chain, ...file('x', { parent: depth }, data(SOME))] },
    { rows: [...file('late', { parent: left - 1 }, data(content(5000, 'late')))] },
    { rows: [...file('last', {}, data(content(5000, 'last')))] },
  ]
  const archive = unsorted([], { segments })
  const sink = extract(place.target)
  const ended = new Promise(resolve => sink.once('close', resolve))
  const failing = new Promise<{ code?: string }>(resolve => sink.once('error', resolve))
  const cut = archive.byteLength - 300
  sink.write(Buffer.from(archive.subarray(0, cut)))
  await until(() => leftovers(place.target).some(name => name.endsWith('/x')))
  const moved = join(place.outside, 'moved')
  fs.renameSync(deep(left), moved)
  const before = beside(place).filter(line => !line.startsWith(moved))
  sink.end(Buffer.from(archive.subarray(cut)))
  t.equal((await failing).code, 'TARGET_CHANGED')
  await ended
  t.same(
    beside(place).filter(line => !line.startsWith(moved)),
    before,
  )
  t.notOk(namesBelow(place.base).some(name => /(^|\/)late$/.test(name)))
  t.same(leftovers(place.target), [])
})
