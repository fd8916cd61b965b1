// Table A2: others change names at one moment, while strace holds the process there.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { data } from '../../fixtures/recipes/raw.js'
import { extract } from '../../src/extract.js'
import { until } from '../cli/run.js'
import { Extractor, replace, scene, tracing } from '../support/extractor.js'
import {
  beside,
  clearFlags,
  content,
  differing,
  directory,
  fifo,
  file,
  flags,
  type Ground,
  ground,
  hardlink,
  leftovers,
  METADATA,
  mode,
  NOBODY,
  owner,
  STRANGER,
  unsorted,
} from '../support/hostile.js'
import { namesBelow } from '../support/trees.js'

process.umask(0o022)

const IMMUTABLE = 0x10

t.test('R1 a directory becomes a symlink between the look and the open', tracing, async t => {
  const extractor = await Extractor.start(t)
  for (const existing of ['refuse', 'keep', 'overwrite'] as const) {
    const made = scene(t, [directory('d', 0, METADATA), ...file('inner', { parent: 1 })])
    if (!made) return
    const { place, extraction } = made
    const d = join(place.target, 'd')
    fs.mkdirSync(d)
    const before = beside(place)
    const outcome = await extractor.heldAt(
      { ...extraction, existing },
      // The first one opens the target.
      { call: 'openat', when: 2, meanwhile: () => replace(d, path => fs.symlinkSync('../outside', path)) },
    )
    t.equal(outcome.held, 1)
    t.equal(outcome.code, 'SYSTEM_CALL', `${existing}: ${outcome.message}`)
    t.same(beside(place), before, existing)
    t.same(leftovers(place.target), [])
  }
})

/** Things that someone may put in the place of a name, to have them changed instead. */
const DECOYS: Readonly<Record<string, (place: Ground) => (path: string) => void>> = {
  'a symlink to a file': () => path => fs.symlinkSync('../victim', path),
  'a symlink to a directory': () => path => fs.symlinkSync('../outside', path),
  'a hard link': place => path => fs.linkSync(place.victim, path),
  'a FIFO': () => path => execFileSync('mkfifo', [path]),
  'a directory': () => path => fs.mkdirSync(path),
}

t.test('R3 what is replaced before it gets its last attributes', tracing, async t => {
  const extractor = await Extractor.start(t)
  const many = Array.from({ length: 80 }, (_, i) => directory(`e${i}`))
  const inD = [directory('d', 0, [mode(0o2777), owner(STRANGER, STRANGER)]), ...file('inner', { parent: 1 })]
  // Of many directories, the first one is not held open any more.
  for (const [name, rows, when] of [
    ['d', inD, 1],
    ['d', [...inD, ...many], 81],
    ['f', file('f', { fields: [mode(0o777), flags(IMMUTABLE)] }, data(content(5000))), 1],
  ] as const) {
    for (const [what, decoy] of Object.entries(DECOYS)) {
      const held = scene(t, rows)
      if (!held) return
      const { place, extraction } = held
      const path = join(place.target, name)
      t.teardown(() => clearFlags(path, `${path}-moved`, place.victim))
      const { mode, uid, mtimeMs } = fs.statSync(place.victim)
      const before = beside(place)
      const outcome = await extractor.heldAt(extraction, {
        call: 'renameat2',
        when,
        after: true,
        meanwhile: () => replace(path, decoy(place)),
      })
      const shown = `${name}, replaced by ${what}`
      t.equal(outcome.held, 1)
      const moved = fs.statSync(`${path}-moved`)
      const isFinished = moved.uid === STRANGER && (moved.mode & 0o7777) === 0o2777
      t.ok(isFinished || outcome.code !== undefined || outcome.problems.length > 0, `${shown}: it is told`)
      const now = fs.statSync(place.victim)
      t.same([now.mode, now.uid, now.mtimeMs], [mode, uid, mtimeMs], shown)
      t.equal(fs.lstatSync(path).uid, 0, shown)
      fs.rmSync(path, { recursive: true })
      if (what !== 'a hard link') t.same(beside(place), before, shown)
    }
  }
})

