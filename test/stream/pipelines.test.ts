// The ways to connect streams: for await, node's pipeline with streams of others in it, and plain pipe().
import { once } from 'node:events'
import * as fs from 'node:fs'
import { join } from 'node:path'
import {
  Duplex,
  PassThrough,
  pipeline as pipelineWithCallback,
  Readable,
  Transform,
  Writable,
} from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { createGunzip, createGzip } from 'node:zlib'
import t from 'tap'
import {
  blockSplitter,
  crcDedup,
  create,
  entrySource,
  extentDecoder,
  extentEncoder,
  extract,
  list,
  type ReftarEvent,
  reflinkWriter,
  treeSource,
} from '../../src/index.js'
import { compareTrees } from '../support/compare-trees.js'
import { pieces } from '../support/records.js'
import {
  archive,
  descriptorsAfter,
  KIB,
  MIB,
  namesBelow,
  noise,
  settledDescriptors,
} from '../support/trees.js'

process.umask(0o022)

const WATCHDOG = { timeout: 60_000 }

/** Anything that this process would die of. */
const crashes: unknown[] = []
process.on('unhandledRejection', error => crashes.push(error))
process.on('uncaughtException', error => crashes.push(error))

const source = t.testdir({ d: { e: { f: 'f' } }, empty: '', link: t.fixture('symlink', 'd') })
for (let i = 0; i < 20; i++) fs.writeFileSync(join(source, `d/file${i}`), noise(64 * KIB + i, i))
fs.writeFileSync(join(source, 'large'), noise(5 * MIB + 5, 'large'))
const { bytes } = await archive(['.'], { directory: source })
/** The path of each entry: that of the source itself is empty. */
const PATHS = ['', ...namesBelow(source)]
const MISSING = join(source, 'no/such/place')
const tree = () => treeSource(['.'], { directory: source })
const input = () => Readable.from(pieces(bytes, 100_000), { objectMode: false })

t.test('for await takes all, and knows what it gets', WATCHDOG, async t => {
  const chunks: Uint8Array[] = []
  for await (const chunk of create(['.'], { directory: source })) chunks.push(chunk)
  t.ok(Buffer.concat(chunks).equals(bytes), 'create')
  const kinds = new Map<string, number>()
  for await (const { kind } of tree()) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  t.match(Object.fromEntries(kinds), { entry: PATHS.length, end: 23 }, 'treeSource')
  const paths: string[] = []
  for await (const { path } of input().pipe(list())) paths.push(Buffer.from(path).toString())
  t.same(paths.sort(), PATHS, 'list')
})

t.test('for await that ends in the middle closes all that is open', WATCHDOG, async t => {
  const before = await settledDescriptors()
  const streams: Record<string, () => AsyncIterable<unknown>> = {
    create: () => create(['.'], { directory: source }),
    treeSource: tree,
    'treeSource, with stages': () => tree().pipe(blockSplitter()).pipe(crcDedup()),
    'treeSource to bytes and back': () => tree().pipe(blockSplitter()).pipe(extentEncoder()).pipe(list()),
    entrySource: () => entrySource([1, 2, 3, 4].map(i => ({ entry: { path: `${i}` }, body: input() }))),
    list: () => input().pipe(list()),
  }
  for (const [name, make] of Object.entries(streams)) {
    for (const count of [1, 2, 5]) {
      const stream = make()
      const close = once(stream as unknown as Readable, 'close')
      let left = count
      for await (const _ of stream) if (--left === 0) break
      await close
      await setTimeout(5)
      t.equal(left, 0)
      t.equal(await descriptorsAfter(before), before, `${name}, after ${count}`)
      t.same(crashes.splice(0), [], 'nothing that the process would die of')
    }
  }
})

async function* identity(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) yield chunk
}

function transform(objectMode: boolean): Transform {
  return new Transform({ objectMode, transform: (chunk, _, callback) => callback(null, chunk) })
}

/** From a tree to a tree. */
const PIPELINES: Record<string, (target: string) => unknown[]> = {
  '2 stages of create and extract': target => [create(['.'], { directory: source }), extract(target)],
  '2 stages of records': target => [tree(), reflinkWriter(target)],
  '3, with a PassThrough': target => [
    create(['.'], { directory: source }),
    new PassThrough(),
    extract(target),
  ],
  '3 of Readable.from': target => [input(), extentDecoder(), reflinkWriter(target)],
  '4, with gzip and gunzip': target => [
    create(['.'], { directory: source }),
    createGzip({ level: 1 }),
    createGunzip(),
    extract(target),
  ],
  '3, with a generator function': target => [create(['.'], { directory: source }), identity, extract(target)],
  '3, with a Duplex of a generator': target => [
    create(['.'], { directory: source }),
    Duplex.from(identity),
    extract(target),
  ],
  '5, with a Transform of bytes': target => [
    tree(),
    blockSplitter(),
    extentEncoder(),
    transform(false),
    extract(target),
  ],
  '5, with a Transform of records': target => [
    tree(),
    transform(true),
    blockSplitter(),
    new PassThrough({ objectMode: true, highWaterMark: 1 }),
    reflinkWriter(target),
  ],
  '6, all stages': target => [
    tree(),
    blockSplitter(),
    crcDedup(),
    extentEncoder(),
    extentDecoder(),
    reflinkWriter(target),
  ],
}

