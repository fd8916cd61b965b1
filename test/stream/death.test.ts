// Streams that die: whichever it is, whenever, nothing hangs, and nothing is left behind.
import * as fs from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { setImmediate, setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { create } from '../../src/create.js'
import { extract } from '../../src/extract.js'
import { list } from '../../src/list.js'
import { blockSplitter } from '../../src/stream/block-splitter.js'
import { crcDedup } from '../../src/stream/crc-dedup.js'
import { entrySource, type NewItem } from '../../src/stream/entry-source.js'
import { extentDecoder } from '../../src/stream/extent-decoder.js'
import { extentEncoder } from '../../src/stream/extent-encoder.js'
import { reflinkWriter } from '../../src/stream/reflink-writer.js'
import { treeSource } from '../../src/stream/tree-source.js'
import { archive, descriptorsAfter, MIB, noise, run, settledDescriptors } from '../support/trees.js'

const WATCHDOG = { timeout: 20_000 }

/** Anything that this process would die of. */
const crashes: unknown[] = []
process.on('unhandledRejection', error => crashes.push(error))
process.on('uncaughtException', error => crashes.push(error))

interface Stream extends NodeJS.EventEmitter {
  destroy(error?: Error): unknown
  write(chunk: unknown): boolean
  pipe(destination: unknown): unknown
  readonly destroyed: boolean
}

interface Scene {
  /** What there is to read: a tree, and its archive. */
  readonly source: string
  readonly file: string
  /** Where to write: a directory that holds one file, and a file that is not there yet. */
  readonly target: string
  readonly output: string
}

const PIPELINES: Record<string, (scene: Scene) => unknown[]> = {
  'create, to a file': ({ source, output }) => [
    create(['.'], { directory: source }),
    fs.createWriteStream(output),
  ],
  'the stages of create, to a file': ({ source, output }) => [
    treeSource(['.'], { directory: source }),
    blockSplitter(),
    crcDedup(),
    extentEncoder(),
    fs.createWriteStream(output),
  ],
  'a file, to extract': ({ file, target }) => [
    fs.createReadStream(file, { highWaterMark: 10_000 }),
    extract(target),
  ],
  'a file, to the stages of extract': ({ file, target }) => [
    fs.createReadStream(file, { highWaterMark: 100_000 }),
    extentDecoder(),
    reflinkWriter(target),
  ],
  'a tree, to a tree': ({ source, target }) => [
    treeSource(['.'], { directory: source }),
    reflinkWriter(target),
  ],
  'a file, to list, to anything': ({ file }) => [
    fs.createReadStream(file),
    list(),
    new PassThrough({ objectMode: true }).resume(),
  ],
  'create, to extract': ({ source, target }) => [
    create(['.'], { directory: source }),
    new PassThrough(),
    extract(target),
  ],
}

/** When to strike: after so many items, counted where they leave the stream that dies or enter the last. */
const MOMENTS = [0, 1, 2, 7, 20]

async function scene(t: Test): Promise<Scene> {
  const directory = t.testdir({ source: { sub: { deep: {} } }, target: { here: 'stays' } })
  const source = join(directory, 'source')
  for (let i = 0; i < 30; i++) fs.writeFileSync(join(source, `small${i}`), noise(3000, i))
  fs.writeFileSync(join(source, 'sub/big'), noise(3 * MIB, 'big'))
  fs.writeFileSync(join(source, 'sub/deep/odd'), noise(100_001, 'odd'))
  const file = join(directory, 'archive')
  fs.writeFileSync(file, (await archive(['.'], { directory: source })).bytes)
  return { source, file, target: join(directory, 'target'), output: join(directory, 'output') }
}

/** Calls `act` when `stream` is written to for the `count`th time; 0 is now. */
function onWrite(stream: Stream, count: number, act: () => void): void {
  const write = stream.write
  let seen = 0
  if (count === 0) act()
  stream.write = chunk => {
    if (++seen === count) queueMicrotask(act)
    return write.call(stream, chunk)
  }
}

function closed(stream: Stream): Promise<void> {
  return new Promise(resolve => {
    stream.once('close', resolve)
  })
}

/** Makes streams only to destroy them, and tells how many they are. */
async function destroyUnused(streams: readonly unknown[]): Promise<number> {
  const closes = (streams as Stream[]).map(closed)
  for (const stream of streams as Stream[]) stream.on('error', () => undefined).destroy()
  await Promise.all(closes)
  return streams.length
}

/** Takes away what was restored. */
function clear({ target }: Scene): void {
  for (const name of fs.readdirSync(target)) {
    if (name !== 'here') fs.rmSync(join(target, name), { recursive: true })
  }
}

async function checkNothingLeft(t: Test, { target }: Scene, before: number, what: string): Promise<void> {
  t.same(fs.readdirSync(target), ['here'], `${what}: nothing below the target`)
  t.equal(await descriptorsAfter(before), before, `${what}: no descriptor is left`)
  t.same(crashes.splice(0), [], `${what}: nothing that the process would die of`)
}

for (const [name, make] of Object.entries(PIPELINES)) {
  t.test(`${name}: whichever stream of a pipeline is destroyed, nothing is left`, WATCHDOG, async t => {
    const stage = await scene(t)
    await run(Readable.from(['warm']), fs.createWriteStream(stage.output))
    const before = await settledDescriptors()
    const count = await destroyUnused(make(stage))
    await checkNothingLeft(t, stage, before, 'destroyed unused')
    for (let victim = 0; victim < count; victim++) {
      for (const moment of MOMENTS) {
        for (const error of [undefined, new Error('killed')]) {
          const what = `stream ${victim} after ${moment}${error ? ', with an error' : ''}`
          const streams = make(stage) as Stream[]
          const closes = Promise.all(streams.map(closed))
          const piped = run(...streams).then(
            () => 'done',
            (cause: Error) => cause,
          )
          const where = streams[Math.min(victim + 1, count - 1)] as Stream
          let struck = false
          onWrite(where, moment, () => {
            struck = true
            ;(streams[victim] as Stream).destroy(error)
          })
          const result = await piped
          await closes
          if (result === 'done') {
            if (struck && victim === count - 1) t.fail(`${what}: done, though its last stream was destroyed`)
            clear(stage)
            continue
          }
          if (error) t.equal(result, error, `${what}: the error is told`)
          await checkNothingLeft(t, stage, before, what)
        }
      }
    }
  })

  t.test(`${name}: under plain pipe(), the death of a source reaches the end`, WATCHDOG, async t => {
    const stage = await scene(t)
    const before = await settledDescriptors()
    const count = await destroyUnused(make(stage))
    for (let victim = 0; victim < count - 1; victim++) {
      for (const moment of MOMENTS) {
        for (const error of [undefined, new Error('killed')]) {
          const what = `stream ${victim} after ${moment}${error ? ', with an error' : ''}`
          const streams = make(stage) as Stream[]
          const ours = !(streams.at(-1) instanceof fs.WriteStream || streams.at(-1) instanceof PassThrough)
          const errors = streams.map(stream => {
            const seen: Error[] = []
            stream.on('error', (cause: Error) => seen.push(cause))
            return seen
          })
          const last = streams.at(-1) as Stream
          const closes = Promise.all(streams.map(closed))
          // What lies before the stream that dies is nobody's under plain pipe().
          last.once('close', () => {
            for (const stream of streams) stream.destroy()
          })
          streams.slice(1).reduce((from, to) => from.pipe(to) as Stream, streams[0] as Stream)
          let finished = false
          let struck = false
          last.once('finish', () => {
            finished = true
          })
          onWrite(streams[victim + 1] as Stream, moment, () => {
            struck = true
            ;(streams[victim] as Stream).destroy(error)
          })
          if (!ours) {
            // A stream of node does not notice under plain pipe(): that is why ours look after themselves.
            await setTimeout(20)
            for (const stream of streams) stream.destroy()
          }
          await closes
          if (ours && struck && !finished) {
            const [told] = errors.at(-1) ?? []
            t.ok(told, `${what}: the sink has an error`)
            if (error) t.equal(told, error, `${what}: it is that of the source`)
            else if (told) t.match(told, { code: /^(ERR_STREAM_)?PREMATURE_CLOSE$/ }, `${what}: it says so`)
          }
          if (finished) clear(stage)
          await checkNothingLeft(t, stage, before, what)
        }
      }
    }
  })
}

t.test(
  'the moments of an end: whenever a stream is destroyed, all is there or nothing',
  WATCHDOG,
  async t => {
    const stage = await scene(t)
    const bytes = fs.readFileSync(stage.file)
    let whole = 0
    let none = 0
    const before = await settledDescriptors()
    for (let turns = 0; turns < 40; turns++) {
      const sink = extract(stage.target)
      const close = closed(sink as unknown as Stream)
      let failed = false
      sink.on('error', () => {
        failed = true
      })
      sink.end(bytes as unknown as string)
      for (let turn = 0; turn < turns; turn++) await setImmediate()
      sink.destroy(new Error('killed'))
      await close
      const names = fs.readdirSync(stage.target).sort()
      if (names.length === 1) none++
      else whole++
      t.notOk(
        names.some(name => name.startsWith('.reftar-')),
        `after ${turns} turns: no staging directory`,
      )
      t.ok(names.length === 1 || names.length === 32, `after ${turns} turns: all or nothing`)
      t.equal(failed, names.length === 1, `after ${turns} turns: an error if nothing is there, and only then`)
      clear(stage)
    }
    t.equal(await descriptorsAfter(before), before, 'no descriptor is left')
    t.ok(none > 0, 'some were too early')
    t.comment(`${none} nothing, ${whole} all`)
  },
)

t.test('a throw inside onEvent ends the stream with it', WATCHDOG, async t => {
  const stage = await scene(t)
  const before = await settledDescriptors()
  const error = new Error('from onEvent')
  const onEvent = () => {
    throw error
  }
  const items = [{ entry: { path: 'a' }, body: [noise(10)] }]
  const pipelines = {
    create: () => [create(['.'], { directory: stage.source, onEvent }), new PassThrough().resume()],
    extract: () => [fs.createReadStream(stage.file), extract(stage.target, { onEvent })],
    treeSource: () => [treeSource(['.'], { directory: stage.source, onEvent }), reflinkWriter(stage.target)],
    reflinkWriter: () => [
      treeSource(['.'], { directory: stage.source }),
      reflinkWriter(stage.target, { onEvent }),
    ],
    entrySource: () => [entrySource(items, { onEvent }), reflinkWriter(stage.target)],
  }
  for (const [name, make] of Object.entries(pipelines)) {
    const streams = make()
    const closes = Promise.all(streams.map(stream => closed(stream as unknown as Stream)))
    await t.rejects(run(...streams), error, name)
    await closes
    await checkNothingLeft(t, stage, before, name)
  }
})

t.test('a throw inside the items or the body of entrySource ends the stream with it', WATCHDOG, async t => {
  const stage = await scene(t)
  const before = await settledDescriptors()
  const error = new Error('from a generator')
  let returned = 0
  async function* failingItems(): AsyncGenerator<NewItem> {
    yield { entry: { path: 'a' }, body: [noise(10)] }
    throw error
  }
  async function* failingBody(): AsyncGenerator<Uint8Array> {
    yield noise(10_000)
    throw error
  }
  async function* items(): AsyncGenerator<NewItem> {
    try {
      yield { entry: { path: 'a' }, body: failingBody() }
      yield { entry: { path: 'b' } }
    } finally {
      returned++
    }
  }
  function dyingBody(): PassThrough {
    const body = new PassThrough()
    body.write(noise(10))
    setTimeout(5).then(() => body.destroy(error))
    return body
  }
  const sources = {
    items: () => entrySource(failingItems()),
    'a body': () => entrySource(items()),
    'a body of node': () => entrySource([{ entry: { path: 'a' }, body: dyingBody() }]),
  }
  for (const [name, make] of Object.entries(sources)) {
    const source = make()
    const sink = reflinkWriter(stage.target)
    const closes = Promise.all([source, sink].map(stream => closed(stream as unknown as Stream)))
    await t.rejects(run(source, blockSplitter(), sink), error, name)
    await closes
    await checkNothingLeft(t, stage, before, name)
  }
  t.equal(returned, 1, 'the items are told that nobody wants more of them')
})

t.test('entrySource can be destroyed while a body or the items give nothing', WATCHDOG, async t => {
  for (const what of ['body', 'items']) {
    const silent = new PassThrough({ objectMode: true })
    const items =
      what === 'body' ? [{ entry: { path: 'a' }, body: silent }] : (silent as AsyncIterable<NewItem>)
    const source = entrySource(items)
    const close = closed(source as unknown as Stream)
    source.resume()
    await setTimeout(5)
    source.destroy()
    await close
    t.ok(silent.destroyed, `the ${what} of a destroyed source is destroyed`)
  }
})

t.test('a body that is refused is destroyed', WATCHDOG, async t => {
  const directory = t.testdir({ file: 'content' })
  const body = fs.createReadStream(join(directory, 'file'))
  const close = closed(body as unknown as Stream)
  const source = entrySource([{ entry: { path: 'a', type: 'directory' }, body }])
  await t.rejects(run(source, new PassThrough({ objectMode: true }).resume()), { code: 'INVALID_ARGUMENT' })
  await close
})

t.test('leaving a for await loop ends the pipeline that feeds it', WATCHDOG, async t => {
  const stage = await scene(t)
  const before = await settledDescriptors()
  const input = fs.createReadStream(stage.file)
  const entries = list()
  const feeding = run(input, entries)
  for await (const _ of entries) break
  await t.rejects(feeding)
  await setTimeout(5)
  t.equal(await descriptorsAfter(before), before)
})

t.test('a source that is taken off with unpipe() may die', WATCHDOG, async t => {
  const stage = await scene(t)
  const bytes = fs.readFileSync(stage.file)
  const source = new PassThrough()
  const decoder = extentDecoder()
  source.pipe(decoder)
  source.write(bytes.subarray(0, 100))
  await setTimeout(5)
  source.unpipe(decoder)
  source.destroy()
  await setTimeout(5)
  decoder.end(bytes.subarray(100) as unknown as string)
  let last = ''
  for await (const record of decoder) last = record.kind
  t.equal(last, 'end')
})

t.test('nothing of all this crashed the process', WATCHDOG, async t => {
  await setTimeout(50)
  t.same(crashes, [])
})
