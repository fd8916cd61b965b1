// What is whole in a damaged archive comes back, and what is not is named.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { ReftarEvent } from '../src/event.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import {
  archive,
  descriptorsAfter,
  KIB,
  MIB,
  noise,
  reflink,
  restore,
  settledDescriptors,
  sourceAndTarget,
} from './support/trees.js'

const MAGIC = Buffer.from('\x89rtseg\r\n', 'latin1')

function segments(archive: Uint8Array): number[] {
  const bytes = Buffer.from(archive)
  const found: number[] = []
  for (let at = bytes.indexOf(MAGIC); at !== -1; at = bytes.indexOf(MAGIC, at + 1)) found.push(at)
  return found
}

function damaged(archive: Uint8Array, ...offsets: number[]): Uint8Array {
  const copy = archive.slice()
  for (const at of offsets) copy[at] = (copy[at] as number) ^ 0xff
  return copy
}

function told(events: readonly ReftarEvent[]): string[] {
  return events.flatMap(event => (event.type === 'problem' ? [event.message] : []))
}

/** Names below a directory, and whether each file is as at the source. */
function compared(source: string, target: string): Map<string, boolean> {
  const names = fs.readdirSync(target, { recursive: true, encoding: 'utf8' })
  const files = names.filter(name => fs.statSync(join(target, name)).isFile())
  return new Map(
    files.map(name => {
      const original = join(source, name)
      const isEqual =
        fs.existsSync(original) && fs.readFileSync(original).equals(fs.readFileSync(join(target, name)))
      return [name, isEqual]
    }),
  )
}

interface Scene {
  readonly source: string
  readonly target: string
  readonly bytes: Uint8Array
}

/** Three segments: files before, across and behind their boundaries, clones of them, and hard links. */
async function scene(
  t: Parameters<typeof testDirectory>[0],
  name: FilesystemName,
): Promise<Scene | undefined> {
  const directory = testDirectory(t, name)
  if (directory === undefined) return undefined
  const { source, target } = sourceAndTarget(directory)
  fs.mkdirSync(join(source, 'd/e'), { recursive: true })
  for (let i = 10; i < 46; i++) fs.writeFileSync(join(source, `d/f${i}`), noise(300 * KIB, `f${i}`))
  fs.writeFileSync(join(source, 'd/e/large'), noise(MIB, 'large'))
  fs.linkSync(join(source, 'd/f12'), join(source, 'link-of-12'))
  fs.linkSync(join(source, 'd/f30'), join(source, 'link-of-30'))
  if (name !== 'ext4') {
    reflink(join(source, 'd/f11'), join(source, 'z-clone-of-11'))
    reflink(join(source, 'd/f30'), join(source, 'z-clone-of-30'))
  }
  const { bytes } = await archive(['.'], { directory: source })
  return { source, target, bytes }
}

async function salvage({ source, target, bytes }: Scene) {
  const before = await settledDescriptors()
  const { events, summary } = await restore(bytes, target, { salvage: true })
  t.equal(await descriptorsAfter(before), before, 'no descriptor is left')
  t.notOk(
    fs.readdirSync(target).some(name => name.startsWith('.reftar-')),
    'nothing is left aside',
  )
  return { files: compared(source, target), messages: told(events), summary }
}

for (const name of ['btrfs', 'ext4'] satisfies FilesystemName[]) {
  t.test(`an archive that is whole, on ${name}`, async t => {
    const made = await scene(t, name)
    if (!made) return
    t.ok(segments(made.bytes).length >= 3, 'several segments')
    const { files, messages, summary } = await salvage(made)
    t.same(messages, [])
    t.equal(summary.archive.losses, 0)
    t.same([...files.values()].includes(false), false)
    t.equal(files.size, compared(made.source, made.source).size, 'all of them')
  })

  t.test(`a block is lost, on ${name}`, async t => {
    const made = await scene(t, name)
    if (!made) return
    const [, second = 0] = segments(made.bytes)
    const { files, messages } = await salvage({ ...made, bytes: damaged(made.bytes, second - 9000) })
    const all = compared(made.source, made.source)
    const missing = [...all.keys()].filter(file => !files.has(file))
    t.ok(missing.length >= 1 && missing.length <= 4, `${missing}`)
    t.notOk([...files.values()].includes(false), 'whatever is there is equal')
    for (const file of missing)
      t.ok(
        messages.some(message => message.includes(`'${file}'`)),
        `${file} is named`,
      )
    t.match(messages[0], /^'.*': 4096 bytes at \d+ are missing/, 'with the range')
  })

  t.test(`a file with two names is damaged, on ${name}`, async t => {
    const made = await scene(t, name)
    if (!made) return
    const content = fs.readFileSync(join(made.source, 'd/f12'))
    const at = Buffer.from(made.bytes).indexOf(content.subarray(8192, 8256))
    const { files, messages } = await salvage({ ...made, bytes: damaged(made.bytes, at) })
    t.notOk(files.has('d/f12') || files.has('link-of-12'))
    for (const lost of ['d/f12', 'link-of-12'])
      t.ok(
        messages.some(text => text.startsWith(`'${lost}': is left out`)),
        lost,
      )
  })

  t.test(`a segment is lost, on ${name}`, async t => {
    const made = await scene(t, name)
    if (!made) return
    const [, second = 0, third = 0] = segments(made.bytes)
    const { files, messages } = await salvage({ ...made, bytes: damaged(made.bytes, second + 60) })
    t.notOk([...files.values()].includes(false), 'whatever is there is equal')
    t.ok(files.has('d/f11') && files.has('d/f45') && files.has('link-of-12'), 'before it, and behind')
    t.notOk(files.has('d/f30') || files.has('link-of-30'), 'a hard link to what is lost is lost')
    if (name !== 'ext4') {
      t.ok(files.has('z-clone-of-11'), 'a clone of what is there')
      t.notOk(files.has('z-clone-of-30'), 'a clone of what is lost')
    }
    t.ok(
      messages.some(message =>
        message.includes(`${third - second} bytes of the archive are damaged (at byte ${second})`),
      ),
    )
    t.ok(messages.some(message => /^\d+ entries are lost, and their names/.test(message)))
    t.ok(messages.some(message => /^'link-of-30': .*hard link/.test(message)))
  })
}

