import t from 'tap'
import { PagedList } from '../../src/format/paged-list.js'

t.test('a list is the same as an array, over the edges of pages', t => {
  const list = new PagedList<number>()
  t.equal(list.at(-1), undefined)
  t.equal(list.at(0), undefined)
  for (let i = 0; i < 3 * 4096; i++) {
    t.equal(list.length, i)
    list.push(2 ** 33 + i)
    if (i % 3 === 0) list.replaceLast(i)
  }
  for (let i = 0; i < list.length; i++)
    if (list.at(i) !== (i % 3 === 0 ? i : 2 ** 33 + i)) t.fail(`at ${i}: ${list.at(i)}`)
  t.equal(list.at(list.length), undefined)
  t.equal(list.at(-1), undefined)
  t.end()
})
