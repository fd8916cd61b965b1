// Archives through plain pipes, compressors and ciphers, as the examples put them together: what comes through is restored,
// and of what does not, nothing is published.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Ended } from '../cli/run.js'
import { compareTrees } from '../support/compare-trees.js'
import { example } from '../support/example.js'
import { regularFiles, sharingKept } from '../support/fiemap.js'
import { testDirectory } from '../support/filesystems.js'
import { KIB, MIB, noise, overwrite, reflink, sourceAndTarget, text } from '../support/trees.js'

process.umask(0o022)

interface Way {
  /** What makes an archive file, and restores it, of an example. */
  readonly make: (file: string) => readonly [example: string, ...argv: string[]]
  readonly restore: (file: string) => readonly [example: string, ...argv: string[]]
}

const KEY = 'key'
/** Whoever sees it first says that it is damaged: zlib, the cipher, or the decoder. */
const DAMAGED =
  /TRUNCATED|CHECKSUM_MISMATCH|BAD_FIELD|Z_BUF_ERROR|Z_DATA_ERROR|ERR__ERROR_FORMAT|unable to authenticate/

const WAYS: Record<string, Way> = {
  'images.reftar': {
    make: file => ['pipe', 'create', file],
    restore: file => ['pipe', 'extract', file],
  },
  'images.reftar.gz': {
    make: file => ['compress', 'create', file],
    restore: file => ['compress', 'extract', file],
  },
  'images.reftar.br': {
    make: file => ['compress', 'create', file],
    restore: file => ['compress', 'extract', file],
  },
  'images.sealed': {
    make: file => ['encrypt', 'seal', KEY, file],
    restore: file => ['encrypt', 'open', KEY, file],
  },
}

interface Place {
  readonly directory: string
  readonly source: string
  readonly target: string
}

function place(t: Test): Place | undefined {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return undefined
  const { source, target } = sourceAndTarget(directory)
  fs.writeFileSync(join(source, 'a'), Buffer.concat([text(2 * MIB), noise(2 * MIB)]))
  for (const clone of ['b', 'c']) reflink(join(source, 'a'), join(source, clone))
  overwrite(join(source, 'b'), MIB, noise(8 * KIB, 'b'))
  fs.symlinkSync('a', join(source, 'link'))
  fs.writeFileSync(join(directory, KEY), noise(32, 'key'))
  return { directory, source, target }
}

function run(
  { directory }: Place,
  [name, ...argv]: readonly [string, ...string[]],
  path: string,
): Promise<Ended> {
  return example(name, [...argv, path], { cwd: directory })
}

async function checkFails(
  t: Test,
  scene: Place,
  ended: Promise<Ended>,
  message: RegExp,
  what: string,
): Promise<void> {
  t.match(await ended, { code: 1, stderr: message }, what)
  t.same(fs.readdirSync(scene.target), [], `${what}: nothing is published`)
}

for (const [file, { make, restore }] of Object.entries(WAYS)) {
  t.test(file, async t => {
    const scene = place(t)
    if (!scene) return
    const { directory, source, target } = scene
    t.match(await run(scene, make(file), 'source'), { code: 0, stderr: '' }, 'made')
    const bytes = fs.readFileSync(join(directory, file))
    for (const length of [0, bytes.byteLength >> 1, bytes.byteLength - 1]) {
      fs.writeFileSync(join(directory, file), bytes.subarray(0, length))
      const expected = length === 0 ? /Error/ : DAMAGED
      await checkFails(t, scene, run(scene, restore(file), target), expected, `cut to ${length} bytes`)
    }
    const damaged = Uint8Array.from(bytes)
    const at = bytes.byteLength - 200_000
    damaged[at] = (bytes[at] ?? 0) ^ 1
    fs.writeFileSync(join(directory, file), damaged)
    await checkFails(t, scene, run(scene, restore(file), target), DAMAGED, 'a bit is wrong')
    await checkFails(t, scene, run(scene, make(file), 'nothing'), /SYSTEM_CALL/, 'nothing to archive')
    fs.writeFileSync(join(directory, file), bytes)
    t.match(await run(scene, restore(file), target), { code: 0, stderr: '' }, 'restored')
    t.same(compareTrees(source, join(target, 'source')), [])
    const { sourceShared, keptShared } = sharingKept(source, join(target, 'source'), regularFiles(source))
    t.ok(sourceShared > 7 * MIB, `${sourceShared} bytes are shared`)
    t.equal(keptShared, sourceShared, 'all sharing kept')
  })
}

t.test('what is not authentic is not published, whole as it may be', async t => {
  const scene = place(t)
  if (!scene) return
  const { directory, target } = scene
  t.match(await run(scene, ['encrypt', 'seal', KEY, 'sealed'], 'source'), { code: 0 })
  const sealed = fs.readFileSync(join(directory, 'sealed'))
  const flip = (bytes: Uint8Array, at: number) => {
    const changed = Uint8Array.from(bytes)
    changed[at] = (bytes[at] ?? 0) ^ 0x80
    return changed
  }
  const end = sealed.byteLength
  const cases: Record<string, Partial<Record<'sealed' | typeof KEY, Uint8Array>>> = {
    'another tag': { sealed: flip(sealed, end - 1) },
    'the tag cut to 4 bytes': { sealed: sealed.subarray(0, end - 12) },
    'something behind the tag': { sealed: Buffer.concat([sealed, noise(1)]) },
    'another nonce': { sealed: flip(sealed, 0) },
    'another key': { key: noise(32, 'other') },
  }
  for (const [what, files] of Object.entries(cases)) {
    const all = { sealed, key: noise(32, 'key'), ...files }
    for (const [name, bytes] of Object.entries(all)) fs.writeFileSync(join(directory, name), bytes)
    await checkFails(t, scene, run(scene, ['encrypt', 'open', KEY, 'sealed'], target), /Error/, what)
  }
})
