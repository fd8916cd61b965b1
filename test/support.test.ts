import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compareTrees } from './support/compare-trees.js'
import {
  cloneRange,
  encodedExtents,
  FIEMAP_EXTENT_DATA_INLINE,
  FIEMAP_EXTENT_LAST,
  FIEMAP_EXTENT_SHARED,
  FIEMAP_EXTENT_UNWRITTEN,
  fiemap,
  regularFiles,
  sharedBytes,
  sharingKept,
  storage,
} from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'

const MIB = 1024 * 1024

// Some differences show permissions.
process.umask(0o022)

function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = length + 1
  for (let at = 0; at + 4 <= length; at += 4) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9
    bytes.writeInt32LE(state | 0, at)
  }
  return bytes
}

function reflink(from: string, to: string): void {
  execFileSync('cp', ['--reflink=always', '--', from, to])
}

function plainCopy(from: string, to: string): void {
  execFileSync('cp', ['--reflink=never', '--', from, to])
}

function overwrite(file: string, position: number, bytes: Buffer): void {
  const fd = fs.openSync(file, 'r+')
  fs.writeSync(fd, bytes, 0, bytes.length, position)
  fs.fsyncSync(fd)
  fs.closeSync(fd)
}

const blockSizes: [FilesystemName, number][] = [
  ['btrfs', 4096],
  ['xfs', 4096],
  ['xfs-1k', 1024],
  ['xfs-16k', 16384],
]

for (const [name, block] of blockSizes) {
  t.test(`sharing on ${name}`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    t.equal(fs.statfsSync(directory).bsize, block)
    const a = join(directory, 'a')
    const b = join(directory, 'b')
    const c = join(directory, 'c')
    fs.writeFileSync(a, noise(MIB + 100))
    reflink(a, b)
    plainCopy(a, c)
    t.ok(fiemap(a).every(row => (row.flags & FIEMAP_EXTENT_SHARED) !== 0))
    t.ok((fiemap(a).at(-1)?.flags ?? 0) & FIEMAP_EXTENT_LAST)
    t.equal(sharedBytes(a, b), MIB + 100)
    t.equal(sharedBytes(b, a), MIB + 100)
    t.equal(sharedBytes(a, c), 0)
    t.same(storage([a, b, c]), {
      apparent: 3 * (MIB + 100),
      unique: 2 * (MIB + 100),
      shared: MIB + 100,
    })

    overwrite(b, 4 * block + 10, Buffer.from('x'))
    t.equal(sharedBytes(a, b), MIB + 100 - block, 'one block less')
    overwrite(b, 8 * block, noise(2 * block))
    t.equal(sharedBytes(a, b), MIB + 100 - 3 * block, 'three blocks less')
    t.equal(sharedBytes(b, a), MIB + 100 - 3 * block)
    t.same(storage([a, b]), {
      apparent: 2 * (MIB + 100),
      unique: MIB + 100 + 3 * block,
      shared: MIB + 100 - 3 * block,
    })
    fs.linkSync(a, join(directory, 'a2'))
    t.equal(storage([a, join(directory, 'a2')]).apparent, MIB + 100, 'a hard link is not counted again')
    t.same(storage([]), { apparent: 0, unique: 0, shared: 0 })
  })

  t.test(`sharing kept on ${name}`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const source = join(directory, 'source')
    const none = join(directory, 'none')
    const full = join(directory, 'full')
    const part = join(directory, 'part')
    for (const tree of [source, none, full, part]) fs.mkdirSync(tree)
    const files = ['a', 'b', 'c', 'lone']
    fs.writeFileSync(join(source, 'a'), noise(MIB))
    reflink(join(source, 'a'), join(source, 'b'))
    reflink(join(source, 'a'), join(source, 'c'))
    overwrite(join(source, 'c'), 16 * block, noise(4 * block))
    fs.writeFileSync(join(source, 'lone'), noise(MIB / 2))
    fs.linkSync(join(source, 'lone'), join(source, 'lone2'))
    const sourceShared = 2 * MIB - 4 * block
    const kept = (tree: string, list = files) => sharingKept(source, tree, list)

    t.same(kept(source), { sourceShared, keptShared: sourceShared }, 'a tree keeps its own sharing')
    t.same(sharingKept(source, source, regularFiles(source)), { sourceShared, keptShared: sourceShared })

    for (const file of files) plainCopy(join(source, file), join(none, file))
    t.same(kept(none), { sourceShared, keptShared: 0 })

    // Nothing but the clone of each file: shares with the source, and so within the copy as the source does.
    for (const file of files) reflink(join(source, file), join(full, file))
    t.same(kept(full), { sourceShared, keptShared: sourceShared })

    // b is again a clone of a; c shares nothing, and lone shares with nothing in the source.
    plainCopy(join(source, 'a'), join(part, 'a'))
    reflink(join(part, 'a'), join(part, 'b'))
    plainCopy(join(source, 'c'), join(part, 'c'))
    plainCopy(join(source, 'lone'), join(part, 'lone'))
    t.same(kept(part), { sourceShared, keptShared: MIB })
    overwrite(join(part, 'b'), 0, noise(block))
    t.same(kept(part), { sourceShared, keptShared: MIB - block })

    // a stands alone now, but b and c share again: each byte that c does not take anew is kept.
    fs.rmSync(join(part, 'b'))
    plainCopy(join(source, 'b'), join(part, 'b'))
    fs.rmSync(join(part, 'c'))
    reflink(join(part, 'b'), join(part, 'c'))
    overwrite(join(part, 'c'), 16 * block, noise(4 * block))
    t.same(kept(part), { sourceShared, keptShared: MIB - 4 * block })

    // A copy may share where the source did not; that is not sharing kept.
    fs.rmSync(join(part, 'lone'))
    reflink(join(part, 'a'), join(part, 'lone'))
    fs.truncateSync(join(part, 'lone'), MIB / 2)
    t.same(kept(part, ['a', 'lone']), { sourceShared: 0, keptShared: 0 })
  })
}

