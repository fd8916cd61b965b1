// Table A2: others change names while an archive is read or made, and targets that are not empty.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { data, hole, reference } from '../../fixtures/recipes/raw.js'
import { ReftarError } from '../../src/errors.js'
import { reftar, started, until } from '../cli/run.js'
import { Extractor, tracing, whileSwapping } from '../support/extractor.js'
import {
  beside,
  content,
  differing,
  directory,
  empty,
  fifo,
  file,
  flags,
  ground,
  hardlink,
  inside,
  leftovers,
  METADATA,
  mode,
  owner,
  STRANGER,
  symlink,
  unsorted,
  verified,
  xattrs,
} from '../support/hostile.js'
import { archive, failure, problems, restore } from '../support/trees.js'

process.umask(0o022)

/** One of each below `d`, of which no name was there before. */
function oneOfEach(run: number): Uint8Array {
  const name = (kind: string) => `${kind}-${run}`
  return unsorted([
    directory('d', 0, METADATA),
    ...file(name('file'), { parent: 1, flags: 1, fields: METADATA }, data(content(5000, `${run}`))),
    ...file(name('clone'), { parent: 1 }, reference(0, 5000), hole(5000)),
    symlink(name('symlink'), '../../victim', 1, { fields: METADATA }),
    hardlink(name('hard'), 2, 1),
    fifo(name('fifo'), 1, METADATA),
    directory(name('directory'), 1, METADATA),
    ...file('inner', { parent: 7 }, data(content(50, 'inner'))),
  ])
}

t.test('R1 a directory that becomes a symlink and back all the time', async t => {
  for (const existing of ['refuse', 'keep', 'overwrite'] as const) {
    const place = ground(t, 'xfs')
    if (!place) return
    const before = beside(place)
    const outcomes = new Map<string, number>()
    await whileSwapping(place.target, '../outside', async () => {
      const end = performance.now() + 2500
      for (let run = 0; performance.now() < end; run++) {
        const outcome = await restore(oneOfEach(run), place.target, { existing }).then(
          ({ events }) => (problems(events).length > 0 ? 'kept' : 'done'),
          error => {
            if (!(error instanceof ReftarError)) throw error
            return error.code
          },
        )
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      }
    })
    t.comment(`${existing}: ${JSON.stringify([...outcomes])}`)
    t.ok(outcomes.has('done'), `${existing}: it was a directory`)
    if (existing === 'refuse') t.ok(outcomes.has('TARGET_EXISTS'), 'it was a symlink')
    if (existing === 'keep') t.ok(outcomes.has('kept'), 'it was a symlink')
    t.same(beside(place), before, `${existing}: nothing got through`)
  }
})

t.test('R1 a source that becomes a symlink and back all the time', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const secret = 'a secret that is not in the tree'
  fs.writeFileSync(join(place.outside, 'inner'), secret)
  const before = beside(place)
  fs.mkdirSync(join(place.target, 'd'))
  fs.writeFileSync(join(place.target, 'd/inner'), 'what is in the tree')
  let [made, seen] = [0, 0]
  await whileSwapping(place.target, '../outside', async () => {
    const end = performance.now() + 2000
    for (; performance.now() < end; made++) {
      const { bytes } = await archive(['.'], { directory: place.target })
      if (bytes.includes(secret)) t.fail('an archive has what a symlink leads to')
      if (bytes.includes('what is in the tree')) seen++
    }
  })
  t.comment(`${made} archives, ${seen} with the file`)
  t.ok(seen > 0, 'it was a directory')
  t.same(beside(place), before)
})

t.test('R1 a tree that is compared, and becomes a symlink and back all the time', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const same = unsorted([directory('d'), ...file('inner', { parent: 1 }, data(Buffer.from('untouched')))])
  let equal = 0
  await whileSwapping(place.target, '../outside', async () => {
    const end = performance.now() + 1500
    while (performance.now() < end) {
      if ((await verified(same, place.target).catch(() => 1)) === 0) equal++
    }
  })
  t.equal(equal, 0, 'what is equal is only behind the symlink')
})

const CALLS = [
  'openat',
  'statx',
  'mkdirat',
  'symlinkat',
  'linkat',
  'mknodat',
  'fchownat',
  'fchown',
  'fchmod',
  'utimensat',
  'setxattr',
  'fsetxattr',
  'ioctl',
  'pwrite64',
  'ftruncate',
  'getdents64',
  'renameat2',
  'unlinkat',
] as const

