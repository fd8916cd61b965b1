// Trees that never shared come back sharing, and only what is equal does.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import type { ArchiveRecord } from '../src/record.js'
import { blockSplitter } from '../src/stream/block-splitter.js'
import { crcDedup } from '../src/stream/crc-dedup.js'
import { treeSource } from '../src/stream/tree-source.js'
import { compareTrees } from './support/compare-trees.js'
import { regularFiles, sharedBytes, storage } from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import { forgedPair } from './support/forge.js'
import { mapped } from './support/mapped.js'
import {
  archive,
  decoded,
  KIB,
  MIB,
  noise,
  overwrite,
  references,
  reflink,
  replay,
  restore,
  sourceAndTarget,
} from './support/trees.js'

const BLOCK = 4096

function storageOf(directory: string): number {
  execFileSync('sync', ['--file-system', directory])
  const files = regularFiles(directory).map(file => join(directory, file.toString()))
  return storage(files).unique
}

for (const name of ['btrfs', 'xfs'] satisfies FilesystemName[]) {
  t.test(`from ext4 to ${name}: what was equal shares`, async t => {
    const [ext4, directory] = [testDirectory(t, 'ext4'), testDirectory(t, name)]
    if (ext4 === undefined || directory === undefined) return
    const { source, target } = sourceAndTarget(ext4, directory)
    const template = noise(8 * MIB + 1234, name)
    const partly = Buffer.from(template)
    for (const block of [3, 700, 701, 1500]) noise(BLOCK, block).copy(partly, block * BLOCK)
    const moved = Buffer.concat([noise(40 * BLOCK, 'front'), template.subarray(MIB, 5 * MIB)])
    const contents: Record<string, Buffer> = {
      a: template,
      b: template,
      c: partly,
      d: moved,
      e: noise(MIB, 'other'),
    }
    for (const [file, bytes] of Object.entries(contents)) fs.writeFileSync(join(source, file), bytes)

    const { bytes, summary } = await archive(['.'], { directory: source })
    await restore(bytes, target)
    t.same(compareTrees(source, target), [])
    const unique = template.byteLength + 4 * BLOCK + 40 * BLOCK + MIB
    t.equal(summary.archive.dataBytes, unique, 'each block is stored once')
    t.ok(storageOf(target) <= 1.02 * (unique + BLOCK), `${storageOf(target)} bytes of storage for ${unique}`)
    t.equal(references(await decoded(bytes)).length, 1 + 4 + 1, 'one reference a run')
  })

  t.test(`the example of the first reftar on ${name}: four files of 1 MiB, three of them clones`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    fs.writeFileSync(join(source, '1'), noise(MIB))
    for (const copy of ['2', '3', '4']) reflink(join(source, '1'), join(source, copy))
    const { bytes } = await archive(['.'], { directory: source })
    t.ok(bytes.byteLength < MIB + 16 * KIB, `${bytes.byteLength} bytes of archive`)
    await restore(bytes, target)
    t.same(compareTrees(source, target), [])
    t.equal(storageOf(target), MIB, 'one file takes storage')
  })

  t.test(`copies give the archive that clones give, on ${name}`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source: clones, target: copies } = sourceAndTarget(directory)
    fs.writeFileSync(join(clones, 'a'), noise(4 * MIB))
    for (const file of ['b', 'c']) {
      reflink(join(clones, 'a'), join(clones, file))
      overwrite(join(clones, file), MIB, noise(32 * KIB, file))
    }
    execFileSync('cp', ['-a', '--reflink=never', `${clones}/.`, copies])
    const [shared, found] = [
      await archive(['.'], { directory: clones }),
      await archive(['.'], { directory: copies }),
    ]
    t.equal(found.summary.archive.dataBytes, shared.summary.archive.dataBytes)
    t.ok(found.bytes.byteLength <= 1.02 * shared.bytes.byteLength)
    t.ok(shared.summary.tree.sharedBytes > 0 && found.summary.tree.sharedBytes === 0, 'for two reasons')
  })
}