t.test('sharing at other offsets, and within one file', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const KIB = 1024
  const source = join(directory, 'source')
  const copy = join(directory, 'copy')
  for (const tree of [source, copy]) {
    fs.mkdirSync(tree)
    const a = join(tree, 'a')
    const b = join(tree, 'b')
    fs.writeFileSync(a, noise(MIB))
    fs.writeFileSync(b, '')
    cloneRange(a, 256 * KIB, 256 * KIB, b, 64 * KIB)
    cloneRange(a, 384 * KIB, 256 * KIB, b, 512 * KIB)
  }
  const a = join(source, 'a')
  const b = join(source, 'b')
  t.equal(fiemap(b).length, 2)
  t.equal(sharedBytes(a, b), 512 * KIB, 'each byte of b')
  t.equal(sharedBytes(b, a), 384 * KIB, 'each byte of a')
  t.same(storage([b]), { apparent: 512 * KIB, unique: 384 * KIB, shared: 128 * KIB })
  t.same(sharingKept(source, copy, ['b']), { sourceShared: 128 * KIB, keptShared: 128 * KIB })
  t.same(sharingKept(source, copy, ['b', 'a']), { sourceShared: 512 * KIB, keptShared: 512 * KIB })
  overwrite(join(copy, 'b'), 64 * KIB, noise(4 * KIB))
  overwrite(join(copy, 'b'), 512 * KIB, noise(4 * KIB))
  t.same(sharingKept(source, copy, ['a', 'b']), { sourceShared: 512 * KIB, keptShared: 504 * KIB })
  t.throws(() => cloneRange(a, 1, 4096, b, 0), /errno 22/)
})

t.test('rows that tell no place', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const small = join(directory, 'small')
  const small2 = join(directory, 'small2')
  const hole = join(directory, 'hole')
  fs.writeFileSync(small, 'inline')
  reflink(small, small2)
  fs.writeFileSync(hole, '')
  fs.truncateSync(hole, MIB)
  t.ok((fiemap(small)[0]?.flags ?? 0) & FIEMAP_EXTENT_DATA_INLINE)
  t.equal(sharedBytes(small, small2), 0, 'inline data shares nothing')
  t.same(fiemap(hole), [])
  const reserved = join(directory, 'reserved')
  fs.writeFileSync(reserved, '')
  execFileSync('fallocate', ['-l', '1M', reserved])
  reflink(reserved, `${reserved}2`)
  t.ok((fiemap(reserved)[0]?.flags ?? 0) & FIEMAP_EXTENT_UNWRITTEN)
  t.equal(sharedBytes(reserved, `${reserved}2`), 0, 'nor does reserved space')
  t.same(storage([small, hole, reserved]), { apparent: 0, unique: 0, shared: 0 })
  t.throws(() => fiemap(directory), /not a regular file/)
})

