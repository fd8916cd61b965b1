// Archives that share storage with what they were made of, and files that share it with the archive they came from.
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import t, { type Test } from 'tap'
import { FIXTURES } from '../fixtures/generate.js'
import {
  type ArchiveFileOptions,
  type ArchiveRecord,
  archiveFile,
  archiveSource,
  blockSplitter,
  type CreateOptions,
  crcDedup,
  extentDecoder,
  ReftarError,
  reflinkWriter,
  type SizedSource,
  treeSource,
} from '../src/index.js'
import { reftar } from './cli/run.js'
import { compareTrees } from './support/compare-trees.js'
import { encodedExtents, fiemap, sharedBytes } from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import { injected, loggedCalls } from './support/injected.js'
import { mapped } from './support/mapped.js'
import { FS_NOCOW_FL, setInodeFlags, withFile } from './support/system-calls.js'
import {
  archive,
  decoded,
  descriptorsAfter,
  KIB,
  MIB,
  namesBelow,
  noise,
  overwrite,
  reflink,
  replay,
  run,
  settledDescriptors,
  sourceAndTarget,
  sparse,
  text,
} from './support/trees.js'

process.umask(0o022)
t.setTimeout(240_000)

const BLOCK = 4 * KIB
/** Of the files of fill(): what is in whole blocks, in stretches long enough to be cloned. */
const LARGE = 6 * MIB + 5 * BLOCK
const CLONABLE = LARGE + 64 * KIB + 32 * KIB

/** On btrfs, small files are not cloned out of an archive. */
function restorable(name: FilesystemName): number {
  return name === 'btrfs' ? LARGE : CLONABLE
}

function fill(source: string): void {
  fs.mkdirSync(join(source, 'directory'))
  fs.writeFileSync(join(source, 'directory/large'), noise(LARGE + 1234, 'large'))
  reflink(join(source, 'directory/large'), join(source, 'clone'))
  fs.writeFileSync(join(source, 'one-block'), noise(BLOCK, 'one'))
  fs.writeFileSync(join(source, 'small'), noise(700, 'small'))
  fs.writeFileSync(join(source, 'middle'), noise(64 * KIB, 'middle'))
  sparse(join(source, 'sparse'), 2 * MIB, [512 * KIB, noise(32 * KIB, 'sparse')])
  fs.writeFileSync(join(source, 'copy'), noise(64 * KIB, 'middle'))
  fs.symlinkSync('small', join(source, 'symlink'))
}

interface Made {
  readonly bytes: Buffer
  readonly zeroCopyBytes: number
}

/** Archives by the stages; `act` runs once, when the first record comes by for which `when` holds. */
async function make(
  source: string,
  file: string,
  options: ArchiveFileOptions & CreateOptions = {},
  when: (record: ArchiveRecord, entry: string) => boolean = () => false,
  act: () => void = () => undefined,
): Promise<Made> {
  let hasActed = false
  async function* acting(records: AsyncIterable<ArchiveRecord>) {
    let entry = ''
    for await (const record of records) {
      if (record.kind === 'entry') entry = Buffer.from(record.name).toString()
      if (!hasActed && when(record, entry)) {
        hasActed = true
        act()
      }
      yield record
    }
  }
  const target = archiveFile(file, options)
  const tree = treeSource(['.'], { directory: source, skip: target.files })
  await run(tree, blockSplitter(options), crcDedup(options), acting, target)
  const bytes = fs.readFileSync(file)
  if (target.summary.archiveBytes !== bytes.byteLength) throw new Error('the summary counts other bytes')
  return { bytes, zeroCopyBytes: target.summary.zeroCopyBytes }
}

/** Restores by the stages. */
async function take(file: string, target: string): Promise<{ zeroCopyBytes: number; writtenBytes: number }> {
  const writer = reflinkWriter(target)
  await run(archiveSource(file), writer)
  return writer.summary
}

