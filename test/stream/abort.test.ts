// An AbortSignal ends whatever is under way, at once, and leaves nothing behind.
import { getEventListeners } from 'node:events'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  type ArchiveRecord,
  blockSplitter,
  crcDedup,
  create,
  entrySource,
  extentDecoder,
  extentEncoder,
  extract,
  list,
  type NewItem,
  reflinkWriter,
  treeSource,
} from '../../src/index.js'
import { data, fileEntry } from '../support/records.js'
import { descriptorsAfter, KIB, MIB, noise, settledDescriptors } from '../support/trees.js'

const WATCHDOG = { timeout: 60_000 }

/** Of everything here, to be sure that nothing comes as an uncaught error. */
const crashes: unknown[] = []
process.on('unhandledRejection', error => crashes.push(error))
process.on('uncaughtException', error => crashes.push(error))

interface Scene {
  readonly source: string
  readonly target: string
}

const source = t.testdir({})
for (let i = 0; i < 24; i++) fs.writeFileSync(join(source, `file${i}`), noise(MIB, i))

function scene(t: Test): Scene {
  return { source, target: t.testdir({}) }
}

const block = noise(16 * KIB)

function* endlessItems(): Generator<NewItem> {
  for (let i = 0; ; i++) yield { entry: { path: `${i}` }, body: [block] }
}

function* endlessRecords(): Generator<ArchiveRecord> {
  yield fileEntry('a', 1)
  for (;;) yield data(block)
}

/** Nothing of this ever waits for a file or a timer. */
function endlessArchive(): NodeJS.ReadableStream {
  return entrySource(endlessItems())
    .pipe(blockSplitter())
    .pipe(extentEncoder({ sorted: false }))
}

function drain(milliseconds = 0): Writable {
  return new Writable({
    objectMode: true,
    highWaterMark: 1,
    write: async (_chunk, _encoding, callback) => {
      if (milliseconds > 0) await setTimeout(milliseconds)
      callback()
    },
  })
}

interface Signalled {
  readonly signal?: AbortSignal
}

/** Each stage in a pipeline that would not end for a long time, if it did at all. */
const PIPELINES: Record<string, (scene: Scene, options: Signalled) => unknown[]> = {
  create: ({ source }, options) => [create(['.'], { directory: source, ...options }), drain(50)],
  extract: ({ target }, options) => [endlessArchive(), extract(target, options)],
  list: (_, options) => [endlessArchive(), list(options), drain()],
  treeSource: ({ source }, options) => [treeSource(['.'], { directory: source, ...options }), drain(50)],
  entrySource: (_, options) => [entrySource(endlessItems(), options), drain()],
  blockSplitter: (_, options) => [Readable.from(endlessRecords()), blockSplitter(options), drain()],
  crcDedup: (_, options) => [Readable.from(endlessRecords()), crcDedup(options), drain()],
  extentEncoder: (_, options) => [Readable.from(endlessRecords()), extentEncoder(options), drain()],
  extentDecoder: (_, options) => [endlessArchive(), extentDecoder(options), drain()],
  reflinkWriter: ({ target }, options) => [Readable.from(endlessRecords()), reflinkWriter(target, options)],
}

function closed(stream: unknown): Promise<void> {
  return new Promise(resolve => {
    ;(stream as NodeJS.EventEmitter).once('close', resolve)
  })
}

async function checkNothingLeft(
  t: Test,
  { target }: Scene,
  { signal }: Signalled,
  descriptors: number,
): Promise<void> {
  t.same(fs.readdirSync(target), [], 'nothing below the target')
  t.equal(await descriptorsAfter(descriptors), descriptors, 'no descriptor is left')
  if (signal) t.equal(getEventListeners(signal, 'abort').length, 0, 'nobody listens to the signal any more')
  t.same(crashes.splice(0), [], 'nothing that the process would die of')
}

