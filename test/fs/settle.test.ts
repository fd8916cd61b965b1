import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { settle } from '../../src/fs/settle.js'
import { type Status, statFd } from '../../src/sys/status.js'

/** Of a file that was changed at a time, in milliseconds. */
function changedAt(time: number, isCoarse = false): Status {
  const seconds = Math.floor(time / 1000)
  const fd = fs.openSync('/dev/null', 'r')
  const status = statFd(fd)
  fs.closeSync(fd)
  return {
    ...status,
    changed: { seconds, nanoseconds: isCoarse ? 0 : Math.round((time - seconds * 1000) * 1e6) + 1 },
  }
}

const age = ({ changed }: Status) => Date.now() - changed.seconds * 1000 - changed.nanoseconds / 1e6

t.test('after it, the next change of a file shows', async t => {
  const file = join(t.testdir(), 'file')
  const ages: number[] = []
  for (let i = 0; i < 100; i++) {
    fs.writeFileSync(file, String(i))
    const fd = fs.openSync(file, 'r')
    const status = statFd(fd)
    fs.closeSync(fd)
    await settle(status)
    ages.push(age(status))
  }
  t.ok(Math.min(...ages) > 10, `${Math.min(...ages)} ms have passed at least`)
})

t.test('a filesystem that counts seconds takes longer', async t => {
  const status = changedAt(Date.now(), true)
  await settle(status)
  t.ok(age(status) > 2000, `${age(status)} ms`)
})

t.test('it does not wait for what is old, or for a clock that is ahead', async t => {
  for (const time of [0, Date.now() - 60_000]) t.equal(settle(changedAt(time)), undefined)
  // Else this takes an hour.
  await settle(changedAt(Date.now() + 3_600_000))
})