for (const [name, make] of Object.entries(PIPELINES)) {
  t.test(`pipelines: ${name}`, WATCHDOG, async t => {
    const ways: Record<string, (streams: unknown[]) => Promise<unknown>> = {
      promise: streams => pipeline(streams as [Readable, Writable]),
      callback: streams =>
        new Promise((resolve, reject) => {
          pipelineWithCallback(streams as unknown as [Readable, Writable], error =>
            error ? reject(error) : resolve(undefined),
          )
        }),
      // Plain pipe() knows no functions.
      'pipe()': streams => {
        const all = streams.map(stream => (typeof stream === 'function' ? Duplex.from(identity) : stream))
        const last = (all as Duplex[]).reduce((from, to) => from.pipe(to))
        return once(last, 'finish')
      },
    }
    for (const [way, connect] of Object.entries(ways)) {
      const target = t.testdir({})
      await connect(make(target))
      t.same(compareTrees(source, target), [], way)
    }
    t.same(crashes.splice(0), [], 'nothing that the process would die of')
  })
}

t.test('a function ends a pipeline, and what it returns comes of it', WATCHDOG, async t => {
  const size = await pipeline(create(['.'], { directory: source }), async chunks => {
    let sum = 0
    for await (const chunk of chunks) sum += chunk.byteLength
    return sum
  })
  t.equal(size, bytes.byteLength)
  const paths = await pipeline(input(), list(), async entries => {
    const all: string[] = []
    for await (const { path } of entries) all.push(Buffer.from(path).toString())
    return all
  })
  t.same(paths.sort(), PATHS)
  const first = await pipeline(tree(), async records => {
    for await (const { kind } of records) return kind
    return undefined
  })
  t.equal(first, 'entry', 'it need not take all')
  await t.rejects(
    pipeline(tree(), async records => {
      for await (const _ of records) throw new Error('enough')
    }),
    /enough/,
  )
  t.same(crashes.splice(0), [])
})

t.test('summaries are final when a stream has finished', WATCHDOG, async t => {
  const target = t.testdir({})
  const from = create(['.'], { directory: source })
  const names = list()
  const to = extract(target)
  const atEnd: unknown[] = []
  const keep = (stream: { summary: object }) => () => atEnd.push(JSON.stringify(stream.summary))
  from.once('end', keep(from))
  names.once('finish', keep(names))
  to.once('finish', keep(to))
  to.once('finish', () => t.same(namesBelow(target), PATHS.slice(1), 'and then all is there'))
  const archiveBytes = new PassThrough()
  from.pipe(archiveBytes)
  archiveBytes.pipe(names).resume()
  await Promise.all([pipeline(archiveBytes, to), finished(names)])
  t.same(atEnd.sort(), [from, names, to].map(({ summary }) => JSON.stringify(summary)).sort())
  t.match(from.summary, {
    tree: { entries: PATHS.length, files: 23 },
    archive: { archiveBytes: bytes.byteLength },
  })
  t.match(names.summary, { entries: PATHS.length, archiveBytes: bytes.byteLength })
  t.match(to.summary, { archive: { entries: PATHS.length }, target: { entries: PATHS.length, files: 23 } })
})

t.test('onEvent tells each entry once, with its size', WATCHDOG, async t => {
  const seen: [path: string, size: number][] = []
  const onEvent = (event: ReftarEvent) => {
    if (event.type === 'entry') seen.push([Buffer.from(event.path).toString(), event.size])
    else t.fail(JSON.stringify(event))
  }
  const size = (path: string) => {
    const stat = fs.lstatSync(join(source, path))
    return stat.isFile() ? stat.size : 0
  }
  const discard = () => new Writable({ objectMode: true, write: (_, _encoding, callback) => callback() })
  const works: Record<string, () => Promise<void>> = {
    create: () => pipeline(create(['.'], { directory: source, onEvent }), discard()),
    treeSource: () => pipeline(treeSource(['.'], { directory: source, onEvent }), discard()),
    extract: () => pipeline(input(), extract(t.testdir({}), { onEvent })),
    reflinkWriter: () => pipeline(tree(), reflinkWriter(t.testdir({}), { onEvent })),
  }
  for (const [name, work] of Object.entries(works)) {
    await work()
    const told = seen.splice(0).filter(([path]) => path !== '')
    t.same(
      told.sort(),
      PATHS.slice(1)
        .map(path => [path, size(path)])
        .sort(),
      name,
    )
  }
})

t.test('under plain pipe() a destination tells its error, and its source does not', WATCHDOG, async t => {
  type Ends = [from: NodeJS.ReadableStream & { destroy(): unknown }, to: NodeJS.WritableStream]
  const before = await settledDescriptors()
  const cases: Record<string, () => Ends> = {
    'a file that cannot be': () => [create(['.'], { directory: source }), fs.createWriteStream(MISSING)],
    'a target that cannot be': () => [tree(), reflinkWriter(MISSING)],
    'a stage that refuses': () => [tree(), extentEncoder()],
    'an archive that is refused': () => [
      create(['.'], { directory: source }),
      extentDecoder({ limits: { entries: 2 } }),
    ],
  }
  for (const [name, make] of Object.entries(cases)) {
    const [from, to] = make()
    const told: Error[] = []
    to.on('error', error => told.push(error))
    const closes = [from, to].map(stream => new Promise<void>(resolve => void stream.once('close', resolve)))
    from.pipe(to)
    await Promise.all(closes)
    await setTimeout(5)
    t.equal(told.length, 1, name)
    t.same(crashes.splice(0), [], `${name}: nothing that the process would die of`)
    t.equal(await descriptorsAfter(before), before, `${name}: no descriptor is left`)
  }
})

t.test('an error that nobody listens to is not lost', WATCHDOG, async t => {
  create(['.'], { directory: source }).pipe(fs.createWriteStream(MISSING))
  while (crashes.length === 0) await setTimeout(1)
  t.match(crashes.splice(0), [{ code: 'ENOENT' }])
  tree().pipe(reflinkWriter(MISSING))
  while (crashes.length === 0) await setTimeout(1)
  await setTimeout(5)
  t.match(crashes, [{ code: 'SYSTEM_CALL' }])
})
