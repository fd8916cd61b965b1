// Entries that never were files.
import * as fs from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import {
  type ArchiveRecord,
  blockSplitter,
  entrySource,
  extentDecoder,
  extentEncoder,
  type NewItem,
  type ReftarEvent,
  reflinkWriter,
} from '../../src/index.js'
import { failure, noise, replay, run } from '../support/trees.js'

process.umask(0o022)

async function recordsOf(items: Iterable<NewItem> | AsyncIterable<NewItem>): Promise<ArchiveRecord[]> {
  const records: ArchiveRecord[] = []
  for await (const record of entrySource(items)) records.push(record)
  return records
}

/** Each entry as its ordinal, that of its parent, its type and its name. */
async function shown(...items: readonly NewItem[]): Promise<string[]> {
  return (await recordsOf(items)).flatMap(record =>
    record.kind === 'entry'
      ? [`${record.ordinal} in ${record.parent}: ${record.type} ${Buffer.from(record.name)}`]
      : [],
  )
}

t.test('names make a tree: parents that did not come are implied', async t => {
  t.same(
    await shown(
      { entry: { path: 'a/b/c' } },
      { entry: { path: 'a/b/d', type: 'directory', metadata: { mode: 0o700 } } },
      { entry: { path: 'a/b/d/e' } },
      { entry: { path: 'a/f' } },
      { entry: { path: Buffer.from([0x67, 0xff]) } },
    ),
    [
      '1 in 0: directory a',
      '2 in 1: directory b',
      '3 in 2: file c',
      '4 in 2: directory d',
      '5 in 4: file e',
      '6 in 1: file f',
      '7 in 0: file g\ufffd',
    ],
  )
  t.same(await shown({ entry: { path: '/a//b/' } }), ['1 in 0: directory a', '2 in 1: file b'])
  t.same(await shown(), [])
})

t.test('metadata passes as it is; what was not given is not there', async t => {
  const metadata = {
    mode: 0o4711,
    owner: { uid: 1, gid: 2, user: Buffer.from('ada') },
    modified: { seconds: -1, nanoseconds: 5 },
  }
  const records = await recordsOf([
    { entry: { path: 'a', metadata } },
    { entry: { path: 'l', type: 'symlink', metadata: { linkTarget: Buffer.from('a') } } },
    { entry: { path: 'z' } },
  ])
  t.same(
    records.flatMap(record => (record.kind === 'entry' ? [record.metadata] : [])),
    [metadata, { linkTarget: Buffer.from('a') }, {}],
  )
})

async function* slowly(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += 40_000) {
    await setTimeout(1)
    yield bytes.subarray(at, at + 40_000)
  }
}

t.test('a body is anything that gives bytes, of a length that nobody knows before', async t => {
  const bytes = noise(123_457)
  const file = join(t.testdir({}), 'file')
  fs.writeFileSync(file, bytes)
  const written = new PassThrough()
  setTimeout(5).then(() => written.end(bytes))
  const bodies = {
    'a file': fs.createReadStream(file),
    'a generator': slowly(bytes),
    'a list': [bytes.subarray(0, 1), bytes.subarray(1)],
    'a stream that is written to': written,
    'a web stream': Readable.toWeb(Readable.from(slowly(bytes))) as AsyncIterable<Uint8Array>,
    'another entry of bytes': Readable.from([bytes], { objectMode: false }).pipe(new PassThrough()),
  }
  const items = Object.entries(bodies).map(([path, body]) => ({ entry: { path }, body }))
  const events: ReftarEvent[] = []
  const source = entrySource(items, { onEvent: event => events.push(event) })
  const records: ArchiveRecord[] = []
  for await (const record of source) records.push(record)
  const files = replay(records)
  t.same([...files.keys()], Object.keys(bodies))
  for (const [name, { bytes: found, state }] of files) {
    t.ok(found.equals(bytes), name)
    t.equal(state, 'whole')
  }
  t.same(source.summary, { entries: 6, files: 6, logicalBytes: 6 * 123_457 })
  t.same(
    events,
    items.map(({ entry }) => ({ type: 'entry', path: Buffer.from(entry.path), size: 123_457 })),
  )
})

t.test('a file without a body, with an empty one, and with one of empty pieces is empty', async t => {
  for (const body of [undefined, [], [new Uint8Array(), new Uint8Array()], Readable.from([])]) {
    const records = await recordsOf([{ entry: { path: 'a' }, ...(body && { body }) }])
    t.same(
      records.map(({ kind }) => kind),
      ['entry', 'end'],
    )
  }
})

