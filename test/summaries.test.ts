// What summaries count, against what the filesystem says, and what is said of it in the end.
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import { encode } from '../fixtures/recipes/encode.js'
import { create } from '../src/create.js'
import type { ArchiveRecord, Entry } from '../src/record.js'
import { entrySource } from '../src/stream/entry-source.js'
import { reflinkWriter } from '../src/stream/reflink-writer.js'
import { reftar, shell } from './cli/run.js'
import { FS_NOCOW_FL, setFlags } from './support/attributes.js'
import { regularFiles, sharedBytes, sharingKept, storage } from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import {
  archive,
  KIB,
  listed,
  MIB,
  noise,
  overwrite,
  reflink,
  restore,
  run,
  sourceAndTarget,
  sparse,
} from './support/trees.js'

process.umask(0o022)

const SIZE = MIB + 100

/** Clones of which one was changed, equal files that share nothing, and holes. */
function fill(source: string): void {
  const at = (name: string) => join(source, name)
  fs.writeFileSync(at('a'), noise(SIZE))
  for (const name of ['b', 'c']) reflink(at('a'), at(name))
  overwrite(at('b'), 256 * KIB, noise(64 * KIB, 'b'))
  for (const name of ['d', 'e']) fs.writeFileSync(at(name), noise(256 * KIB, 'd'))
  sparse(at('f'), 3 * MIB, [MIB, noise(8 * KIB, 'f')])
}

const DUPLICATE = 256 * KIB
const HOLES = 3 * MIB - 8 * KIB
const SHARED = SIZE + SIZE - 64 * KIB
const STORED = SIZE + 64 * KIB + 256 * KIB + 8 * KIB
const LOGICAL = STORED + SHARED + DUPLICATE + HOLES

const PAIRS: readonly [from: FilesystemName, to: FilesystemName, reason: string | undefined][] = [
  ['btrfs', 'btrfs', undefined],
  ['xfs', 'xfs', undefined],
  ['btrfs', 'xfs', undefined],
  ['xfs', 'btrfs', undefined],
  ['btrfs', 'ext4', 'EOPNOTSUPP'],
  ['xfs', 'tmpfs', 'EOPNOTSUPP'],
]

for (const [from, to, reason] of PAIRS) {
  t.test(`from ${from} to ${to}`, async t => {
    const sourceDirectory = testDirectory(t, from)
    const targetDirectory = testDirectory(t, to)
    if (sourceDirectory === undefined || targetDirectory === undefined) return
    const { source, target } = sourceAndTarget(sourceDirectory, targetDirectory)
    fill(source)
    const files = regularFiles(source)

    const { bytes, summary } = await archive(['.'], { directory: source })
    const { tree, dedup } = summary
    t.equal(tree.sharedBytes, SHARED, 'shared')
    t.equal(storage(files.map(name => join(source, String(name)))).shared, SHARED, 'as the filesystem has it')
    t.match(tree, { entries: 7, files: 6, logicalBytes: LOGICAL, holeBytes: HOLES, missingBytes: 0 })
    t.equal(tree.dataBytes, STORED + DUPLICATE)
    t.equal(dedup.duplicateBytes, DUPLICATE)
    const held = {
      archiveBytes: bytes.byteLength,
      logicalBytes: LOGICAL,
      dataBytes: STORED,
      sharedBytes: SHARED,
      duplicateBytes: DUPLICATE,
      holeBytes: HOLES,
      missingBytes: 0,
      ratio: LOGICAL / bytes.byteLength,
    }
    t.match(summary.archive, held)
    t.ok(summary.seconds > 0)

    const { summary: restored } = await restore(bytes, target)
    t.match(restored.archive, held)
    const { clones, refusedClones, ...made } = restored.target
    const kept = reason === undefined ? SHARED : 0
    const copied = reason === undefined ? 0 : SHARED + DUPLICATE
    t.match(made, {
      entries: 7,
      files: 6,
      logicalBytes: LOGICAL,
      writtenBytes: STORED,
      zeroCopyBytes: 0,
      clonedBytes: SHARED + DUPLICATE - copied,
      copiedBytes: copied,
      holeBytes: HOLES,
      sharedBytes: SHARED,
      keptBytes: kept,
      problems: 0,
    })
    t.same(made.copyReasons, reason === undefined ? {} : { [reason]: copied })
    t.same(made.lossReasons, reason === undefined ? {} : { [reason]: SHARED })
    t.same([clones > 0, refusedClones], [reason === undefined, reason === undefined ? 0 : 1], 'calls')
    if (to !== 'tmpfs') {
      t.same(sharingKept(source, target, files), { sourceShared: SHARED, keptShared: kept })
    }
    t.equal((await listed(bytes)).length, 7)
    t.ok(restored.seconds > 0)
  })
}

