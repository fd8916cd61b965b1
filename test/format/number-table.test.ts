import t from 'tap'
import { NumberTable } from '../../src/format/number-table.js'
import { PagedStore } from '../../src/fs/paged-store.js'

t.test('a table is the same as an array of rows, over the edges of pages', t => {
  for (const pages of [undefined, new PagedStore(0)]) {
    const table = new NumberTable(3, pages)
    const rows = 40 * 1365
    for (let i = 0; i < rows; i++) {
      table.push([2 ** 33 + 2 * i, -i, 0.5])
      if (i % 3 === 0) table.set(i, 1, i)
    }
    t.equal(table.length, rows)
    for (let i = 0; i < rows; i++) {
      const row = [table.get(i, 0), table.get(i, 1), table.get(i, 2)]
      const expected = [2 ** 33 + 2 * i, i % 3 === 0 ? i : -i, 0.5]
      if (row.some((value, column) => value !== expected[column])) t.fail(`row ${i}: ${row}`)
      if (table.findLast(2 ** 33 + 2 * i) !== i || table.findLast(2 ** 33 + 2 * i + 1) !== i)
        t.fail(`row ${i} is not found`)
    }
    t.equal(table.findLast(2 ** 33 - 1), -1)
    t.equal(table.findLast(Number.POSITIVE_INFINITY), rows - 1)
    if (pages) {
      t.ok(pages.isSpilled)
      pages.close()
    }
  }
  t.equal(new NumberTable(1).findLast(0), -1)
  t.end()
})
