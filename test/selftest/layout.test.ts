import t from 'tap'
import { layoutOf, type MappedExtent } from '../../src/selftest/layout.js'

/** Rows of a map, each after the last. */
function rows(...pieces: readonly (readonly [physical: number, length: number])[]): MappedExtent[] {
  let logical = 0
  return pieces.map(([physical, length]) => {
    const row = { logical, physical, length }
    logical += length
    return row
  })
}

t.test('runs of files that lie alike', async t => {
  const layout = layoutOf([
    { file: 'a', source: rows([100, 30]), restored: rows([500, 30]) },
    {
      file: 'b',
      source: rows([100, 10], [900, 10], [120, 10]),
      restored: rows([500, 10], [700, 10], [520, 10]),
    },
  ])
  t.same(layout, {
    runs: [
      { source: 100, restored: 500, length: 10, files: ['a', 'b'] },
      { source: 110, restored: 510, length: 10, files: ['a'] },
      { source: 120, restored: 520, length: 10, files: ['a', 'b'] },
      { source: 900, restored: 700, length: 10, files: ['b'] },
    ],
    sharedBytes: 20,
    keptBytes: 20,
  })
})

t.test('what lies in more pieces is still one run', async t => {
  const { runs } = layoutOf([
    { file: 'a', source: rows([0, 10], [10, 20]), restored: rows([50, 25], [75, 5]) },
  ])
  t.same(runs, [{ source: 0, restored: 50, length: 30, files: ['a'] }])
})

t.test('sharing that was lost, and sharing that is new', async t => {
  const lost = layoutOf([
    { file: 'a', source: rows([100, 30]), restored: rows([500, 30]) },
    { file: 'b', source: rows([100, 30]), restored: rows([500, 10], [600, 20]) },
  ])
  t.match(lost, { sharedBytes: 30, keptBytes: 10 })
  t.same(
    lost.runs.map(({ source, restored, files }) => [source, restored, files]),
    [
      [100, 500, ['a', 'b']],
      [110, 510, ['a']],
      [110, 600, ['b']],
    ],
  )
  const gained = layoutOf([
    { file: 'a', source: rows([100, 30]), restored: rows([500, 30]) },
    { file: 'b', source: rows([200, 30]), restored: rows([500, 30]) },
  ])
  t.match(gained, { sharedBytes: 0, keptBytes: 0 })
})

t.test('sharing inside of one file, and at other offsets', async t => {
  const { sharedBytes, keptBytes } = layoutOf([
    { file: 'a', source: rows([100, 10], [100, 10]), restored: rows([500, 10], [500, 10]) },
    { file: 'b', source: rows([900, 5], [100, 10]), restored: rows([300, 5], [500, 10]) },
  ])
  t.same([sharedBytes, keptBytes], [20, 20])
})
