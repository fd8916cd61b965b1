import t from 'tap'
import { ByteReader, ByteWriter, compareBytes, equalBytes } from '../../src/format/bytes.js'

t.test('a writer grows under every kind of field', t => {
  const fields: Record<string, (out: ByteWriter) => ByteWriter> = {
    u8: out => out.u8(0xa1),
    u16: out => out.u16(0xa1a2),
    u24: out => out.u24(0xa1a2a3),
    u32: out => out.u32(0xa1a2a3a4),
    u64: out => out.u64(0x1fffffffffffff),
    i64: out => out.i64(-2),
    append: out => out.append(Uint8Array.of(1, 2, 3)),
    zeros: out => out.zeros(3),
  }
  for (const [name, write] of Object.entries(fields)) {
    const roomy = write(new ByteWriter(64).u8(7)).view()
    t.same(write(new ByteWriter(1).u8(7)).view(), roomy, name)
    t.same(write(new ByteWriter(2).u8(7)).view(), roomy, `${name} with a byte left`)
  }
  const out = new ByteWriter(1)
  for (let i = 0; i < 100_000; i++) out.u8(i & 0xff)
  t.equal(out.length, 100_000)
  t.ok(out.view().every((byte, i) => byte === (i & 0xff)))
  t.end()
})

t.test('cleared bytes do not come back as zeros', t => {
  const out = new ByteWriter(4).u32(0xffffffff)
  out.clear()
  t.same(out.zeros(2).view(), new Uint8Array(2))
  t.end()
})

t.test('numbers are read as they were written', t => {
  const bytes = new ByteWriter()
    .u8(255)
    .u16(0xfffe)
    .u24(0xfffdfc)
    .u32(0xfffffffd)
    .u64(Number.MAX_SAFE_INTEGER)
    .i64(Number.MIN_SAFE_INTEGER)
    .i64(Number.MAX_SAFE_INTEGER)
    .view()
  // Somewhere inside of a larger buffer.
  const within = new Uint8Array(bytes.byteLength + 10)
  within.set(bytes, 5)
  const reader = new ByteReader(within.subarray(5, 5 + bytes.byteLength), 100)
  t.equal(reader.u8(), 255)
  t.equal(reader.u16(), 0xfffe)
  t.equal(reader.u24(), 0xfffdfc)
  t.equal(reader.u32(), 0xfffffffd)
  t.equal(reader.u64(), Number.MAX_SAFE_INTEGER)
  t.equal(reader.i64(), Number.MIN_SAFE_INTEGER)
  t.equal(reader.i64(), Number.MAX_SAFE_INTEGER)
  t.equal(reader.remaining, 0)
  t.equal(reader.offset, 100 + bytes.byteLength)
  t.throws(() => reader.u8(), { code: 'BAD_FIELD', offset: 100 + bytes.byteLength })
  t.end()
})

t.test('a reader never passes the end of its part', t => {
  const large = new Uint8Array(16)
  for (const read of ['u8', 'u16', 'u32', 'u64', 'i64'] as const) {
    const reader = new ByteReader(large.subarray(0, 8), 0)
    reader.position = 8
    t.throws(() => reader[read](), { code: 'BAD_FIELD' })
    t.equal(reader.position, 8)
  }
  const reader = new ByteReader(large.subarray(0, 8), 0)
  t.throws(() => reader.take(9), { code: 'BAD_FIELD' })
  t.throws(() => reader.take(2 ** 32), { code: 'BAD_FIELD' })
  t.throws(() => reader.zeros(9, 'x'), { code: 'BAD_FIELD' })
  t.end()
})

t.test('numbers from 2^53 on are refused', t => {
  for (const high of [0x00200000, 0x7fffffff, 0xffffffff]) {
    const reader = new ByteReader(new ByteWriter().u32(0).u32(high).view(), 0)
    t.throws(() => reader.u64(), { code: 'LIMIT_EXCEEDED', offset: 0 })
  }
  for (const high of [0x00200000, 0x7fffffff, 0x80000000, 0xffe00000]) {
    const reader = new ByteReader(new ByteWriter().u32(0).u32(high).view(), 0)
    t.throws(() => reader.i64(), { code: 'LIMIT_EXCEEDED', offset: 0 })
  }
  t.end()
})

t.test('byte order', t => {
  const bytes = (...values: number[]) => Uint8Array.from(values)
  t.ok(compareBytes(bytes(1), bytes(2)) < 0)
  t.ok(compareBytes(bytes(0x7f), bytes(0x80)) < 0, 'bytes are unsigned')
  t.ok(compareBytes(bytes(1), bytes(1, 0)) < 0, 'a prefix comes first')
  t.ok(compareBytes(bytes(), bytes(0)) < 0)
  t.ok(compareBytes(bytes(2), bytes(1, 255)) > 0)
  t.ok(equalBytes(bytes(1, 2), bytes(1, 2)))
  t.notOk(equalBytes(bytes(1, 2), bytes(1)))
  t.end()
})
