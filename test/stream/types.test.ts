// What the types allow, and what they refuse, under the strictest options that users have.
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

const HEAD = `
import * as fs from 'node:fs'
import { Duplex, PassThrough, pipeline as pipelineWithCallback, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import {
  type ArchiveRecord, blockSplitter, crcDedup, create, type Data, type Entry, entrySource, extentDecoder, extentEncoder,
  extract, list, type ListedEntry, type NewItem, type Origin, ReftarError, type ReftarEvent, reflinkWriter, type Sink,
  type Stage, treeSource,
} from '../../src/index.js'
declare const error: ReftarError
declare const signal: AbortSignal
declare function take<T>(value: T): void
`

const OPTIONS: ts.CompilerOptions = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  noPropertyAccessFromIndexSignature: true,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  types: ['node'],
  skipLibCheck: true,
  noEmit: true,
}

const GOOD = {
  '2 stages': `
    await pipeline(create(['a'], { directory: 'b', signal }), extract(Buffer.from('c'), { reflink: 'exact' }))
    await pipeline(treeSource(['a']), reflinkWriter('b', { onEvent: event => take<string>(event.type) }))`,
  '3 stages': `
    await pipeline(create(['a']), createGzip(), fs.createWriteStream('b'))
    await pipeline(fs.createReadStream('a'), extentDecoder({ limits: { entries: 9 } }), reflinkWriter('b'))
    await pipeline(create(['a']), new PassThrough(), extract('b'), { signal })`,
  '4 stages': `
    await pipeline(treeSource(['a']), blockSplitter({ blockSize: 512 }), crcDedup({ blockSize: 512 }), reflinkWriter('b'))`,
  '5 stages': `
    await pipeline(entrySource([]), blockSplitter(), crcDedup(), extentEncoder({ sorted: false }), fs.createWriteStream('b'))
    pipelineWithCallback(treeSource(['a']), blockSplitter(), crcDedup(), extentEncoder(), extract('b'), error => take<Error | null>(error))`,
  'a function at the end gets what comes out of the stage before it': `
    const size: number = await pipeline(create(['a']), async chunks => {
      let sum = 0
      for await (const chunk of chunks) sum += chunk.byteLength
      return sum
    })
    await pipeline(fs.createReadStream('a'), list(), async entries => {
      for await (const listed of entries) take<ListedEntry>(listed)
    })
    await pipeline(treeSource(['a']), blockSplitter(), async records => {
      for await (const record of records) if (record.kind === 'data') take<Data>(record)
    })`,
  'a generator function in the middle': `
    async function* filesOnly(records: AsyncIterable<ArchiveRecord>): AsyncGenerator<ArchiveRecord> {
      for await (const record of records) if (record.kind !== 'entry' || record.type === 'file') yield record
    }
    await pipeline(treeSource(['a']), filesOnly, reflinkWriter('b'))
    await pipeline(treeSource(['a']), Duplex.from(filesOnly), blockSplitter(), extentEncoder(), extract('b'))`,
  'for await': `
    for await (const chunk of create(['a'])) take<Uint8Array>(chunk)
    for await (const record of treeSource(['a'])) take<ArchiveRecord>(record)
    for await (const record of entrySource([])) if (record.kind === 'entry') take<Entry>(record)
    for await (const listed of list()) take<ListedEntry>(listed)
    for await (const { path, size } of create(['a']).pipe(list())) take<number>(path.byteLength + size)
    for await (const chunk of treeSource(['a']).pipe(blockSplitter()).pipe(extentEncoder())) take<Uint8Array>(chunk)`,
  'names of the types of streams': `
    const from: Origin<Uint8Array, { readonly tree: { readonly files: number } }> = create(['a'])
    const through: Stage<ListedEntry, object> = list()
    const to: Sink<{ readonly target: { readonly clonedBytes: number } }> = extract('a')
    from.destroy(error)
    take<number>(from.summary.tree.files + to.summary.target.clonedBytes)
    take<AsyncIterable<ListedEntry>>(through)`,
  'bodies and metadata': `
    async function* body(): AsyncGenerator<Uint8Array> { yield Buffer.from('a') }
    const items: NewItem[] = [
      { entry: { path: 'a', metadata: { mode: 0o644, modified: { seconds: 1, nanoseconds: 0 } } }, body: body() },
      { entry: { path: Buffer.from('b') }, body: fs.createReadStream('b') },
      { entry: { path: 'c' }, body: Readable.from([Buffer.from('c')]) },
      { entry: { path: 'd', type: 'directory' } },
      { entry: { path: 'e', linked: true } },
      { entry: { path: 'f', type: 'hardlink', linkTo: 'e' } },
    ]
    entrySource(items)`,
  'every kind of record and of event': `
    function length(record: ArchiveRecord): number {
      switch (record.kind) {
        case 'entry': return record.name.byteLength
        case 'data': return record.crcs?.length ?? record.bytes.byteLength
        case 'hole': return record.preallocated ? record.length : 0
        case 'missing': return record.errno
        case 'reference': return record.origin === 'shared' ? record.address : record.length
        case 'end': return record.state === 'whole' ? 0 : 1
      }
    }
    function told(event: ReftarEvent): string {
      switch (event.type) {
        case 'entry': return String(event.path.byteLength + event.size)
        case 'problem': return event.code === 'SOURCE_CHANGED' ? event.message : ''
        case 'note': return event.message
      }
    }
    take([length, told])`,
}

