// Table A2: others put something in the place of what this run removes, or works in.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { data } from '../../fixtures/recipes/raw.js'
import { Extractor, replace, scene, tracing } from '../support/extractor.js'
import { content, file } from '../support/hostile.js'
import { namesBelow } from '../support/trees.js'

process.umask(0o022)

/** Two files, the first of which has its name when the second gets one. */
const TWO = [...file('f', {}, data(content(5000))), ...file('g')]

/** A directory of somebody else, in the target, that whoever may write to the target can move. */
function precious(target: string, mode = 0o755): string {
  const path = join(target, 'precious')
  fs.mkdirSync(path)
  fs.writeFileSync(join(path, 'one'), 'one')
  fs.chmodSync(path, mode)
  return path
}

function isThere(target: string): boolean {
  return namesBelow(target).some(name => name.endsWith('/one'))
}

t.test('R2 a directory of others in the place of a name that is taken back', tracing, async t => {
  const extractor = await Extractor.start(t)
  const held = scene(t, TWO)
  if (!held) return
  const { place, extraction } = held
  const path = precious(place.target)
  const outcome = await extractor.heldAt(extraction, {
    call: 'renameat2',
    when: 2,
    meanwhile: () => {
      replace(join(place.target, 'f'), name => fs.renameSync(path, name))
      fs.writeFileSync(join(place.target, 'g'), 'in the way')
    },
  })
  t.equal(outcome.held, 1)
  t.equal(outcome.code, 'TARGET_EXISTS')
  t.ok(isThere(place.target), 'nothing of it is removed')
})

t.test(
  'R2 two directories of others, one after the other, in the place of what is overwritten',
  tracing,
  async t => {
    const extractor = await Extractor.start(t)
    const held = scene(t, TWO)
    if (!held) return
    const { place, extraction } = held
    const inTarget = (name: string) => join(place.target, name)
    fs.writeFileSync(inTarget('f'), 'old')
    fs.mkdirSync(inTarget('other'))
    const path = precious(place.target)
    const outcome = await extractor.heldAt(
      { ...extraction, existing: 'overwrite' },
      // Before the exchange, and before it is undone.
      {
        call: 'renameat2',
        when: 2,
        meanwhile: () => replace(inTarget('f'), name => fs.renameSync(inTarget('other'), name)),
      },
      {
        call: 'renameat2',
        when: 3,
        meanwhile: () => {
          fs.renameSync(inTarget('f'), inTarget('f-ours'))
          fs.renameSync(path, inTarget('f'))
        },
      },
    )
    t.equal(outcome.held, 2)
    t.ok(outcome.code !== undefined, 'it fails')
    t.ok(isThere(place.target), 'nothing of it is removed')
  },
)

for (const [what, mode] of [
  ['that everyone may write to', 0o777],
  ['that is private', 0o700],
] as const) {
  t.test(
    `R2 a directory of the same owner in the place of the staging directory, ${what}`,
    tracing,
    async t => {
      const extractor = await Extractor.start(t)
      const held = scene(t, TWO)
      if (!held) return
      const { place, extraction } = held
      const path = precious(place.target, mode)
      const outcome = await extractor.heldAt(extraction, {
        call: 'mkdirat',
        after: true,
        meanwhile: () => {
          const staging = fs.readdirSync(place.target).find(name => name.startsWith('.reftar-')) ?? ''
          replace(join(place.target, staging), name => fs.renameSync(path, name))
        },
      })
      t.equal(outcome.held, 1)
      t.equal(outcome.code, 'TARGET_CHANGED', 'it is noticed')
      t.ok(isThere(place.target), 'nothing of it is removed')
    },
  )
}
