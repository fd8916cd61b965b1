import t from 'tap'
import { drive, type Steps } from '../src/steps.js'

t.test(
  'what makes items ends where they are not taken, and makes no more, however deep it waits for its end',
  async t => {
    const log: string[] = []
    const later = async (what: string) => {
      await null
      log.push(what)
    }
    function* inner(): Steps<string> {
      try {
        yield 'first'
        yield 'never'
      } finally {
        yield later('inner has ended')
      }
    }
    function* middle(): Steps<string> {
      try {
        yield* inner()
        log.push('goes on')
        yield 'never'
      } finally {
        yield later('middle has ended')
      }
    }
    function* outer(): Steps<string> {
      try {
        yield* middle()
        log.push('goes on')
        for (let i = 0; i < 10; i++) yield 'never'
      } finally {
        log.push('outer has ended')
      }
    }
    const full = new Error('full')
    const put = (item: string) => {
      log.push(item)
      throw full
    }
    await t.rejects(async () => drive(outer(), put), full)
    t.same(log, ['first', 'inner has ended', 'middle has ended', 'outer has ended'])
  },
)

t.test('what fails while it ends changes nothing of why it ends', async t => {
  let closed = false
  function* items(): Steps<string> {
    try {
      try {
        yield 'first'
      } finally {
        yield Promise.reject(new Error('too late'))
      }
    } finally {
      closed = true
    }
  }
  const full = new Error('full')
  await t.rejects(
    async () =>
      drive(items(), () => {
        throw full
      }),
    full,
  )
  t.ok(closed)
})
