// What flows stays bounded, whatever its length, and leaves the event loop free.
import { once } from 'node:events'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  type ArchiveRecord,
  blockSplitter,
  crcDedup,
  create,
  type Data,
  entrySource,
  extentDecoder,
  extentEncoder,
  extract,
  list,
  type NewItem,
  reflinkWriter,
  treeSource,
} from '../../src/index.js'
import { data, fileEntry, pieces } from '../support/records.js'
import { archive, KIB, MIB, noise, run } from '../support/trees.js'

const WATCHDOG = { timeout: 60_000 }

/** A directory with files of 1 MiB. */
function tree(t: Test, mebibytes: number): string {
  const directory = t.testdir({})
  for (let i = 0; i < mebibytes; i++) fs.writeFileSync(join(directory, `file${i}`), noise(MIB, i))
  return directory
}

/** What a number becomes in the end. */
async function settled(value: () => number): Promise<number> {
  for (let last = value(), same = 0; ; last = value()) {
    await setTimeout(20)
    same = value() === last ? same + 1 : 0
    if (same === 10) return last
  }
}

/** Bytes that this process has read from files. */
function bytesReadByAll(): number {
  return Number(/^rchar: (\d+)$/m.exec(fs.readFileSync('/proc/self/io', 'latin1'))?.[1])
}

/** Takes what it gets until that is enough, and then nothing more. */
class Full extends Writable {
  taken = 0
  constructor(enough: number) {
    super({
      write: (chunk: Uint8Array, _, callback) => {
        this.taken += chunk.byteLength
        if (this.taken < enough) callback()
      },
    })
  }
}

const BOUND = 20 * MIB

t.test('create reads no further than its reader: many files', WATCHDOG, async t => {
  const ahead: number[] = []
  for (const mebibytes of [32, 64]) {
    const source = create(['.'], { directory: tree(t, mebibytes) })
    const { tree: summary } = source.summary
    const reader = source.pipe(new Full(6 * MIB))
    const read = await settled(() => summary.bytesRead)
    ahead.push(read - reader.taken)
    t.ok(
      reader.taken > 0 && read > 0,
      `${read} bytes of ${mebibytes} MiB were read, and ${reader.taken} taken`,
    )
    source.destroy()
    await once(source, 'close')
  }
  t.ok(
    ahead.every(bytes => bytes <= BOUND),
    `${ahead} bytes`,
  )
  const [single = 0, double = 0] = ahead
  t.ok(double <= single + 2 * MIB, 'no further in twice the data')
})

t.test('create reads no further than its reader: one file', WATCHDOG, async t => {
  for (const mebibytes of [32, 64]) {
    const directory = t.testdir({})
    fs.writeFileSync(join(directory, 'a'), noise(mebibytes * MIB))
    const source = create(['.'], { directory })
    const before = bytesReadByAll()
    const reader = source.pipe(new Full(6 * MIB))
    await settled(() => reader.taken)
    const read = bytesReadByAll() - before
    t.ok(read - reader.taken <= BOUND, `${read} bytes of ${mebibytes} MiB`)
    source.destroy()
    await once(source, 'close')
  }
})

t.test('extract takes in no more than it can write', WATCHDOG, async t => {
  for (const mebibytes of [32, 64]) {
    const { bytes } = await archive(['.'], { directory: tree(t, mebibytes) })
    const sink = extract(t.testdir({ target: {} }).concat('/target'))
    let most = 0
    function* source() {
      let given = 0
      for (const piece of pieces(bytes, 64 * KIB)) {
        most = Math.max(most, given - sink.summary.target.writtenBytes)
        given += piece.byteLength
        yield piece
      }
    }
    await run(Readable.from(source(), { objectMode: false }), sink)
    t.equal(sink.summary.target.writtenBytes, mebibytes * MIB)
    t.ok(most > 0 && most <= BOUND, `${most} bytes of ${mebibytes} MiB`)
  }
})

/** Writes until nobody takes it any more, and tells how many bytes that were. */
async function fill(stage: NodeJS.ReadWriteStream, input: Iterable<unknown>): Promise<number> {
  let written = 0
  for (const item of input) {
    const bytes = item instanceof Uint8Array ? item : (item as Partial<Data>).bytes
    written += bytes?.byteLength ?? 0
    if (stage.write(item as Uint8Array)) continue
    const drained = once(stage, 'drain').then(() => true)
    if (!(await Promise.race([drained, setTimeout(300, false)]))) return written
  }
  throw new Error('it takes all of it')
}