/** What a filesystem has in use, in bytes, once it has come to rest. */
function used(directory: string): number {
  const fd = fs.openSync(directory, 'r')
  fs.fsyncSync(fd)
  fs.closeSync(fd)
  const { blocks, bfree, bsize } = fs.statfsSync(directory)
  return (blocks - bfree) * bsize
}

for (const name of ['btrfs', 'xfs', 'xfs-1k'] as const) {
  t.test(
    `${name}: an archive shares the storage of its source, and what is restored that of the archive`,
    async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source, target } = sourceAndTarget(directory)
      fill(source)
      const piped = await archive(['.'], { directory: source })
      const file = join(directory, 'archive')
      const made = await make(source, file)
      t.ok(made.bytes.equals(piped.bytes), 'the same bytes as through a pipe')
      t.equal(made.zeroCopyBytes, CLONABLE)
      t.equal(sharedBytes(join(source, 'directory/large'), file), LARGE, 'the blocks of a file')
      t.equal(sharedBytes(join(source, 'copy'), file), 64 * KIB)
      t.equal(sharedBytes(join(source, 'sparse'), file), 32 * KIB)
      t.equal(sharedBytes(join(source, 'one-block'), file), 0, 'a single block is written')

      const restored = await take(file, target)
      t.same(compareTrees(source, target), [])
      t.equal(restored.zeroCopyBytes, restorable(name))
      t.equal(restored.writtenBytes, CLONABLE - restorable(name) + 1234 + BLOCK + 700)
      t.equal(sharedBytes(file, join(target, 'directory/large')), LARGE)
      t.equal(
        sharedBytes(join(target, 'clone'), join(target, 'directory/large')),
        sharedBytes(join(source, 'clone'), join(source, 'directory/large')),
      )
      t.equal(sharedBytes(join(target, 'copy'), join(target, 'middle')), 64 * KIB)
    },
  )
}

for (const name of ['btrfs', 'xfs'] as const) {
  t.test(`${name}: an archive takes next to no storage`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source } = sourceAndTarget(directory)
    fs.writeFileSync(join(source, 'large'), noise(32 * MIB, 'storage'))
    const { bytes } = await make(source, join(directory, 'archive'))
    const rows = fiemap(join(directory, 'archive'))
    const mappedBytes = rows.reduce((sum, { length }) => sum + length, 0)
    const own = mappedBytes - sharedBytes(join(source, 'large'), join(directory, 'archive'))
    t.ok(own < bytes.byteLength / 50, `${own} bytes of its own`)
    t.ok(used(directory) > 0)
  })
}

t.test('compressed extents of btrfs are shared as they are', async t => {
  const directory = testDirectory(t, 'btrfs-zstd')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'text'), text(2 * MIB))
  const piped = await archive(['.'], { directory: source })
  const file = join(directory, 'archive')
  const made = await make(source, file)
  t.ok(made.bytes.equals(piped.bytes), 'the same bytes as through a pipe')
  t.equal(made.zeroCopyBytes, 2 * MIB)
  const places = (path: string) => encodedExtents(path).map(({ physical }) => physical)
  const inSource = new Set(places(join(source, 'text')))
  t.ok(inSource.size > 0)
  t.ok(
    [...inSource].every(place => places(file).includes(place)),
    'in the archive',
  )
  await take(file, target)
  t.same(compareTrees(source, target), [])
  t.ok(
    places(join(target, 'text')).every(place => inSource.has(place)),
    'and in what is restored',
  )
})