t.test('more rows than one call gives', async t => {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return
  const a = join(directory, 'a')
  const b = join(directory, 'b')
  fs.writeFileSync(a, noise(16 * MIB))
  reflink(a, b)
  const fd = fs.openSync(b, 'r+')
  for (let at = 0; at < 16 * MIB; at += 8192) fs.writeSync(fd, noise(4096), 0, 4096, at)
  fs.closeSync(fd)
  t.equal(sharedBytes(a, b), 8 * MIB)
  const rows = fiemap(b)
  t.ok(rows.length > 1024, `${rows.length} rows`)
  let end = 0
  for (const { logical, length } of rows) {
    if (logical >= 16 * MIB) break
    if (logical !== end) t.fail(`row at ${logical} after ${end}`)
    end = logical + length
  }
  t.ok(end >= 16 * MIB)
})

t.test('compressed extents', async t => {
  const directory = testDirectory(t, 'btrfs-zstd')
  if (directory === undefined) return
  const a = join(directory, 'a')
  const b = join(directory, 'b')
  fs.writeFileSync(a, 'some text that compresses\n'.repeat(20_000))
  reflink(a, b)
  const size = fs.statSync(a).size
  const encoded = encodedExtents(a)
  t.equal(
    encoded.reduce((sum, extent) => sum + extent.length, 0),
    size,
  )
  t.same(encodedExtents(b), encoded)
  t.equal(sharedBytes(a, b), 0)
  t.same(storage([a]), { apparent: 0, unique: 0, shared: 0 })
})

t.test('every filesystem', async t => {
  const names: FilesystemName[] = ['btrfs', 'btrfs-zstd', 'xfs', 'xfs-1k', 'xfs-16k', 'ext4', 'tmpfs']
  for (const name of names) {
    t.test(name, async t => {
      let first: string | undefined
      t.test('gives directories', async t => {
        first = testDirectory(t, name)
        const second = testDirectory(t, name)
        if (first === undefined || second === undefined) return
        t.not(first, second)
        t.same(fs.readdirSync(first), [])
        fs.mkdirSync(join(first, 'x/y'), { recursive: true })
        fs.writeFileSync(Buffer.concat([Buffer.from(`${first}/x/`), Buffer.from([0xff, 0xfe])]), 'z')
      })
      t.test('and takes them away', async t => {
        t.notOk(first !== undefined && fs.existsSync(first))
      })
    })
  }
})

t.test('without root or in CI', async t => {
  const getuid = process.getuid
  const { CI, REFTAR_TEST_DIRS } = process.env
  t.teardown(() => {
    Object.assign(process, { getuid })
    for (const [key, value] of Object.entries({ CI, REFTAR_TEST_DIRS })) {
      if (value === undefined) delete process.env[key]
      else process.env[key] = value
    }
  })
  const skipped: unknown[] = []
  const stub = {
    pass: (...[message, extra]: unknown[]) => skipped.push([message, extra]) > 0,
    teardown: () => t.fail('no directory was made'),
  }
  Object.assign(process, { getuid: () => 1000 })
  Object.assign(process.env, { CI: '', REFTAR_TEST_DIRS: '' })
  t.equal(testDirectory(stub, 'xfs'), undefined)
  const skip = 'needs root to mount a loop image, or REFTAR_TEST_DIRS'
  t.same(skipped, [['xfs', { skip }]])
  Object.assign(process.env, { CI: 'true' })
  t.throws(() => testDirectory(stub, 'xfs'), /nothing may be skipped in CI/)
  Object.assign(process.env, { REFTAR_TEST_DIRS: 'xfs=/proc' })
  t.throws(() => testDirectory(stub, 'xfs'), /\/proc is no xfs/)
  Object.assign(process.env, { REFTAR_TEST_DIRS: 'zfs=/proc' })
  t.throws(() => testDirectory(stub, 'xfs'), /"zfs=\/proc" is not one of/)
})