t.test('R2 each call is slow, while a directory becomes a symlink and back', tracing, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const extractor = await Extractor.start(t)
  const path = join(place.base, 'archive')
  const outcomes = new Map<string, number>()
  fs.writeFileSync(path, '')
  await whileSwapping(place.target, '../outside', async () => {
    let run = 0
    for (const call of CALLS) {
      const slow = ['-o', '/dev/null', '-e', `trace=${call}`, '-e', `inject=${call}:delay_enter=4000`]
      await extractor.traced(slow, async () => {
        for (const existing of ['refuse', 'keep'] as const) {
          fs.writeFileSync(path, oneOfEach(run++))
          const before = beside(place)
          const { code = 'done' } = await extractor.extract({ file: path, target: place.target, existing })
          outcomes.set(code, (outcomes.get(code) ?? 0) + 1)
          const after = beside(place)
          if (`${after}` !== `${before}`) t.fail(`${call}:\n${differing(before, after)}`)
        }
      })
    }
  })
  t.comment(JSON.stringify([...outcomes]))
  t.ok(outcomes.has('done'))
  t.same(
    [...outcomes.keys()].filter(code => !/^[A-Z_]+$|^done$/.test(code)),
    [],
    'each failure has a code',
  )
})

t.test('R3 directories that may not be written are restored with what is in them', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const rows = [
    directory('ro', 0, [mode(0o555)]),
    directory('none', 1, [mode(0)]),
    ...file('f', { parent: 2 }),
  ]
  await restore(unsorted(rows), place.target)
  t.same(
    ['ro', 'ro/none', 'ro/none/f'].map(name => fs.statSync(join(place.target, name)).mode & 0o777),
    [0o555, 0, 0o644],
  )
})

t.test('R4 what is in the target is replaced, and never written to', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const running = join(place.base, 'running')
  fs.copyFileSync('/bin/sleep', running)
  fs.chmodSync(running, 0o755)
  const rows = ['hard', 'fifo', 'symlink', 'setuid', 'running', 'device', 'readonly'].flatMap(name =>
    file(name, { fields: [mode(0o640)] }, data(content(5000, name))),
  )
  const names = ['hard', 'fifo', 'symlink', 'setuid', 'running', 'device', 'readonly']
  const inTarget = (name: string) => join(place.target, name)
  const prepare = () => {
    empty(place.target)
    fs.linkSync(place.victim, inTarget('hard'))
    execFileSync('mkfifo', [inTarget('fifo')])
    fs.symlinkSync('../victim', inTarget('symlink'))
    fs.writeFileSync(inTarget('setuid'), 'setuid')
    fs.chownSync(inTarget('setuid'), STRANGER, STRANGER)
    fs.chmodSync(inTarget('setuid'), 0o6755)
    fs.linkSync(running, inTarget('running'))
    execFileSync('mknod', [inTarget('device'), 'c', '1', '3'])
    fs.writeFileSync(inTarget('readonly'), 'readonly', { mode: 0o400 })
  }
  const victim = () => {
    const { ino, mode, uid, gid, mtimeMs } = fs.statSync(place.victim)
    return [ino, mode, uid, gid, mtimeMs, fs.readFileSync(place.victim, 'utf8')]
  }
  prepare()
  const before = victim()
  const program = fs.readFileSync(running)
  const child = spawn(inTarget('running'), ['100'])
  t.teardown(() => void child.kill('SIGKILL'))
  await once(child, 'spawn')

  const there = inside(place.target)
  t.equal((await failure(restore(unsorted(rows), place.target))).code, 'TARGET_EXISTS')
  t.same(inside(place.target), there, 'refused')
  const { events } = await restore(unsorted(rows), place.target, { existing: 'keep' })
  t.same(
    problems(events),
    names.map(name => `TARGET_EXISTS ${name}`),
  )
  t.same(inside(place.target), there, 'kept')

  await restore(unsorted(rows), place.target, { existing: 'overwrite' })
  for (const name of names) {
    const { mode, uid, nlink } = fs.lstatSync(inTarget(name))
    t.same([mode, uid, nlink], [0o100640, 0, 1], name)
    t.ok(fs.readFileSync(inTarget(name)).equals(content(5000, name)), name)
  }
  t.same(victim(), before, 'the sentinel has lost no more than that name')
  t.ok(fs.readFileSync(running).equals(program), 'a program that runs is as it was')
  t.same(leftovers(place.target), [])

  // Of an archive that fails, what was replaced is back.
  prepare()
  const bad = unsorted([...rows, ...file('zz', {}, reference(2 ** 40, 1))])
  const again = inside(place.target)
  t.equal((await failure(restore(bad, place.target, { existing: 'overwrite' }))).code, 'DANGLING_REFERENCE')
  t.same(inside(place.target), again)
})