t.test('a call that is refused, and one that takes less', async t => {
  // XFS does not share a last block of which only a part is wanted.
  const sourceDirectory = testDirectory(t, 'btrfs')
  const targetDirectory = testDirectory(t, 'xfs')
  if (sourceDirectory === undefined || targetDirectory === undefined) return
  const { source, target } = sourceAndTarget(sourceDirectory, targetDirectory)
  fs.writeFileSync(join(source, 'a'), noise(64 * KIB))
  reflink(join(source, 'a'), join(source, 'b'))
  fs.truncateSync(join(source, 'b'), 40 * KIB + 100)
  const { bytes } = await archive(['.'], { directory: source })
  const { summary } = await restore(bytes, target)
  const { sharedBytes: wanted, keptBytes, lossReasons } = summary.target
  t.equal(wanted, 40 * KIB + 100)
  t.equal(keptBytes, sharedBytes(join(target, 'a'), join(target, 'b')))
  t.same(lossReasons, { 'not aligned': 100 })
})

t.test('a target that is written in place', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const place = (name: string) => {
    const target = join(directory, name)
    fs.mkdirSync(join(target, 'd'), { recursive: true })
    setFlags(join(target, 'd'), FS_NOCOW_FL)
    return target
  }
  const base = { kind: 'entry', linked: false, metadata: {} } as const
  const entries: Entry[] = [
    { ...base, ordinal: 1, parent: 0, name: Buffer.from('a'), type: 'file' },
    { ...base, ordinal: 2, parent: 0, name: Buffer.from('c'), type: 'file' },
    { ...base, ordinal: 3, parent: 0, name: Buffer.from('d'), type: 'directory' },
    { ...base, ordinal: 4, parent: 3, name: Buffer.from('b'), type: 'file' },
  ]
  const [a, c, d, b] = entries as [Entry, Entry, Entry, Entry]
  const end = { kind: 'end', state: 'whole' } as const
  const reference = { kind: 'reference', address: 0, length: MIB, origin: 'shared' } as const
  const bytes = noise(MIB)
  const data = { kind: 'data', bytes, mayBeShared: true } as const
  const records: ArchiveRecord[] = [a, data, end, c, reference, end, d, b, reference, end]

  const target = place('library')
  const sink = reflinkWriter(target)
  await run(Readable.from(records), sink)
  t.match(sink.summary, { clones: 1, refusedClones: 1, sharedBytes: 2 * MIB, keptBytes: MIB })
  t.same(sink.summary.copyReasons, { 'EINVAL (NOCOW)': MIB })
  t.same(sink.summary.lossReasons, { 'EINVAL (NOCOW)': MIB })
  t.equal(sharedBytes(join(target, 'a'), join(target, 'c')), MIB)
  t.equal(sharedBytes(join(target, 'a'), join(target, 'd/b')), 0)
  t.ok(fs.readFileSync(join(target, 'd/b')).equals(bytes))

  const stdin = await encode({ blockSize: 4096, sorted: true, payloadDigest: true }, records)
  const said = await reftar(['extract', '-C', place('command')], { stdin })
  t.match(said, {
    code: 0,
    stderr:
      'reftar: 1.0 of 2.0 MiB that were shared are shared again; 1.0 MiB copied: the target is NOCOW (EINVAL)\n',
  })
})

