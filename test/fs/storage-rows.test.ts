import fc from 'fast-check'
import t from 'tap'
import { type Place, type StorageRange, StorageRows } from '../../src/fs/storage-rows.js'

interface Row extends Place {
  readonly position: number
  readonly length: number
}

function rangesOf(rows: readonly Row[]): StorageRange[] {
  const storage = new StorageRows()
  for (const { file, offset, position, length } of rows) storage.add(file, offset, position, length)
  return [...storage.ranges()]
}

/** Without a position, an extent goes on where the one before ended. */
const extent = fc.record({
  hole: fc.nat(3),
  position: fc.option(fc.nat(40)),
  length: fc.integer({ min: 1, max: 12 }),
})

/** Files with extents in the order of their offsets, on a storage so small that they meet. */
const files = fc.array(fc.array(extent, { maxLength: 8 }), { maxLength: 6 }).map(all =>
  all.flatMap((extents, file) => {
    let offset = 0
    let end = 0
    return extents.map(({ hole, position, length }): Row => {
      const row = { file, offset: offset + (position === null ? 0 : hole), position: position ?? end, length }
      offset = row.offset + length
      end = row.position + length
      return row
    })
  }),
)

/** The places of each byte, as text, in the order of the bytes. */
function byteTable(ranges: readonly StorageRange[]): string {
  const table = new Map<number, string[]>()
  for (const { position, length, places } of ranges) {
    for (let i = 0; i < length; i++) {
      const all = table.get(position + i) ?? []
      all.push(...places.map(({ file, offset }) => `${file}:${offset + i}`))
      table.set(position + i, all)
    }
  }
  return JSON.stringify([...table].sort(([a], [b]) => a - b))
}

/** Whether two ranges that follow each other are the beginning and the end of one. */
function areOne(first: StorageRange, second: StorageRange): boolean {
  const moved = first.places.map(({ file, offset }) => ({ file, offset: offset + first.length }))
  return (
    first.position + first.length === second.position &&
    JSON.stringify(moved) === JSON.stringify(second.places)
  )
}

t.test('every byte has the places that were added to it, like a table of bytes', async () => {
  fc.assert(
    fc.property(files, rows => {
      const ranges = rangesOf(rows)
      const naive = rows.map(({ position, length, ...place }) => ({ position, length, places: [place] }))
      return byteTable(ranges) === byteTable(naive)
    }),
    { numRuns: 1000 },
  )
})

t.test('ranges are in order, disjoint, and as long as can be', async () => {
  fc.assert(
    fc.property(files, rows =>
      rangesOf(rows).every((range, i, all) => {
        const before = all[i - 1]
        if (!before) return range.length > 0
        return range.length > 0 && before.position + before.length <= range.position && !areOne(before, range)
      }),
    ),
    { numRuns: 1000 },
  )
})

t.test('ranges are cut where places begin and end', async t => {
  const rows: Row[] = [
    { file: 0, offset: 0, position: 100, length: 50 },
    { file: 1, offset: 7, position: 120, length: 10 },
    { file: 1, offset: 900, position: 140, length: 20 },
  ]
  t.same(rangesOf(rows), [
    { position: 100, length: 20, places: [{ file: 0, offset: 0 }] },
    {
      position: 120,
      length: 10,
      places: [
        { file: 0, offset: 20 },
        { file: 1, offset: 7 },
      ],
    },
    { position: 130, length: 10, places: [{ file: 0, offset: 30 }] },
    {
      position: 140,
      length: 10,
      places: [
        { file: 0, offset: 40 },
        { file: 1, offset: 900 },
      ],
    },
    { position: 150, length: 10, places: [{ file: 1, offset: 910 }] },
  ])
})

t.test('extents that go on are one, as are equal ones of many files', async t => {
  const storage = new StorageRows()
  for (let file = 0; file < 3000; file++) {
    for (let block = 0; block < 4; block++) storage.add(file, block * 4096, 8192 + block * 4096, 4096)
  }
  const [range, ...more] = storage.ranges()
  t.same(more, [])
  t.match(range, { position: 8192, length: 4 * 4096 })
  t.equal(range?.places.length, 3000)
  t.same([...storage.ranges()], [range], 'as often as they are asked for')
})

t.test('nothing', async t => {
  t.same(rangesOf([]), [])
})