/** Two equal trees with one of each kind of thing, with the names that hold no UTF-8. */
function twins(directory: string): [string, string] {
  const root = process.getuid?.() === 0
  const trees: [string, string] = [join(directory, 'first'), join(directory, 'second')]
  for (const tree of trees) {
    fs.mkdirSync(join(tree, 'dir/inner'), { recursive: true })
    fs.writeFileSync(join(tree, 'file'), noise(3 * MIB))
    fs.writeFileSync(join(tree, 'dir/inner/empty'), '')
    fs.writeFileSync(join(tree, 'linked1'), 'links')
    fs.writeFileSync(join(tree, 'linked3'), 'links')
    fs.linkSync(join(tree, 'linked1'), join(tree, 'linked2'))
    fs.linkSync(join(tree, 'linked3'), join(tree, 'linked4'))
    fs.writeFileSync(rawName(tree), 'raw')
    fs.symlinkSync(Buffer.from([0x74, 0xff]), join(tree, 'symlink'))
    fs.writeFileSync(join(tree, 'sparse'), '')
    fs.truncateSync(join(tree, 'sparse'), 2 ** 33)
    overwrite(join(tree, 'sparse'), 2 ** 32, noise(65536))
    execFileSync('mkfifo', [join(tree, 'fifo')])
    if (root) execFileSync('mknod', [join(tree, 'device'), 'c', '1', '3'])
    execFileSync('find', [tree, '-exec', 'touch', '-h', '-d', '@1000000000', '{}', '+'])
  }
  return trees
}

function rawName(tree: string): Buffer {
  return Buffer.concat([Buffer.from(`${tree}/raw-`), Buffer.from([0xe9, 0x0a])])
}