t.test('one line where sharing was lost, and none where it was not', async t => {
  const from = testDirectory(t, 'btrfs')
  const to = testDirectory(t, 'ext4')
  if (from === undefined || to === undefined) return
  const { source } = sourceAndTarget(from)
  fill(source)
  const { bytes } = await archive(['.'], { directory: source })
  const outputs: [directory: string, options: string[], stderr: string][] = [
    [from, [], ''],
    [from, ['--reflink=never'], ''],
    [
      to,
      [],
      'reftar: 0.0 of 1.9 MiB that were shared are shared again; 1.9 MiB copied: the target cannot clone (EOPNOTSUPP)\n',
    ],
    [to, ['--reflink=never'], ''],
  ]
  for (const [i, [directory, options, stderr]] of outputs.entries()) {
    const target = join(directory, `out-${i}`)
    fs.mkdirSync(target)
    const said = await reftar(['extract', '-C', target, ...options], { stdin: bytes })
    t.match(said, { code: 0, stderr })
    t.equal(said.stderr, stderr)
  }

  const verbose = join(from, 'verbose')
  fs.mkdirSync(verbose)
  const said = await reftar(['extract', '-v', '-C', verbose], { stdin: bytes })
  const [made, kept, size, ...more] = said.stderr.split('\n')
  t.match(
    made,
    /^reftar: 7 entries, [\d.]+ MiB: 1\.3 MiB written, 2\.2 MiB cloned in \d+ calls, 3\.0 MiB holes$/,
  )
  t.equal(kept, 'reftar: 1.9 of 1.9 MiB that were shared are shared again')
  t.match(size, /^reftar: archive 1\.\d MiB, ratio \d\.\d; \d+\.\d s$/)
  t.same(more, [''])

  const archived = await shell(`"$NODE" "$CLI" create -v -C ${source} . > ${join(from, 'archive')}`)
  const [read, written] = archived.stderr.split('\n').slice(-3)
  t.match(
    read,
    /^reftar: 7 entries, 6\.\d MiB: 1\.\d MiB read, 1\.3 MiB stored, 1\.9 MiB shared, 256\.0 KiB found equal, 3\.0 MiB holes$/,
  )
  t.match(written, /^reftar: archive 1\.\d MiB, ratio \d\.\d; \d+\.\d s$/)

  const verified = await reftar(['verify', '-v', '--against', source], { stdin: bytes })
  const lines = verified.stdout.toString().split('\n').slice(-5)
  t.match(
    lines[0],
    /^7 entries, 6\.\d MiB: 1\.3 MiB stored, 1\.9 MiB shared, 256\.0 KiB found equal, 3\.0 MiB holes$/,
  )
  t.match(lines[1], /^archive 1\.\d MiB, ratio/)
  t.same(lines.slice(2), ['no differences', 'sharing kept 100 % (1.9 of 1.9 MiB)', ''])
})

t.test('a summary is alive', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  fs.writeFileSync(join(directory, 'large'), noise(16 * MIB))
  const source = create(['large'], { directory })
  const seen: number[] = []
  for await (const _ of source) {
    const { tree, archive, seconds } = source.summary
    if (tree.files === 0) seen.push(tree.logicalBytes)
    t.ok(tree.logicalBytes >= archive.logicalBytes && seconds > 0)
  }
  t.ok(new Set(seen).size > 1, 'in the middle of a file')
  t.same(
    seen,
    [...seen].sort((a, b) => a - b),
    'it grows',
  )
  const { seconds } = source.summary
  await new Promise(resolve => setTimeout(resolve, 5))
  t.equal(source.summary.seconds, seconds, 'and stands still in the end')

  const body = [noise(MIB), noise(MIB)]
  const items = entrySource([{ entry: { path: 'a' }, body: Readable.from(body) }])
  const sizes: number[] = []
  for await (const record of items) if (record.kind === 'data') sizes.push(items.summary.logicalBytes)
  t.same(sizes, [MIB, 2 * MIB])
})
