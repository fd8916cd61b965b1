// Table A2: others change names at one moment, while strace holds the process there.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { data, type RawRow } from '../../../fixtures/recipes/raw.js'
import { CLI, until } from '../../cli/run.js'
import { Extractor, type Hold, tracing } from '../../support/extractor.js'
import {
  beside,
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
} from '../../support/hostile.js'
import { namesBelow } from '../../support/trees.js'

process.umask(0o022)

const IMMUTABLE = 0x10

/** A scene with an archive in it, for a process that is held. */
function scene(t: Test, rows: readonly RawRow[]) {
  const place = ground(t, 'xfs')
  if (!place) return undefined
  const path = join(place.base, 'archive')
  fs.writeFileSync(path, unsorted(rows))
  return { place, extraction: { file: path, target: place.target } }
}

/** Puts something else in the place of a name, which is moved away. */
function replace(path: string, make: (path: string) => void): void {
  fs.renameSync(path, `${path}-moved`)
  make(path)
}

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

for (const [what, existing, hold] of [
  ['the name that is overwritten', 'overwrite', { call: 'renameat2', when: 2 }],
  ['a name that is taken back', 'refuse', { call: 'renameat2', when: 2 }],
] as const) {
  t.test(`R2 a directory of others in the place of ${what}`, tracing, async t => {
    const extractor = await Extractor.start(t)
    const held = scene(t, [...file('f', {}, data(content(5000))), ...file('g')])
    if (!held) return
    const { place, extraction } = held
    const inTarget = (name: string) => join(place.target, name)
    if (existing === 'overwrite') fs.writeFileSync(inTarget('f'), 'old')
    fs.mkdirSync(inTarget('precious'))
    fs.writeFileSync(inTarget('precious/one'), 'one')
    const move: Hold['meanwhile'] = () => {
      fs.renameSync(inTarget('f'), inTarget('moved'))
      fs.renameSync(inTarget('precious'), inTarget('f'))
      if (existing === 'refuse') fs.writeFileSync(inTarget('g'), 'in the way')
    }
    const outcome = await extractor.heldAt({ ...extraction, existing }, { ...hold, meanwhile: move })
    t.equal(outcome.held, 1)
    t.ok(outcome.code !== undefined, 'it fails')
    const left = namesBelow(place.target)
    t.ok(
      left.some(name => name.endsWith('/one')),
      `nothing of it is removed: ${left}`,
    )
  })
}

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

t.test('R2 an archive that knows the name of the staging directory', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const made = (name: string) => {
    const last = [directory(name), ...file('inner', { parent: 3 }, data(content(5000)))]
    return unsorted([], { segments: [{ rows: file('a') }, { rows: file('b') }, { rows: last }] })
  }
  const child = spawn(process.execPath, [CLI, 'extract', '-C', place.target], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  const ended = once(child, 'close')
  const guess = made('x')
  // A segment is let through when the next one has come.
  const third = Buffer.from(guess).lastIndexOf(Buffer.from('\x89rtseg\r\n', 'latin1'))
  child.stdin.write(guess.subarray(0, third + 8))
  await until(() => leftovers(place.target).length > 0)
  const [staging = ''] = fs.readdirSync(place.target)
  child.stdin.end(made(staging).subarray(third + 8))
  const [code] = await ended
  const isThere = fs.existsSync(join(place.target, staging, 'inner'))
  t.ok(code !== 0 || isThere, 'it fails, or all of it is there')
})