const asOther = { skip: process.getuid?.() === 0 ? false : 'needs root to become another user' } as const

t.test('R5 nobody else sees what is not yet restored', asOther, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const acl = '0200000001000700ffffffff02000700feff000004000700ffffffff10000700ffffffff20000700ffffffff'
  const setDefault =
    'import os,sys; os.setxattr(sys.argv[1],"system.posix_acl_default",bytes.fromhex(sys.argv[2]))'
  execFileSync('python3', ['-c', setDefault, place.target, acl])
  fs.chmodSync(place.target, 0o777)
  const big = content(400_000)
  const segments = [
    { rows: file('secret', { fields: [mode(0o666)] }, data(big)) },
    { rows: file('setuid', { fields: [mode(0o6777)] }, data(content(5000))) },
    { rows: file('z') },
  ]
  const bytes = unsorted([], { segments })
  const running = started(['extract', '-C', place.target, '-f', '-'])
  running.feed(bytes.subarray(0, -100))
  await until(() => leftovers(place.target).some(name => name.endsWith('setuid')))
  const look = [
    'import os, sys',
    'os.setgroups([]); os.setgid(65534); os.setuid(65534)',
    'top = sys.argv[1]',
    'for name in os.listdir(top):',
    '    for path in [name, name + "/secret", name + "/setuid"]:',
    '        try:',
    '            os.listdir(top + "/" + path) if path == name else open(top + "/" + path)',
    '            print("open", path)',
    '        except PermissionError: print("closed", path.split("/")[-1])',
  ].join('\n')
  const seen = execFileSync('python3', ['-c', look, place.target], { encoding: 'utf8' }).trim().split('\n')
  t.equal(seen.length, 3)
  t.same(
    seen.filter(line => line.startsWith('open')),
    [],
    'not even where a default ACL lets everyone in',
  )
  running.kill('SIGTERM')
  t.equal((await running.ended).signal, 'SIGTERM')
  t.same(fs.readdirSync(place.target), [])
})

t.test('R5 an archive has the mode that the umask leaves', asOther, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const umask = process.umask(0o077)
  t.teardown(() => void process.umask(umask))
  fs.writeFileSync(join(place.target, 'secret'), content(4_000_000), { mode: 0o600 })
  const path = join(place.base, 'new.reftar')
  const modes = new Set<number>()
  const making = reftar(['create', '-f', path, '-C', place.target, '.'])
  let made = false
  void making.then(() => {
    made = true
  })
  while (!made) {
    for (const name of fs.readdirSync(place.base).filter(name => /^\.reftar-part|new\.reftar/.test(name))) {
      const status = fs.lstatSync(join(place.base, name), { throwIfNoEntry: false })
      if (status) modes.add(status.mode & 0o777)
    }
    await setTimeout(1)
  }
  t.equal((await making).code, 0)
  modes.add(fs.statSync(path).mode & 0o777)
  t.same([...modes], [0o600], 'from its first moment on')
})

t.test('R6 a directory that was there keeps its owner and its mode', asOther, async t => {
  const rows = [
    directory('d', 0, [mode(0o777), owner(0, 0), xattrs(['user.x', 'y']), flags(0x40)]),
    ...file('f', { parent: 1 }),
  ]
  for (const existing of ['refuse', 'keep', 'overwrite'] as const) {
    const place = ground(t, 'xfs')
    if (!place) return
    const d = join(place.target, 'd')
    fs.chownSync(place.target, STRANGER, STRANGER)
    fs.mkdirSync(d, { mode: 0o750 })
    fs.chownSync(d, STRANGER, STRANGER)
    await restore(unsorted(rows), place.target, { existing })
    const { uid, gid, mode } = fs.statSync(d)
    const found = [uid, gid, mode & 0o7777]
    if (existing === 'overwrite') t.same(found, [0, 0, 0o777], 'overwrite sets what was stored')
    else t.same(found, [STRANGER, STRANGER, 0o750], existing)
    t.equal(fs.statSync(place.target).uid, STRANGER, 'the target itself is left alone')
    t.ok(fs.existsSync(join(d, 'f')))
  }
})