t.test('hard links', async t => {
  const target = t.testdir({})
  const items: NewItem[] = [
    { entry: { path: 'd/first', linked: true, metadata: { mode: 0o640 } }, body: [noise(5000)] },
    { entry: { path: './d//second', type: 'hardlink', linkTo: '/d/./first' } },
    { entry: { path: 'third', type: 'hardlink', linkTo: Buffer.from('d/second') } },
    {
      entry: { path: 'u', type: 'symlink', linked: true, metadata: { linkTarget: Buffer.from('nowhere') } },
    },
    { entry: { path: 'v', type: 'hardlink', linkTo: 'u' } },
  ]
  await run(entrySource(items), blockSplitter(), extentEncoder(), extentDecoder(), reflinkWriter(target))
  const inode = (name: string) => fs.lstatSync(join(target, name)).ino
  t.same(
    ['d/second', 'third'].map(inode),
    [0, 1].map(() => inode('d/first')),
  )
  t.match(fs.statSync(join(target, 'third')), { nlink: 3, size: 5000, mode: 0o100640 })
  t.equal(inode('v'), inode('u'))
  t.equal(fs.readlinkSync(join(target, 'v')), 'nowhere')
})

t.test('a hard link to what is no earlier entry that is linked is refused', async t => {
  const items: Record<string, NewItem[]> = {
    'that is not linked': [{ entry: { path: 'a' } }],
    'that is not there': [],
    'that comes later': [
      { entry: { path: 'z', type: 'hardlink', linkTo: 'a' } },
      { entry: { path: 'a', linked: true } },
    ],
    itself: [],
  }
  for (const [what, before] of Object.entries(items)) {
    const linkTo = what === 'itself' ? 'z' : 'a'
    const error = await failure(recordsOf([...before, { entry: { path: 'z', type: 'hardlink', linkTo } }]))
    t.equal(error.code, 'INVALID_ARGUMENT', what)
    t.equal(error.message, `'z' is a hard link to '${linkTo}', expected an earlier entry that is linked`)
    t.equal(Buffer.from(error.path ?? []).toString(), 'z')
  }
})

t.test('an item that cannot be an entry is refused', async t => {
  const cases: Record<string, NewItem> = {
    'no path': { entry: { path: '' } },
    'a path without a name': { entry: { path: '/' } },
    'a directory with a body': { entry: { path: 'a', type: 'directory' }, body: [noise(1)] },
    'a hard link with a body': {
      entry: { path: 'c', type: 'hardlink', linkTo: 'before' },
      body: [noise(1)],
    },
    'a body of text': { entry: { path: 'a' }, body: ['text'] as unknown as Uint8Array[] },
  }
  for (const [what, item] of Object.entries(cases)) {
    t.equal((await failure(recordsOf([{ entry: { path: 'before' } }, item]))).code, 'INVALID_ARGUMENT', what)
  }
})

t.test('what a body fails with ends the stream, and nothing is restored', async t => {
  const target = t.testdir({})
  const body = new Readable({ read: () => undefined })
  body.push(noise(100_000))
  setTimeout(5).then(() => body.destroy(new Error('the source died')))
  const items = [
    { entry: { path: 'a' }, body: [noise(10)] },
    { entry: { path: 'b' }, body },
  ]
  await t.rejects(run(entrySource(items), blockSplitter(), reflinkWriter(target)), /the source died/)
  t.same(fs.readdirSync(target), [])
})

t.test(
  'items come one after the other: the next one is asked for when the body before it was read',
  async t => {
    const order: string[] = []
    async function* body(name: string): AsyncGenerator<Uint8Array> {
      order.push(`${name} opened`)
      yield noise(10)
      order.push(`${name} read`)
    }
    function* items(): Generator<NewItem> {
      for (const path of ['a', 'b']) {
        order.push(path)
        yield { entry: { path }, body: body(path) }
      }
    }
    await recordsOf(items())
    t.same(order, ['a', 'a opened', 'a read', 'b', 'b opened', 'b read'])
  },
)

t.test('entries in any order make an archive that says so', async t => {
  const source = () => entrySource(['z', 'b/y', 'b/c', 'a'].map(path => ({ entry: { path } })))
  const paths = async (sorted: boolean) => {
    const decoder = extentDecoder()
    const names: string[] = []
    decoder.on('data', record => {
      const { kind, name } = record as unknown as { kind: string; name: Uint8Array }
      if (kind === 'entry') names.push(Buffer.from(name).toString())
    })
    await run(source(), blockSplitter(), extentEncoder({ sorted }), decoder)
    return names
  }
  t.same(await paths(false), ['z', 'b', 'y', 'c', 'a'])
  t.equal((await failure(paths(true))).code, 'BAD_STRUCTURE')
})