const changes: Record<string, (file: string) => void> = {
  'is rewritten': file => fs.writeFileSync(file, noise(LARGE + 1234, 'later')),
  'is rewritten in one block': file => overwrite(file, 5 * MIB, noise(BLOCK, 'later')),
  'is rewritten, with its old modification time': file => {
    const { mtime, atime } = fs.statSync(file)
    overwrite(file, 0, noise(MIB, 'later'))
    fs.utimesSync(file, atime, mtime)
  },
  'is truncated': file => fs.truncateSync(file, 100),
  grows: file => fs.appendFileSync(file, 'more'),
  'is deleted': file => fs.rmSync(file),
  'is replaced': file => {
    fs.writeFileSync(`${file}.new`, noise(LARGE + 1234, 'later'))
    fs.renameSync(`${file}.new`, file)
  },
  'is replaced by a directory': file => {
    fs.rmSync(file)
    fs.mkdirSync(file)
  },
  'is stored into through memory': file => {
    const { size } = fs.statSync(file)
    const memory = mapped(file)
    for (let at = 0; at + 7 < size; at += 64 * KIB) memory.store(at + 7, 0x55)
    memory.close()
  },
}

for (const name of ['btrfs', 'xfs'] as const) {
  for (const [what, change] of Object.entries(changes)) {
    t.test(`${name}: a source that ${what} between reading and cloning`, async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source } = sourceAndTarget(directory)
      const [file, bytes] = [join(source, 'a'), noise(LARGE + 1234, what)]
      fs.writeFileSync(file, bytes)
      const isEnd = ({ kind }: ArchiveRecord) => kind === 'end'
      const made = await make(source, join(directory, 'archive'), {}, isEnd, () => change(file))
      const a = replay(await decoded(made.bytes)).get('a')
      t.equal(a?.state, 'whole')
      t.ok(a?.bytes.equals(bytes), 'what was read is archived')
      t.ok(made.zeroCopyBytes < LARGE, `${made.zeroCopyBytes} bytes were cloned before`)
    })

    t.test(`${name}: an archive that ${what} while it is extracted`, async t => {
      const directory = testDirectory(t, name)
      if (directory === undefined) return
      const { source, target } = sourceAndTarget(directory)
      // So small that all of it was read before the first record comes out.
      const bytes = noise(2 * MIB, what)
      fs.writeFileSync(join(source, 'a'), bytes)
      const file = join(directory, 'archive')
      await make(source, file)
      async function* acting(records: AsyncIterable<ArchiveRecord>) {
        for await (const record of records) {
          if (record.kind === 'data' && fs.existsSync(file)) change(file)
          yield record
        }
      }
      const writer = reflinkWriter(target)
      await run(archiveSource(file), acting, writer)
      t.ok(fs.readFileSync(join(target, 'a')).equals(bytes), 'what was checked is restored')
      t.equal(writer.summary.zeroCopyBytes, 0)
    })
  }
}

t.test('what cannot be cloned is written', async t => {
  const places: readonly [FilesystemName, FilesystemName, CreateOptions, number][] = [
    ['btrfs', 'xfs', {}, 0],
    ['xfs', 'btrfs', {}, 0],
    ['xfs', 'tmpfs', {}, 0],
    ['tmpfs', 'tmpfs', {}, 0],
    ['ext4', 'ext4', {}, 0],
    ['xfs-16k', 'xfs-16k', {}, 0],
    ['xfs-16k', 'xfs-16k', { blockSize: 16 * KIB }, 2 * MIB],
    ['xfs-16k', 'xfs-16k', { blockSize: 64 * KIB }, 2 * MIB],
    ['xfs', 'xfs', { blockSize: 512 }, -1],
    ['xfs', 'xfs', { blockSize: 65536 }, 2 * MIB],
    ['btrfs', 'btrfs', { blockSize: 8192 }, 2 * MIB],
  ]
  for (const [from, to, options, expected] of places) {
    const [there, here] = [testDirectory(t, from), testDirectory(t, to)]
    if (there === undefined || here === undefined) continue
    const { source, target } = sourceAndTarget(there, here)
    fs.writeFileSync(join(source, 'a'), noise(2 * MIB + 100, 'a'))
    const piped = await archive(['.'], { directory: source, ...options })
    const made = await make(source, join(here, 'archive'), options)
    const what = `${from} to ${to}, ${JSON.stringify(options)}`
    t.ok(made.bytes.equals(piped.bytes), what)
    if (expected >= 0) t.equal(made.zeroCopyBytes, expected, what)
    const { zeroCopyBytes } = await take(join(here, 'archive'), target)
    t.same(compareTrees(source, target), [], what)
    if (from === to && expected >= 0) t.equal(zeroCopyBytes, expected, what)
  }
})