t.test('equal content does not get between those that share', async t => {
  for (const [from, to] of [
    ['xfs', 'xfs'],
    ['xfs', 'btrfs'],
    ['xfs-16k', 'xfs-16k'],
  ] satisfies [FilesystemName, FilesystemName][]) {
    const [directory, other] = [testDirectory(t, from), testDirectory(t, to)]
    if (directory === undefined || other === undefined) return
    const { source, target } = sourceAndTarget(directory, other)
    const first = noise(MIB, 'first')
    const mixed = noise(MIB, 'mixed')
    for (let at = 4 * KIB; at < MIB; at += 16 * KIB) first.copy(mixed, at, at, at + 4 * KIB)
    fs.writeFileSync(join(source, 'a'), first)
    fs.writeFileSync(join(source, 'b'), first)
    fs.writeFileSync(join(source, 'c'), mixed)
    reflink(join(source, 'b'), join(source, 'b-clone'))
    reflink(join(source, 'c'), join(source, 'c-clone'))
    const { bytes } = await archive(['.'], { directory: source })
    for (const how of ['auto', 'exact'] as const) {
      const out = join(target, how)
      fs.mkdirSync(out)
      await restore(bytes, out, { reflink: how })
      t.same(compareTrees(source, out), [])
      for (const name of ['b', 'c']) {
        t.equal(
          sharedBytes(join(out, name), join(out, `${name}-clone`)),
          MIB,
          `${name} from ${from} to ${to}, ${how}`,
        )
      }
    }
    t.equal(sharedBytes(join(target, 'exact/a'), join(target, 'exact/b')), 0, 'and exact adds none')
  }
})

t.test('what is stored once is for the user to say', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'a'), noise(MIB))
  reflink(join(source, 'a'), join(source, 'b'))
  fs.writeFileSync(join(source, 'c'), noise(MIB))
  const stored: Record<string, number> = {}
  for (const dedup of ['content', 'shared', 'none'] as const) {
    const { bytes, summary } = await archive(['.'], { directory: source, dedup })
    stored[dedup] = summary.archive.dataBytes / MIB
    const out = join(target, dedup)
    fs.mkdirSync(out)
    await restore(bytes, out)
    t.same(compareTrees(source, out), [])
  }
  t.same(stored, { content: 1, shared: 2, none: 3 })
})

t.test('files whose blocks differ under equal hashes', async t => {
  for (const name of ['ext4', 'xfs', 'tmpfs'] satisfies FilesystemName[]) {
    const directory = testDirectory(t, name)
    if (directory === undefined) continue
    const { source, target } = sourceAndTarget(directory)
    const [a, b] = await forgedPair(BLOCK)
    fs.writeFileSync(join(source, 'a'), Buffer.concat([noise(BLOCK, 1), a, noise(BLOCK, 2)]))
    fs.writeFileSync(join(source, 'b'), Buffer.concat([noise(BLOCK, 1), b, noise(BLOCK, 2)]))
    fs.writeFileSync(join(source, 'between'), noise(12 * MIB))
    fs.writeFileSync(join(source, 'c'), Buffer.concat([noise(BLOCK, 1), b, noise(BLOCK, 2), a]))
    const { bytes } = await archive(['.'], { directory: source })
    await restore(bytes, target)
    t.same(compareTrees(source, target), [], name)
  }
})

t.test('a file that changes after it was read, in every way, proves nothing', async t => {
  const [a, b] = await forgedPair(BLOCK)
  const changes: Record<string, (file: string, store: () => void) => void> = {
    'written to': file => overwrite(file, 0, b),
    replaced: file => {
      fs.writeFileSync(`${file}.new`, b)
      fs.renameSync(`${file}.new`, file)
    },
    removed: file => fs.rmSync(file),
    'truncated and filled': file => fs.writeFileSync(file, b),
    'stored to through a mapping that was dirty': (_, store) => store(),
  }
  for (const name of ['ext4', 'btrfs', 'xfs', 'tmpfs'] satisfies FilesystemName[]) {
    for (const [what, change] of Object.entries(changes)) {
      const directory = testDirectory(t, name)
      if (directory === undefined) continue
      const first = join(directory, '1')
      fs.writeFileSync(first, a)
      fs.writeFileSync(join(directory, '2'), noise(12 * MIB))
      fs.writeFileSync(join(directory, '3'), b)
      const memory = mapped(first)
      memory.store(0, a[0] as number)
      const store = () => {
        for (const [i, byte] of b.entries()) if (byte !== a[i]) memory.store(i, byte)
      }
      const records: ArchiveRecord[] = []
      const dedup = crcDedup()
      const read = treeSource(['.'], { directory }) as AsyncIterable<ArchiveRecord>
      const changing = async function* (): AsyncGenerator<ArchiveRecord> {
        let files = 0
        for await (const record of read) {
          if (record.kind === 'end' && ++files === 1) change(first, store)
          yield record
        }
      }
      const out = Readable.from(changing()).pipe(blockSplitter()).pipe(dedup)
      for await (const record of out) records.push(record as unknown as ArchiveRecord)
      memory.close()
      const files = replay(records)
      t.ok(files.get('1')?.bytes.equals(a) && files.get('3')?.bytes.equals(b), `${what} on ${name}`)
      t.equal(dedup.summary.duplicateBytes, 0, 'nothing is referred to')
    }
  }
})
