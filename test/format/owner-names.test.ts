import t from 'tap'
import { text } from '../../fixtures/recipes/raw.js'
import { ByteReader } from '../../src/format/bytes.js'
import { OwnerNamesReader, OwnerNamesWriter } from '../../src/format/owner-names.js'

t.test('names get places in the order of their first use', t => {
  const writer = new OwnerNamesWriter()
  t.equal(writer.byteLength, 0)
  t.equal(writer.place(undefined), 0)
  t.equal(writer.place(text('ada')), 1)
  t.equal(writer.place(text('users')), 2)
  t.equal(writer.place(text('ada')), 1)
  t.equal(writer.place(Uint8Array.of(0xff, 0xfe)), 3)
  const reader = new OwnerNamesReader(new ByteReader(writer.bytes(), 0))
  t.equal(reader.at(0), undefined)
  t.same(reader.at(1), text('ada'))
  t.throws(() => reader.finish(), { code: 'BAD_FIELD' })
  t.throws(() => reader.at(3), { code: 'BAD_FIELD' })
  t.same(reader.at(2), text('users'))
  t.same(reader.at(1), text('ada'))
  t.same(reader.at(3), Uint8Array.of(0xff, 0xfe))
  t.throws(() => reader.at(4), { code: 'BAD_FIELD' })
  reader.finish()
  t.end()
})

t.test('more names than the first buffer holds', t => {
  const writer = new OwnerNamesWriter()
  const names = Array.from({ length: 1000 }, (_, i) => text(`user-${i}`))
  for (const [i, name] of names.entries()) t.equal(writer.place(name), i + 1)
  const reader = new OwnerNamesReader(new ByteReader(writer.bytes(), 0))
  t.same(
    names.map((_, i) => reader.at(i + 1)),
    names,
  )
  reader.finish()
  t.end()
})