t.test('compareTrees', async t => {
  const cases: [string, (tree: string) => void, RegExp[]][] = [
    ['nothing', () => {}, []],
    ['a missing file', tree => fs.rmSync(join(tree, 'file')), [/^file: only in the first$/]],
    [
      'a missing directory',
      tree => {
        fs.rmSync(join(tree, 'dir/inner'), { recursive: true })
        fs.utimesSync(join(tree, 'dir'), 1e9, 1e9)
      },
      [/^dir\/inner: only in the first$/],
    ],
    ['a new last name', tree => fs.writeFileSync(join(tree, 'zz'), ''), [/^zz: only in the second$/]],
    [
      'another raw name',
      tree => fs.renameSync(rawName(tree), Buffer.concat([Buffer.from(`${tree}/raw-`), Buffer.from([0xea])])),
      [/^raw-\\xe9\\x0a: only in the first$/, /^raw-\\xea: only in the second$/],
    ],
    [
      'another type',
      tree => {
        fs.rmSync(join(tree, 'file'))
        fs.mkdirSync(join(tree, 'file'))
      },
      [/^file: type: file != directory$/],
    ],
    ['permissions', tree => fs.chmodSync(join(tree, 'file'), 0o4711), [/^file: permissions: \d+ != 4711$/]],
    ['a directory', tree => fs.chmodSync(join(tree, 'dir'), 0o700), [/^dir: permissions: 755 != 700$/]],
    [
      'mtime by a microsecond',
      tree => execFileSync('touch', ['-h', '-d', '@1000000000.000001', join(tree, 'symlink')]),
      [/^symlink: mtime: 1000000000000000000 != 1000000000000001000$/],
    ],
    [
      'mtime by a nanosecond',
      tree => execFileSync('touch', ['-d', '@1000000000.000000001', join(tree, 'dir/inner')]),
      [/^dir\/inner: mtime: 1000000000000000000 != 1000000000000000001$/],
    ],
    [
      'a symlink target',
      tree => {
        fs.rmSync(join(tree, 'symlink'))
        fs.symlinkSync(Buffer.from([0x74, 0xfe]), join(tree, 'symlink'))
        fs.lutimesSync(join(tree, 'symlink'), 1e9, 1e9)
      },
      [/^symlink: target: t\\xff != t\\xfe$/],
    ],
    [
      'size',
      tree => {
        fs.truncateSync(join(tree, 'file'), 3)
        fs.utimesSync(join(tree, 'file'), 1e9, 1e9)
      },
      [/^file: size: 3145728 != 3$/],
    ],
    [
      'the last byte',
      tree => {
        const last = noise(3 * MIB).at(-1) ?? 0
        overwrite(join(tree, 'file'), 3 * MIB - 1, Buffer.from([last ^ 1]))
        fs.utimesSync(join(tree, 'file'), 1e9, 1e9)
      },
      [/^file: content at 3145727: 0x[0-9a-f]{2} != 0x[0-9a-f]{2}$/],
    ],
    [
      'a filled hole',
      tree => {
        overwrite(join(tree, 'sparse'), 0, Buffer.alloc(65536))
        fs.utimesSync(join(tree, 'sparse'), 1e9, 1e9)
      },
      [/^sparse: data ranges: \[4294967296-4295032832\] != \[0-65536 4294967296-4295032832\]$/],
    ],
    [
      'content in a hole',
      tree => {
        overwrite(join(tree, 'sparse'), 2 ** 32 + 65536, Buffer.from('\0x'))
        fs.utimesSync(join(tree, 'sparse'), 1e9, 1e9)
      },
      [/^sparse: content at 4295032833: 0x00 != 0x78$/, /^sparse: data ranges: /],
    ],
    [
      'a broken hard link',
      tree => {
        fs.rmSync(join(tree, 'linked2'))
        fs.writeFileSync(join(tree, 'linked2'), 'links')
        fs.utimesSync(join(tree, 'linked2'), 1e9, 1e9)
      },
      [/^linked2: hard link to: linked1 != nothing before$/],
    ],
    [
      'hard links the other way round',
      tree => {
        fs.renameSync(join(tree, 'linked2'), join(tree, 'aside'))
        fs.renameSync(join(tree, 'linked4'), join(tree, 'linked2'))
        fs.renameSync(join(tree, 'aside'), join(tree, 'linked4'))
      },
      [
        /^linked2: hard link to: linked1 != nothing before$/,
        /^linked3: hard link to: nothing before != linked2$/,
        /^linked4: hard link to: linked3 != linked1$/,
      ],
    ],
  ]
  if (process.getuid?.() === 0) {
    cases.push(
      ['uid', tree => fs.lchownSync(join(tree, 'symlink'), 7, 0), [/^symlink: uid: 0 != 7$/]],
      ['gid', tree => fs.chownSync(join(tree, 'fifo'), 0, 8), [/^fifo: gid: 0 != 8$/]],
      [
        'a device',
        tree => {
          fs.rmSync(join(tree, 'device'))
          execFileSync('mknod', [join(tree, 'device'), 'c', '1', '5'])
          fs.utimesSync(join(tree, 'device'), 1e9, 1e9)
        },
        [/^device: device: 259 != 261$/],
      ],
    )
  }
  for (const [what, change, expected] of cases) {
    t.test(what, async t => {
      const directory = testDirectory(t, 'btrfs')
      if (directory === undefined) return
      const [first, second] = twins(directory)
      change(second)
      const found = compareTrees(first, Buffer.from(second))
      t.equal(found.length, expected.length, found.join('\n'))
      for (const [index, pattern] of expected.entries()) t.match(found[index], pattern)
    })
  }
  t.test('options', async t => {
    const directory = testDirectory(t, 'xfs')
    if (directory === undefined) return
    const [first, second] = twins(directory)
    for (const tree of [first, second]) fs.utimesSync(tree, 1e9, 1e9)
    fs.chmodSync(second, 0o700)
    overwrite(join(second, 'sparse'), 0, Buffer.alloc(65536))
    fs.utimesSync(join(second, 'sparse'), 1e9, 1e9)
    t.same(compareTrees(first, second, { holes: false }), [])
    t.same(compareTrees(first, second, { holes: false, root: true }), ['.: permissions: 755 != 700'])
    t.equal(compareTrees(first, second).length, 1)
  })
})