t.test(
  'a file that is written in place is written, as there can be no clone of it in one that is not',
  async t => {
    const directory = testDirectory(t, 'btrfs')
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    const file = join(source, 'a')
    fs.writeFileSync(file, '')
    withFile(Buffer.from(file), fs.constants.O_RDONLY, fd => setInodeFlags(fd, FS_NOCOW_FL))
    fs.writeFileSync(file, noise(MIB, 'in place'))
    fs.writeFileSync(join(source, 'b'), noise(MIB, 'copied'))
    const piped = await archive(['.'], { directory: source })
    const made = await make(source, join(directory, 'archive'))
    t.ok(made.bytes.equals(piped.bytes))
    t.equal(made.zeroCopyBytes, MIB, 'the other one')
    const { zeroCopyBytes } = await take(join(directory, 'archive'), target)
    t.same(compareTrees(source, target), [])
    t.equal(zeroCopyBytes, MIB)
  },
)

t.test('stages may be put together in other ways', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fill(source)
  const file = join(directory, 'archive')
  const { bytes } = await make(source, file)

  await t.test('an archive of an archive', async t => {
    const copy = archiveFile(join(directory, 'copy'))
    await run(archiveSource(file), copy)
    t.ok(fs.readFileSync(join(directory, 'copy')).equals(bytes))
    // A block between two stretches goes with them.
    t.equal(copy.summary.zeroCopyBytes, CLONABLE + BLOCK)
    t.equal(sharedBytes(file, join(directory, 'copy')), CLONABLE + BLOCK)
  })
  await t.test('split and deduplicated once more', async t => {
    const copy = archiveFile(join(directory, 'split'), { blockSize: 16 * KIB })
    const options = { blockSize: 16 * KIB }
    await run(archiveSource(file), blockSplitter(options), crcDedup(options), copy)
    t.ok(copy.summary.zeroCopyBytes > 0)
    const replayed = replay(await decoded(fs.readFileSync(join(directory, 'split'))))
    t.ok(replayed.get('copy')?.bytes.equals(noise(64 * KIB, 'middle')))
    t.ok(replayed.get('large')?.bytes.equals(noise(LARGE + 1234, 'large')))
  })
  await t.test('a tree straight to a tree', async t => {
    const writer = reflinkWriter(target)
    await run(treeSource(['.'], { directory: source }), writer)
    t.same(compareTrees(source, target), [])
    t.ok(writer.summary.zeroCopyBytes >= 6 * MIB)
    t.ok(sharedBytes(join(source, 'directory/large'), join(target, 'directory/large')) >= 6 * MIB)
  })
  await t.test('a source that has no file', async t => {
    const place = join(directory, 'place')
    fs.mkdirSync(place)
    const memory: SizedSource = {
      size: bytes.byteLength,
      read: (offset, into) => into.set(bytes.subarray(offset, offset + into.byteLength)),
    }
    const writer = reflinkWriter(place)
    await run(archiveSource(memory), writer)
    t.same(compareTrees(source, place), [])
    t.equal(writer.summary.zeroCopyBytes, 0)
  })
  for (const options of [{ zeroCopy: false }, { reflink: 'exact' }, { reflink: 'never' }] as const) {
    await t.test(`not where it is not wanted: ${JSON.stringify(options)}`, async t => {
      const place = join(directory, JSON.stringify(options))
      fs.mkdirSync(place)
      const writer = reflinkWriter(place, options)
      await run(archiveSource(file), writer)
      t.same(compareTrees(source, place), [])
      t.equal(writer.summary.zeroCopyBytes, 0)
    })
  }
})