for (const [name, make] of Object.entries(PIPELINES)) {
  for (const whose of ['the stage', 'the pipeline']) {
    t.test(`${name}: a timer aborts by the signal of ${whose}`, WATCHDOG, async t => {
      const place = scene(t)
      const descriptors = await settledDescriptors()
      const controller = new AbortController()
      const { signal } = controller
      const streams = make(place, whose === 'the stage' ? { signal } : {}) as [Readable, Writable]
      if (whose === 'the stage') t.equal(getEventListeners(signal, 'abort').length, 1, 'one listener')
      const closes = Promise.all(streams.map(closed))
      const timer = setTimeout(20).then(() => controller.abort())
      const error = await pipeline(streams, whose === 'the stage' ? {} : { signal }).then(
        () => 'it ended',
        (cause: Error) => cause,
      )
      await Promise.all([timer, closes])
      // A stage that kept the event loop to itself would have ended before the timer fired.
      if (whose === 'the stage') t.equal(error, signal.reason, 'the reason is told')
      else t.match(error, { name: 'AbortError', code: 'ABORT_ERR' })
      await checkNothingLeft(t, place, { signal }, descriptors)
    })
  }

  t.test(`${name}: a signal that is aborted before the start`, WATCHDOG, async t => {
    const place = scene(t)
    const descriptors = await settledDescriptors()
    const reason = new Error('not today')
    const signal = AbortSignal.abort(reason)
    const streams = make(place, { signal }) as [Readable, Writable]
    const closes = Promise.all(streams.map(closed))
    await t.rejects(pipeline(streams), reason)
    await closes
    await checkNothingLeft(t, place, { signal }, descriptors)
  })
}

t.test('a signal that comes after the end does nothing', WATCHDOG, async t => {
  const { target } = scene(t)
  const descriptors = await settledDescriptors()
  const controller = new AbortController()
  const { signal } = controller
  const from = create(['.'], { directory: source, signal })
  const to = extract(target, { signal })
  const names = list({ signal })
  const archive = new PassThrough()
  from.pipe(archive)
  const listing = archive.pipe(names).resume()
  const streams = [from, to, names].map(closed)
  await Promise.all([pipeline(archive, to), ...streams])
  t.equal(getEventListeners(signal, 'abort').length, 0, 'nobody listens to the signal any more')
  const summaries = () => JSON.stringify([from.summary, to.summary, listing.summary])
  const before = summaries()
  controller.abort()
  await setTimeout(20)
  t.equal(summaries(), before)
  t.equal(to.summary.target.files, 24)
  t.equal(fs.readdirSync(target).length, 24)
  t.equal(await descriptorsAfter(descriptors), descriptors)
  t.same(crashes, [])
})

t.test('for await hears of a signal', WATCHDOG, async t => {
  const descriptors = await settledDescriptors()
  for (const early of [true, false]) {
    const controller = new AbortController()
    const { signal } = controller
    const reason = new Error('enough')
    if (early) controller.abort(reason)
    const stream = create(['.'], { directory: source, signal })
    let count = 0
    const loop = async () => {
      for await (const _ of stream) if (++count === 2) controller.abort(reason)
    }
    await t.rejects(loop(), reason)
    t.equal(count, early ? 0 : 2)
    t.equal(getEventListeners(signal, 'abort').length, 0)
  }
  t.equal(await descriptorsAfter(descriptors), descriptors)
})

t.test('one signal ends all streams that have it', WATCHDOG, async t => {
  const place = scene(t)
  const descriptors = await settledDescriptors()
  const controller = new AbortController()
  const { signal } = controller
  const works = Object.values(PIPELINES).map(async make => {
    const streams = make(place, { signal }) as [Readable, Writable]
    const closes = Promise.all(streams.map(closed))
    const error = await pipeline(streams).catch((cause: Error) => cause)
    await closes
    return error
  })
  await setTimeout(20)
  controller.abort('a reason need not be an error')
  const errors = await Promise.all(works)
  t.same(
    errors,
    errors.map(() => 'a reason need not be an error'),
  )
  await checkNothingLeft(t, place, { signal }, descriptors)
})

t.test('what is not wanted any more is not read to its end', WATCHDOG, async t => {
  const source = t.testdir({})
  for (let i = 0; i < 4; i++) fs.writeFileSync(join(source, `${i}`), noise(16 * MIB, i))
  for (const make of [create, treeSource]) {
    const problems: unknown[] = []
    const origin = make(['.'], {
      directory: source,
      onEvent: event => event.type === 'problem' && problems.push(event.message),
    })
    for await (const _ of origin) {
      const { summary } = origin
      if (('tree' in summary ? summary.tree : summary).bytesRead > 0) break
    }
    const { summary } = origin
    const { bytesRead } = 'tree' in summary ? summary.tree : summary
    t.ok(bytesRead < 16 * MIB, `${make.name}: ${bytesRead} bytes`)
    t.same(problems, [], `${make.name}: nothing is wrong with a file that is not read to its end`)
  }
})
