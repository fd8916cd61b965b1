// How far something has come, in a line.
import t from 'tap'
import { progressLine, type Snapshot } from '../../src/cli/progress-line.js'
import { Speed } from '../../src/cli/speed.js'

const GIB = 1024 ** 3

const HALF: Snapshot = {
  entries: 123_456,
  bytesRead: 100 * GIB,
  totalBytes: 200 * GIB,
  logicalBytes: 980.3 * GIB,
  sharedBytes: 850.7 * GIB,
  seconds: 312.9,
  bytesPerSecond: 350 * 1024 ** 2,
  secondsLeft: 4321,
}

t.test('what there is room for', async t => {
  const lines: readonly [width: number, line: string][] = [
    [
      199,
      '123456 entries, 980 GiB: 100 GiB read, 850 GiB shared, 350 MiB/s, 5:12 so far, 50 %, 1:12:01 left',
    ],
    [90, '123456 entries, 980 GiB: 100 GiB read, 850 GiB shared, 350 MiB/s, 50 %, 1:12:01 left'],
    [79, '123456 entries, 980 GiB: 100 GiB read, 850 GiB shared, 350 MiB/s, 1:12:01 left'],
    [70, '980 GiB: 100 GiB read, 850 GiB shared, 350 MiB/s, 1:12:01 left'],
    [60, '980 GiB: 100 GiB read, 350 MiB/s, 1:12:01 left'],
    [40, '980 GiB: 100 GiB read, 1:12:01 left'],
    [30, '980 GiB: 100 GiB read'],
    [12, '100 GiB read'],
  ]
  for (const [width, line] of lines) t.equal(progressLine(HALF, width), line)
  for (let width = 12; width < 200; width++) t.ok(progressLine(HALF, width).length <= width, `${width}`)
})

t.test('what is not known is not told', async t => {
  const { totalBytes: _, secondsLeft: __, ...unknown } = HALF
  t.equal(
    progressLine({ ...unknown, entries: 1, bytesRead: 1023, bytesPerSecond: 0 }, 199),
    '1 entry, 980 GiB: 1023 B read, 850 GiB shared, 0 B/s, 5:12 so far',
  )
  const { secondsLeft: ___, ...stalled } = HALF
  t.equal(
    progressLine({ ...stalled, seconds: 59 }, 199),
    '123456 entries, 980 GiB: 100 GiB read, 850 GiB shared, 350 MiB/s, 0:59 so far, 50 %',
  )
  t.match(progressLine({ ...stalled, bytesRead: 200 * GIB }, 79), /shared, 100 %, finishing$/)
  const { sharedBytes: ____, ...unshared } = unknown
  t.equal(
    progressLine({ ...unshared, bytesRead: 0, bytesPerSecond: 0 }, 199),
    '123456 entries, 980 GiB: 0 B read, 0 B/s, 5:12 so far',
  )
  t.notMatch(progressLine({ ...HALF, bytesRead: 0, totalBytes: 0 }, 199), /NaN|Infinity/)
})

t.test('a speed is that of the last seconds', async t => {
  const speed = new Speed(1000)
  t.equal(speed.at(1000, 0), 0, 'nothing has come at once')
  t.equal(speed.at(2000, 500), 500)
  for (let time = 2250; time <= 12_000; time += 250) speed.at(time, 500)
  t.equal(speed.at(12_250, 500), 0, 'it has come to a stop')
  t.equal(speed.at(13_250, 6500), 1200, 'and goes on: over five seconds')
  t.equal(speed.at(33_250, 26_500), 1000, 'over all the time that nobody asked')
})