t.test('every vector is read as through a pipe', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const outcome = async (...streams: readonly unknown[]) => {
    const records: ArchiveRecord[] = []
    const collect = new Writable({
      objectMode: true,
      write(record: ArchiveRecord, _encoding, callback) {
        records.push(record)
        callback()
      },
    })
    const error = await run(...streams, collect).catch((thrown: unknown) => thrown)
    const code = error instanceof ReftarError ? `${error.code} ${error.message}` : error
    // Where a record comes from is all that may differ.
    return JSON.stringify(
      [records.map(record => ({ ...record, from: undefined })), code ?? null],
      (_, value) => (typeof value === 'bigint' ? `${value}` : value),
    )
  }
  let vectors = 0
  for (const kind of ['valid', 'invalid']) {
    for (const name of fs.readdirSync(join(FIXTURES, kind))) {
      if (!name.endsWith('.reftar')) continue
      const bytes = fs.readFileSync(join(FIXTURES, kind, name))
      const file = join(directory, 'vector')
      fs.writeFileSync(file, bytes)
      const piped = await outcome(Readable.from([bytes]), extentDecoder())
      const read = await outcome(archiveSource(file))
      vectors++
      t.ok(piped === read, `${name}: ${read.slice(-300)}, expected ${piped.slice(-300)}`)
    }
  }
  t.ok(vectors > 300, `${vectors} vectors`)
})

async function command(
  t: Test,
  name: FilesystemName,
): Promise<{ directory: string; source: string; target: string; file: string } | undefined> {
  const directory = testDirectory(t, name)
  if (directory === undefined) return undefined
  const places = sourceAndTarget(directory)
  fill(places.source)
  return { directory, ...places, file: join(directory, 'archive') }
}