t.test('R2 a staging directory that is replaced as soon as it is made', tracing, async t => {
  const extractor = await Extractor.start(t)
  const rows = [...file('f', {}, data(content(5000))), fifo('p', 0, [mode(0o6755), owner(STRANGER, 0)])]
  const others = (path: string) => {
    fs.mkdirSync(path)
    fs.chmodSync(path, 0o777)
    fs.chownSync(path, NOBODY, NOBODY)
  }
  for (const [what, put] of [
    ['a symlink', path => fs.symlinkSync('../outside', path)],
    ['a FIFO', path => execFileSync('mkfifo', [path])],
    ['a directory of somebody else', others],
  ] satisfies [string, (path: string) => void][]) {
    const held = scene(t, rows)
    if (!held) return
    const { place, extraction } = held
    const before = beside(place)
    const own = () =>
      join(place.target, fs.readdirSync(place.target).find(name => !name.endsWith('-moved')) ?? '')
    const outcome = await extractor.heldAt(
      extraction,
      { call: 'mkdirat', after: true, meanwhile: () => replace(own(), put) },
      // Whoever owns the directory puts a file in the place of what was made there.
      {
        call: 'fchownat',
        meanwhile: () => replace(join(own(), 'p'), path => fs.linkSync(place.victim, path)),
      },
    )
    t.match(outcome.code, /^(TARGET_CHANGED|SYSTEM_CALL)$/, `${what}: it is noticed`)
    t.same(differing(before, beside(place)), '', `${what}: the sentinel is not given away`)
  }
})

t.test('R2 a directory of others in the place of a name that is overwritten', tracing, async t => {
  const extractor = await Extractor.start(t)
  const held = scene(t, [...file('f', {}, data(content(5000))), ...file('g')])
  if (!held) return
  const { place, extraction } = held
  const inTarget = (name: string) => join(place.target, name)
  fs.writeFileSync(inTarget('f'), 'old')
  fs.mkdirSync(inTarget('precious'))
  fs.writeFileSync(inTarget('precious/one'), 'one')
  const outcome = await extractor.heldAt(
    { ...extraction, existing: 'overwrite' },
    {
      call: 'renameat2',
      when: 2,
      meanwhile: () => replace(inTarget('f'), path => fs.renameSync(inTarget('precious'), path)),
    },
  )
  t.equal(outcome.held, 1)
  t.ok(outcome.code !== undefined, 'it fails')
  const left = namesBelow(place.target)
  t.ok(
    left.some(name => name.endsWith('/one')),
    `nothing of it is removed: ${left}`,
  )
})

t.test('R2 a file that is linked to, and is replaced', tracing, async t => {
  const extractor = await Extractor.start(t)
  const held = scene(t, [...file('f', { flags: 1 }, data(content(5000))), hardlink('h', 1)])
  if (!held) return
  const { place, extraction } = held
  const { mode, uid, mtimeMs } = fs.statSync(place.victim)
  const staged = () => {
    const [name = ''] = fs.readdirSync(place.target)
    return join(place.target, name, 'f')
  }
  for (const [what, decoy] of Object.entries(DECOYS)) {
    const outcome = await extractor.heldAt(extraction, {
      call: 'linkat',
      meanwhile: () => replace(staged(), decoy(place)),
    })
    t.equal(outcome.held, 1)
    t.match(outcome.code, /^(TARGET_CHANGED|SYSTEM_CALL)$/, `${what}: ${outcome.message}`)
    t.same(fs.readdirSync(place.target), [], 'nothing is left')
    const now = fs.statSync(place.victim)
    t.same([now.mode, now.uid, now.mtimeMs, now.nlink], [mode, uid, mtimeMs, 1])
  }
})

t.test('R2 no archive can know the name of a staging directory', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  // A segment is let through when the next one has come.
  const cut = unsorted([], { segments: [{ rows: file('a') }, { rows: file('b') }] }).subarray(0, -1)
  const secrets = new Set<string>()
  for (let run = 0; run < 20; run++) {
    const sink = extract(place.target)
    const closed = new Promise(resolve => sink.once('close', resolve))
    sink.on('error', () => undefined)
    sink.write(Buffer.from(cut))
    await until(() => leftovers(place.target).length > 0)
    const [staging = ''] = fs.readdirSync(place.target)
    secrets.add(/^\.reftar-\d+-\d+-([\da-f]{12})$/.exec(staging)?.[1] ?? '')
    sink.destroy(new Error('enough'))
    await closed
  }
  t.equal(secrets.size, 20, 'each has 48 bits that no other has')
  t.notOk(secrets.has(''))
})