/** What to write, and the error that it must give. */
const BAD: Record<string, readonly [source: string, message: RegExp]> = {
  'create gives no text': [`for await (const chunk of create(['a'])) chunk.trim()`, /'trim' does not exist/],
  'list gives no records': [
    `for await (const listed of create(['a']).pipe(list())) take(listed.kind)`,
    /'kind' does not exist/,
  ],
  'a function gets no text': [
    `await pipeline(create(['a']), async chunks => { for await (const chunk of chunks) take<string>(chunk) })`,
    /not assignable to parameter of type 'string'/,
  ],
  'a record has no bytes before its kind is known': [
    `for await (const record of treeSource(['a'])) take(record.bytes)`,
    /'bytes' does not exist/,
  ],
  'a sink gives nothing': [`for await (const _ of extract('a')) take(_)`, /Symbol.asyncIterator/],
  'a sink is no source': [`await pipeline(extract('a'), fs.createWriteStream('b'))`, /No overload matches/],
  'a source takes nothing': [
    `await pipeline(fs.createReadStream('a'), create(['b']))`,
    /No overload matches/,
  ],
  'a source is no target of pipe()': [`fs.createReadStream('a').pipe(treeSource(['b']))`, /not assignable/],
  'paths have to be given': ['create()', /Expected 1-2 arguments/],
  'an unknown way to reflink': [`extract('a', { reflink: 'maybe' })`, /not assignable to type 'Reflink/],
  'an unknown option': [`create(['a'], { blocksize: 512 })`, /'blocksize' does not exist/],
  'an unknown limit': [`list({ limits: { files: 1 } })`, /'files' does not exist/],
  'a block size of text': [`blockSplitter({ blockSize: '4096' })`, /not assignable to type 'number'/],
  'an unknown code': [`take(error.code === 'NO_SUCH_CODE')`, /have no overlap/],
  'a summary is for reading': ['blockSplitter().summary.blocks = 1', /read-only/],
  'and so is what is in it': [`create(['a']).summary.tree.files = 1`, /read-only/],
  'a summary of something else': [`take(create(['a']).summary.target)`, /'target' does not exist/],
  'a hard link to nothing': [
    `entrySource([{ entry: { path: 'a', type: 'hardlink' } }])`,
    /not assignable to type 'NewEntry'/,
  ],
  'a body of text': [`entrySource([{ entry: { path: 'a' }, body: ['text'] }])`, /'string' is not assignable/],
  'data that is text': [
    `take<Data>({ kind: 'data', bytes: 'text', mayBeShared: false })`,
    /not assignable to type 'Uint8Array/,
  ],
  'an unknown kind of record': [`take<ArchiveRecord>({ kind: 'chunk' })`, /'"chunk"' is not assignable/],
}

/** What the compiler has to say of each of some modules that lie here. */
function errorsOf(sources: Readonly<Record<string, string>>): Map<string, string[]> {
  const files = new Map(
    Object.entries(sources).map(([name, text], i) => [
      fileURLToPath(new URL(`module-${i}.ts`, import.meta.url)),
      { name, text: HEAD + text },
    ]),
  )
  const host = ts.createCompilerHost(OPTIONS)
  const { getSourceFile, fileExists, readFile } = host
  host.getSourceFile = (name, ...rest) => {
    const file = files.get(name)
    return file ? ts.createSourceFile(name, file.text, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest)
  }
  host.fileExists = name => files.has(name) || fileExists(name)
  host.readFile = name => files.get(name)?.text ?? readFile(name)
  const program = ts.createProgram([...files.keys()], OPTIONS, host)
  return new Map(
    Array.from(files, ([path, { name }]) => [
      name,
      ts
        .getPreEmitDiagnostics(program, program.getSourceFile(path))
        .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' ')),
    ]),
  )
}

const bad = Object.fromEntries(Object.entries(BAD).map(([name, [source]]) => [name, source]))
const errors = errorsOf({ ...GOOD, ...bad })

t.test('what should compile does', async t => {
  for (const name of Object.keys(GOOD)) t.same(errors.get(name), [], name)
})

t.test('what should not compile does not', async t => {
  for (const [name, [, message]] of Object.entries(BAD)) t.match(errors.get(name)?.join('; '), message, name)
})