for (const name of ['btrfs', 'xfs'] as const) {
  t.test(`${name}: the commands`, async t => {
    const places = await command(t, name)
    if (!places) return
    const { source, target, file } = places
    const { stdout: piped } = await reftar(['create', '-C', source, '.'])
    const summaryOf = (stdout: Buffer) => JSON.parse(stdout.toString().trim().split('\n').at(-1) ?? '')
    const plain = await reftar(['create', '--json', '--no-zero-copy', '-f', file, '-C', source, '.'])
    t.match(plain, { code: 0, stderr: '' })
    t.equal(summaryOf(plain.stdout).archive.zeroCopyBytes, 0)
    t.ok(fs.readFileSync(file).equals(piped), 'written')
    t.equal(sharedBytes(join(source, 'directory/large'), file), 0)
    const cloned = await reftar(['create', '--json', '-f', file, '-C', source, '.'])
    t.match(cloned, { code: 0, stderr: '' })
    t.equal(summaryOf(cloned.stdout).archive.zeroCopyBytes, CLONABLE)
    t.ok(fs.readFileSync(file).equals(piped), 'cloned')
    t.equal(sharedBytes(join(source, 'directory/large'), file), LARGE)

    const copied = await reftar(['extract', '--json', '--no-zero-copy', '-f', file, '-C', target])
    t.match(copied, { code: 0, stderr: '' })
    t.equal(summaryOf(copied.stdout).target.zeroCopyBytes, 0)
    t.same(compareTrees(source, target), [])
    fs.rmSync(target, { recursive: true })
    fs.mkdirSync(target)
    const taken = await reftar(['extract', '--json', '-f', file, '-C', target])
    t.match(taken, { code: 0, stderr: '' })
    t.equal(summaryOf(taken.stdout).target.zeroCopyBytes, restorable(name))
    t.same(compareTrees(source, target), [])
    t.equal(sharedBytes(file, join(target, 'directory/large')), LARGE)
  })

  t.test(`${name}: clones that fail`, async t => {
    const places = await command(t, name)
    if (!places) return
    const { directory, source, target, file } = places
    const { stdout: piped } = await reftar(['create', '-C', source, '.'])
    const create = ['create', '-f', file, '-C', source, '.']
    const extract = ['extract', '-f', file, '-C', target]
    const clonesOf = async (argv: readonly string[]) => {
      const { code, stderr, calls } = await loggedCalls(join(directory, 'log'), ['ioctl'], argv)
      t.equal(code, 0, stderr)
      return calls.filter(({ line }) => line.includes('FICLONERANGE')).map(({ when }) => when)
    }
    const whenMaking = await clonesOf(create)
    t.ok(whenMaking.length > 2)
    fs.rmSync(file)
    for (const error of ['EOPNOTSUPP', 'EINVAL', 'EXDEV', 'EPERM', 'ETXTBSY']) {
      const made = await injected('ioctl', `error=${error}`, whenMaking[1] ?? 0, create)
      t.match(made, { code: 0, stderr: '' }, error)
      t.ok(fs.readFileSync(file).equals(piped), error)
      fs.rmSync(file)
    }
    for (const error of ['EIO', 'ENOSPC', 'EDQUOT']) {
      const made = await injected('ioctl', `error=${error}`, whenMaking[1] ?? 0, create)
      t.match(
        made,
        { code: 2, stderr: new RegExp(`^reftar: '${file}': ioctl\\(FICLONERANGE\\): .*${error}`) },
        error,
      )
      t.notOk(
        namesBelow(directory).some(path => /archive|\.reftar-/.test(path)),
        `${error}: nothing is left`,
      )
    }
    t.match(await reftar(create), { code: 0, stderr: '' })
    const whenTaking = await clonesOf(extract)
    const empty = () => {
      fs.rmSync(target, { recursive: true })
      fs.mkdirSync(target)
    }
    for (const error of ['EOPNOTSUPP', 'EINVAL', 'EXDEV', 'EPERM', 'ETXTBSY']) {
      empty()
      t.match(
        await injected('ioctl', `error=${error}`, whenTaking[0] ?? 0, extract),
        { code: 0, stderr: '' },
        error,
      )
      t.same(compareTrees(source, target), [], error)
    }
    for (const error of ['EIO', 'ENOSPC', 'EDQUOT']) {
      empty()
      const taken = await injected('ioctl', `error=${error}`, whenTaking[0] ?? 0, extract)
      t.match(
        taken,
        { code: 2, stderr: new RegExp(`^reftar: '.*': ioctl\\(FICLONERANGE\\): .*${error}`) },
        error,
      )
      t.same(namesBelow(target), [], `${error}: nothing is left`)
    }
  })
}

t.test('a source that is rewritten while the command waits to clone it', async t => {
  const places = await command(t, 'btrfs')
  if (!places) return
  const { directory, source, target, file } = places
  const large = join(source, 'directory/large')
  const bytes = fs.readFileSync(large)
  const { calls } = await loggedCalls(
    join(directory, 'log'),
    ['ioctl'],
    ['create', '-f', file, '-C', source, '.'],
  )
  const when = calls.filter(({ line }) => line.includes('FICLONERANGE'))[1]?.when ?? 0
  fs.rmSync(file)
  const creating = injected('ioctl', 'delay_enter=3000000', when, ['create', '-f', file, '-C', source, '.'])
  // The first clone of the archive is there: the second waits.
  const isThere = () =>
    fs
      .readdirSync(directory)
      .some(name => name.startsWith('.reftar-part-') && fs.statSync(join(directory, name)).size > 4 * MIB)
  while (!isThere()) await new Promise(resolve => setTimeout(resolve, 10))
  await new Promise(resolve => setTimeout(resolve, 500))
  fs.writeFileSync(large, noise(bytes.byteLength, 'rewritten'))
  const { code, stderr } = await creating
  t.ok(code === 0 || /changed/.test(stderr), stderr)
  await reftar(['extract', '-f', file, '-C', target])
  t.ok(fs.readFileSync(join(target, 'clone')).equals(bytes), 'what was read is archived')
})

