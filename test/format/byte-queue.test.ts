import fc from 'fast-check'
import t from 'tap'
import { ByteQueue } from '../../src/format/byte-queue.js'

t.test('what comes out is what went in, however it was cut', t => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 20 })), fc.array(fc.nat(30)), (pieces, lengths) => {
      const all = Buffer.concat(pieces)
      const queue = new ByteQueue()
      const waiting = [...pieces]
      let at = 0
      for (const length of lengths) {
        let taken = queue.take(length)
        while (!taken && waiting.length > 0) {
          queue.push(waiting.shift() ?? new Uint8Array(0))
          taken = queue.take(length)
        }
        if (!taken) return at + length > all.length
        if (Buffer.compare(taken, all.subarray(at, at + length)) !== 0) return false
        at += length
        if (queue.consumed !== at) return false
      }
      return true
    }),
  )
  t.end()
})

t.test('peeking consumes nothing', t => {
  const queue = new ByteQueue()
  t.equal(queue.peek(1), undefined)
  queue.push(Uint8Array.of(1, 2))
  queue.push(new Uint8Array(0))
  queue.push(Uint8Array.of(3))
  t.same(queue.peek(3), Uint8Array.of(1, 2, 3))
  t.equal(queue.peek(4), undefined)
  t.equal(queue.length, 3)
  t.equal(queue.consumed, 0)
  t.same(queue.take(0), new Uint8Array(0))
  t.same(queue.take(2), Uint8Array.of(1, 2))
  t.same(queue.take(1), Uint8Array.of(3))
  t.equal(queue.take(1), undefined)
  t.same(queue.take(0), new Uint8Array(0))
  t.end()
})

t.test('what is there can be taken without knowing how much it is', t => {
  const queue = new ByteQueue()
  t.same(queue.peekAll(), new Uint8Array(0))
  t.same(queue.takeUpTo(5), new Uint8Array(0))
  queue.push(Uint8Array.of(1, 2))
  queue.push(Uint8Array.of(3, 4))
  t.same(queue.peekAll(), Uint8Array.of(1, 2, 3, 4))
  t.same(queue.takeUpTo(3), Uint8Array.of(1, 2, 3))
  t.same(queue.takeUpTo(3), Uint8Array.of(4))
  t.equal(queue.length, 0)
  t.equal(queue.consumed, 4)
  t.end()
})

t.test('a slice of what comes out is a copy, even where a Buffer went in', t => {
  for (const pieces of [[Buffer.from('abcdef')], [Buffer.from('abc'), Buffer.from('def')]]) {
    const queue = new ByteQueue()
    for (const piece of pieces) queue.push(piece)
    const taken = queue.take(6)
    taken?.slice().fill(0)
    t.same(taken, new Uint8Array(Buffer.from('abcdef')))
    t.equal(Buffer.concat(pieces).toString(), 'abcdef')
  }
  t.end()
})
