import t from 'tap'
import { OrdinalSet } from '../../src/format/ordinal-set.js'

t.test('it holds what a set holds, over the edges of pages', t => {
  const ordinals = new OrdinalSet()
  const expected = new Set<number>()
  for (const start of [1, 32 * 1024 - 3, 2 ** 31 - 3, 2 ** 32, 2 ** 53 - 40])
    for (let i = start; i < start + 30; i += 3) {
      ordinals.add(i)
      ordinals.add(i)
      expected.add(i)
    }
  for (const start of [0, 32 * 1024 - 40, 2 ** 31 - 40, 2 ** 32 - 40, 2 ** 53 - 60])
    for (let i = start; i < start + 90 && Number.isSafeInteger(i); i++)
      if (ordinals.has(i) !== expected.has(i)) t.fail(`${i}: ${ordinals.has(i)}`)
  t.notOk(ordinals.has(-1))
  t.end()
})