t.test('the first segment is lost, and the directories that it named', async t => {
  const made = await scene(t, 'btrfs')
  if (!made) return
  const [first = 0] = segments(made.bytes)
  const { files, messages } = await salvage({ ...made, bytes: damaged(made.bytes, first + 30) })
  const nameless = [...files.keys()].filter(file => /^#1\/#2\/f\d+$/.test(file))
  t.ok(nameless.length > 10, `${nameless.length} files in directories that have numbers for names`)
  t.ok(messages.some(message => message.startsWith("'#1/#2': the name of this directory is lost")))
  for (const file of nameless) {
    const original = fs.readFileSync(join(made.source, 'd', file.slice('#1/#2/'.length)))
    t.ok(original.equals(fs.readFileSync(join(made.target, file))), file)
  }
})

t.test('cut anywhere', async t => {
  const made = await scene(t, 'btrfs')
  if (!made) return
  const [first = 0, second = 0] = segments(made.bytes)
  const { length } = made.bytes
  for (const at of [0, 5, 100, 4096, first + 20, first + 128, second - 1, second, second + 100, length - 1]) {
    for (const name of fs.readdirSync(made.target)) fs.rmSync(join(made.target, name), { recursive: true })
    const { files, messages } = await salvage({ ...made, bytes: made.bytes.subarray(0, at) })
    t.notOk([...files.values()].includes(false), `at ${at}: whatever is there is equal`)
    t.ok(
      messages.some(message => message.startsWith('the archive ends before its trailer')),
      `at ${at}: that it is cut is told`,
    )
    if (at >= second) t.ok(files.size > 10, `at ${at}: ${files.size} files`)
  }
})

t.test('the header is damaged, or bytes follow the trailer', async t => {
  const made = await scene(t, 'btrfs')
  if (!made) return
  const count = compared(made.source, made.source).size
  for (const bytes of [damaged(made.bytes, 0, 9, 40), Buffer.concat([made.bytes, Buffer.alloc(5000)])]) {
    for (const name of fs.readdirSync(made.target)) fs.rmSync(join(made.target, name), { recursive: true })
    const { files, messages } = await salvage({ ...made, bytes })
    t.equal(files.size, count)
    t.notOk([...files.values()].includes(false))
    t.match(messages.join(), /bytes of the archive are damaged/)
  }
})

t.test('an archive in the archive is not taken for a part of it', async t => {
  const made = await scene(t, 'btrfs')
  if (!made) return
  fs.writeFileSync(join(made.source, 'd/nested.reftar'), made.bytes)
  const { bytes } = await archive(['.'], { directory: made.source, dedup: 'none' })
  const [, second = 0] = segments(bytes)
  const { files } = await salvage({ ...made, bytes: damaged(bytes, second + 60) })
  t.notOk([...files.values()].includes(false), 'whatever is there is equal')
  t.ok(files.has('d/f11'))
})

t.test('any damage: what comes back is equal, and what does not is not claimed', async t => {
  const made = await scene(t, 'btrfs')
  if (!made) return
  const all = compared(made.source, made.source)
  for (let i = 0; i < 24; i++) {
    for (const name of fs.readdirSync(made.target)) fs.rmSync(join(made.target, name), { recursive: true })
    const at = Math.floor((made.bytes.length * (i + 0.5)) / 24)
    const hurt = made.bytes.slice()
    hurt.fill(0xa5, at, at + (1 << (i % 17)))
    const { files, messages } = await salvage({ ...made, bytes: hurt })
    const wrong = [...files].filter(([name, isEqual]) => !isEqual && !name.includes('#'))
    t.same(wrong, [], `at ${at}`)
    if (files.size < all.size) t.ok(messages.length > 0, `at ${at}: ${all.size - files.size} are not there`)
  }
})
