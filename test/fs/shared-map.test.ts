import fc from 'fast-check'
import t from 'tap'
import { PAGE_SIZE } from '../../src/format/pages.js'
import { PagedStore } from '../../src/fs/paged-store.js'
import { SharedMap } from '../../src/fs/shared-map.js'

const UNIVERSE = 4000

t.test('it knows of every byte where it was seen last, like a table of bytes', async () => {
  const insertion = fc.record({
    start: fc.integer({ min: 0, max: UNIVERSE - 1 }),
    length: fc.integer({ min: 1, max: 60 }),
    file: fc.integer({ min: 0, max: 5 }),
  })
  fc.assert(
    fc.property(fc.array(insertion, { minLength: 1, maxLength: 200 }), insertions => {
      const map = new SharedMap(new PagedStore(0))
      const table = new Map<number, { file: number; offset: number; address: number }>()
      insertions.forEach(({ start, length, file }, i) => {
        map.insert('space', start, length, { file, offset: 10 * start, address: 1000 * i })
        for (let at = 0; at < length; at++) {
          table.set(start + at, { file, offset: 10 * start + at, address: 1000 * i + at })
        }
      })
      const found = new Map<number, { file: number; offset: number; address: number }>()
      let previousEnd = 0
      for (const { start, length, sighting } of map.find('space', 0, UNIVERSE + 100)) {
        if (start < previousEnd) return false
        previousEnd = start + length
        for (let at = 0; at < length; at++) {
          found.set(start + at, {
            file: sighting.file,
            offset: sighting.offset + at,
            address: sighting.address + at,
          })
        }
      }
      return (
        found.size === table.size &&
        [...table].every(([at, seen]) => JSON.stringify(found.get(at)) === JSON.stringify(seen))
      )
    }),
    { numRuns: 300 },
  )
})

t.test('past its memory it goes to a temporary file, and forgets nothing', async t => {
  const store = new PagedStore(8 * PAGE_SIZE)
  const map = new SharedMap(store)
  const ROWS = 60_000
  const order = Array.from({ length: ROWS }, (_, i) => (i * 7919) % ROWS)
  for (const i of order) map.insert('space', i * 10, 6, { file: i, offset: i, address: i })
  t.ok(store.isSpilled, 'more than the bound was put in')
  for (const i of order) {
    const overlaps = map.find('space', i * 10 + 2, 3)
    if (overlaps.length !== 1 || overlaps[0]?.sighting.address !== i + 2) t.fail(`row ${i} is lost`)
  }
  t.same(map.find('other', 0, ROWS), [], 'another space is empty')
  t.same(map.find('space', 6, 4), [], 'a gap is empty')
  store.close()
})
