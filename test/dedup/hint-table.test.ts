import fc from 'fast-check'
import t from 'tap'
import { HintTable } from '../../src/dedup/hint-table.js'

const MIB = 1024 * 1024
const SLOT = 14

const number32 = fc.integer({ min: 0, max: 0xffffffff })
/** Few hashes, so that they meet. */
const step = fc.record({
  what: fc.constantFrom('add', 'find', 'forget'),
  crc: fc.integer({ min: 0, max: 3 }),
  hash: fc.oneof(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0xfffffff0, max: 0xffffffff })),
  address: fc.integer({ min: 0, max: 2 ** 47 }),
})

t.test('it answers as a map does', async t => {
  fc.assert(
    fc.property(fc.array(step), steps => {
      const table = new HintTable(MIB)
      const model = new Map<string, number>()
      for (const { what, crc, hash, address } of steps) {
        const key = `${crc} ${hash}`
        if (what === 'add') {
          table.add(crc, hash, address)
          if (!model.has(key)) model.set(key, address)
        } else if (what === 'forget') {
          table.forget(crc, hash)
          model.delete(key)
        }
        if (table.find(crc, hash) !== model.get(key)) return false
      }
      return true
    }),
  )
  t.pass('for any sequence of steps')
})

t.test('it grows, and keeps all that it has room for', async t => {
  const table = new HintTable(MIB)
  const room = Math.floor(Math.floor(MIB / SLOT) * 0.875)
  const hashOf = (i: number) => Math.imul(i, 0x9e3779b1) >>> 0
  for (let i = 0; i < room; i++) table.add(i, hashOf(i), i * 4096)
  t.equal(table.count, room)
  t.equal(table.sampling, 1)
  let found = 0
  for (let i = 0; i < room; i++) if (table.find(i, hashOf(i)) === i * 4096) found++
  t.equal(found, room)
})

t.test('when it is full it keeps a sample, and that only', async t => {
  fc.assert(
    fc.property(fc.array(number32, { minLength: 200, maxLength: 600 }), hashes => {
      const table = new HintTable(100 * SLOT)
      hashes.forEach((hash, i) => void table.add(1, hash, i))
      if (table.count > 87) return false
      const first = new Map<number, number>()
      hashes.forEach((hash, i) => {
        if (!first.has(hash)) first.set(hash, i)
      })
      return [...first].every(([hash, i]) => table.find(1, hash) === (table.samples(hash) ? i : undefined))
    }),
  )
  t.pass('every hash of the sample is found where it came first, and no other')
})

t.test('hashes that were chosen to be sampled do not fill it beyond its bound', async t => {
  const table = new HintTable(64 * SLOT)
  for (let i = 0; i < 1000; i++) table.add(i, 0, i)
  t.ok(table.count <= 56, `${table.count} of 56`)
  t.equal(table.find(0, 0), 0)
  t.equal(table.find(999, 0), undefined)
})

t.test('an address beyond 48 bits is not kept', async t => {
  const table = new HintTable(MIB)
  table.add(1, 1, 2 ** 50)
  t.equal(table.find(1, 1), undefined)
})