t.test('an archive that fails leaves nothing, not even a descriptor', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fill(source)
  const file = join(directory, 'archive')
  await make(source, file)
  const bytes = fs.readFileSync(file)
  const truncated = join(directory, 'truncated')
  fs.writeFileSync(truncated, bytes.subarray(0, bytes.byteLength - 1))
  await run(Readable.from(['warm']), fs.createWriteStream('/dev/null'))
  const before = await settledDescriptors()

  const after = async (what: string) => {
    t.equal(await descriptorsAfter(before), before, `${what}: no descriptor`)
    t.same(fs.readdirSync(directory).sort(), ['archive', 'source', 'target', 'truncated'], `${what}: no file`)
    t.ok(fs.readFileSync(file).equals(bytes), `${what}: what was there is there`)
    t.same(fs.readdirSync(target), [], `${what}: nothing restored`)
  }
  const isEnd = ({ kind }: ArchiveRecord, entry: string) => kind === 'end' && entry === 'large'
  const failing = () => {
    throw new Error('enough')
  }
  await t.rejects(make(source, file, {}, isEnd, failing), /enough/)
  await after('records that fail')
  const controller = new AbortController()
  const abort = () => controller.abort(new Error('enough'))
  await t.rejects(make(source, file, { signal: controller.signal }, isEnd, abort), /enough/)
  await after('a signal')
  await t.rejects(make(source, file, { onComplete: failing }), /enough/)
  await after('a last objection')
  await t.rejects(run(treeSource(['.'], { directory: source }), archiveFile(file)), {
    code: 'INVALID_ARGUMENT',
  })
  await after('records that no splitter has cut')
  await t.rejects(run(archiveSource(truncated), reflinkWriter(target)), { code: 'TRUNCATED' })
  await after('an archive without an end')
  const late = new AbortController()
  const stopping = async function* (records: AsyncIterable<ArchiveRecord>) {
    for await (const record of records) {
      if (record.kind === 'end') late.abort(new Error('enough'))
      yield record
    }
  }
  await t.rejects(run(archiveSource(file, { signal: late.signal }), stopping, reflinkWriter(target)))
  await after('an origin that is aborted')
})

t.test('names of archive files', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'a'), noise(64 * KIB, 'a'))
  const [place, link] = [join(source, 'archive'), join(directory, 'link')]
  fs.writeFileSync(place, 'old', { mode: 0o640 })
  fs.symlinkSync('source/archive', link)
  const { bytes } = await make(source, link, { fsync: true })
  t.ok(fs.lstatSync(link).isSymbolicLink(), 'a link stays')
  t.ok(fs.readFileSync(place).equals(bytes), 'and leads to the archive')
  t.equal(fs.statSync(place).mode & 0o777, 0o640)
  t.same([...replay(await decoded(bytes)).keys()], ['a'], 'which holds neither itself nor what it replaces')
  const refused = (path: string, message: RegExp) =>
    t.rejects(make(source, path), { code: 'INVALID_ARGUMENT', message })
  await refused(source, /'.*source' is a directory, expected an archive/)
  await refused('/dev/null', /'\/dev\/null' is not a regular file, expected an archive/)
  await t.rejects(make(source, join(directory, 'none/archive')), { code: 'SYSTEM_CALL', errno: 2 })
  const drained = (path: string) => run(archiveSource(path), reflinkWriter(directory))
  await t.rejects(drained(source), { code: 'INVALID_ARGUMENT', message: /is a directory/ })
  await t.rejects(drained('/dev/null'), { code: 'INVALID_ARGUMENT', message: /is not a regular file/ })
  await t.rejects(drained(join(directory, 'none')), { code: 'SYSTEM_CALL', errno: 2 })
})