function* records(mebibytes: number, size: number): Generator<ArchiveRecord> {
  yield fileEntry('a', 1)
  for (let i = 0; i < (mebibytes * MIB) / size; i++) yield data(noise(size, i))
}

t.test('with nobody reading, a stage stops taking in', WATCHDOG, async t => {
  const { bytes } = await archive(['.'], { directory: tree(t, 64) })
  const stages: Record<string, () => [NodeJS.ReadWriteStream, Iterable<unknown>]> = {
    'blockSplitter, of blocks': () => [blockSplitter(), records(64, 64 * KIB)],
    'blockSplitter, of odd pieces': () => [blockSplitter(), records(64, 77_777)],
    crcDedup: () => [crcDedup(), records(64, 64 * KIB)],
    extentEncoder: () => [extentEncoder(), records(64, 64 * KIB)],
    'extentDecoder, of small chunks': () => [extentDecoder(), pieces(bytes, 64 * KIB)],
    'extentDecoder, of large chunks': () => [extentDecoder(), pieces(bytes, 3 * MIB)],
  }
  for (const [name, make] of Object.entries(stages)) {
    const [stage, input] = make()
    const written = await fill(stage, input)
    t.ok(written <= BOUND, `${name}: ${written} bytes`)
    ;(stage as unknown as Readable).destroy()
  }
})

t.test('a source makes no more than is asked for', WATCHDOG, async t => {
  let given = 0
  function* endless(): Generator<NewItem> {
    for (;;) yield { entry: { path: `${given++}` }, body: [noise(64 * KIB)] }
  }
  const source = entrySource(endless())
  source.once('data', () => source.pause())
  t.ok((await settled(() => given)) * 64 * KIB <= 4 * MIB, `${given} of ever so many entries`)
  source.destroy()

  const files = treeSource(['.'], { directory: tree(t, 32) })
  const pause = (record: unknown) => {
    if ((record as ArchiveRecord).kind === 'end') files.pause()
  }
  files.on('data', pause)
  const read = await settled(() => files.summary.bytesRead)
  t.ok(read > 0 && read <= 4 * MIB, `${read} bytes`)
  files.destroy()
  await once(files, 'close')
})

/** How often a timer fires meanwhile: at a time when the event loop turns. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let count = 0
  const timer = setInterval(() => count++, 1)
  await work()
  clearInterval(timer)
  return count
}

function drain(): Writable {
  return new Writable({ objectMode: true, write: (_chunk, _encoding, callback) => callback() })
}

t.test('timers fire while streams work, without anything that waits', WATCHDOG, async t => {
  const small = t.testdir({})
  for (let i = 0; i < 2000; i++) fs.writeFileSync(join(small, `file${i}`), noise(100, i))
  const { bytes } = await archive(['.'], { directory: small })
  const block = noise(64 * KIB)
  function* until(milliseconds: number): Generator<NewItem> {
    const end = performance.now() + milliseconds
    for (let i = 0; performance.now() < end; i++) yield { entry: { path: `${i}` }, body: [block] }
  }
  const made = (milliseconds: number) => entrySource(until(milliseconds))
  const target = () => fs.mkdtempSync(join(small, '../target-'))
  const works: Record<string, () => Promise<unknown>> = {
    'create, of small files': () => run(create(['.'], { directory: small }), drain()),
    'extract, of small files': () => run(Readable.from([bytes]), extract(target())),
    'list, of small files': () => run(Readable.from(pieces(bytes, 100)), list(), drain()),
    treeSource: () => run(treeSource(['.'], { directory: small }), drain()),
    'treeSource and reflinkWriter': () =>
      run(treeSource(['.'], { directory: small }), reflinkWriter(target())),
    entrySource: () => run(made(200), drain()),
    'entrySource and blockSplitter': () => run(made(200), blockSplitter({ blockSize: 512 }), drain()),
    'all that need no files': () =>
      run(
        made(300),
        blockSplitter(),
        crcDedup(),
        extentEncoder({ sorted: false }),
        extentDecoder(),
        blockSplitter({ blockSize: 512 }),
        drain(),
      ),
    'a large synchronous source': () => run(Readable.from(records(32, 4096)), blockSplitter(), drain()),
  }
  for (const [name, work] of Object.entries(works)) {
    const count = await turnsDuring(work)
    t.ok(count > 0, `${name}: ${count} turns`)
  }
})
