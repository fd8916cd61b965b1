// Table A3: what an archive asks to be given, and what it says of itself.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { invalidRecipes } from '../../fixtures/recipes/invalid.js'
import {
  data,
  end,
  entry,
  type RawRow,
  rawArchive,
  reference,
  TAG,
  TYPE,
  text,
} from '../../fixtures/recipes/raw.js'
import type { ErrorCode } from '../../src/errors.js'
import { reftar } from '../cli/run.js'
import { sharedBytes } from '../support/fiemap.js'
import {
  beside,
  content,
  device,
  directory,
  empty,
  type Field,
  fifo,
  file,
  type Ground,
  ground,
  hardlink,
  mode,
  modified,
  NOBODY,
  owner,
  refusals,
  STRANGER,
  symlink,
  u32,
  unsorted,
  verified,
  xattrs,
} from '../support/hostile.js'
import {
  BECOME_NOBODY,
  ended,
  failure,
  listed,
  moduleCommand,
  notes,
  problems,
  restore,
} from '../support/trees.js'

process.umask(0o022)

const isRoot = process.getuid?.() === 0
const asRoot = { skip: isRoot ? false : 'needs root' } as const
const SOME = content(8192)

/** security.capability of a program that may become any user: linux/capability.h, version 2. */
const CAPABILITY = Buffer.from('0100000280000000000000000000000000000000', 'hex')

const NAMES_OF_XATTRS =
  'import os,sys; print(*os.listxattr(sys.argv[1], follow_symlinks=False), sep="\\n", end="")'

function xattrNames(path: string): string[] {
  const names = execFileSync('python3', ['-c', NAMES_OF_XATTRS, path], { encoding: 'utf8' })
  return names === '' ? [] : names.split('\n').sort()
}

/** Extracts as a user without any privilege, into a directory of its own. */
async function asNobody(t: Test, place: Ground, archive: Uint8Array, options = {}): Promise<string> {
  const path = join(place.base, 'archive')
  fs.writeFileSync(path, archive)
  fs.chownSync(place.target, NOBODY, NOBODY)
  const script = `
    const { createReadStream } = await import('node:fs')
    const { pipeline } = await import('node:stream/promises')
    const { extract } = await import('./src/extract.ts')
    process.umask(0o022)
    ${BECOME_NOBODY}
    const [file, target, options] = ${JSON.stringify([path, place.target, options])}
    const onEvent = event => event.type === 'entry' || console.log(event.type, event.message)
    await pipeline(createReadStream(file), extract(target, { ...options, onEvent }))
    console.log('done')`
  const { code, output } = await ended(...moduleCommand(script))
  t.equal(code, 0, output)
  return output
}

t.test('M1 root restores setuid, owners and times as they were, clones too', asRoot, async t => {
  for (const name of ['btrfs', 'xfs'] as const) {
    const place = ground(t, name)
    if (!place) return
    const fields = [
      mode(0o6755),
      owner(STRANGER, STRANGER),
      modified(77),
      xattrs(['security.capability', CAPABILITY]),
    ]
    const rows = [...file('a', { fields }, data(SOME)), ...file('b', { fields }, reference(0, 8192))]
    const { events } = await restore(unsorted(rows), place.target)
    t.same(problems(events), [])
    for (const file of ['a', 'b']) {
      const { mode, uid, gid, mtimeMs } = fs.statSync(join(place.target, file))
      t.same([mode & 0o7777, uid, gid, mtimeMs], [0o6755, STRANGER, STRANGER, 77_000], `${name}: ${file}`)
      t.same(xattrNames(join(place.target, file)), ['security.capability'], `${name}: ${file}`)
    }
    t.equal(sharedBytes(join(place.target, 'a'), join(place.target, 'b')), 8192, 'after the clone')
  }
})

t.test('M1 setuid, setgid and sticky can be left out', asRoot, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const rows = [
    ...file('others', { fields: [mode(0o6777), owner(STRANGER, STRANGER)] }, data(SOME)),
    ...file('own', { fields: [mode(0o6777), owner(0, 0)] }, data(SOME)),
    directory('d', 0, [mode(0o7777), owner(STRANGER, STRANGER)]),
    fifo('p', 0, [mode(0o6777), owner(STRANGER, STRANGER)]),
  ]
  const modes = () =>
    ['others', 'own', 'd', 'p'].map(name =>
      (fs.lstatSync(join(place.target, name)).mode & 0o7777).toString(8),
    )
  await restore(unsorted(rows), place.target, { samePermissions: false })
  t.same(modes(), ['755', '755', '755', '755'], 'samePermissions: false')
  empty(place.target)
  await restore(unsorted(rows), place.target, { sameOwner: false })
  t.same(modes(), ['777', '6777', '1777', '777'], 'a program does not run with the rights of another owner')
})

t.test('M1 M4 what gives a program privileges can be left out', asRoot, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const fields = [mode(0o755), owner(STRANGER, 0), xattrs(['security.capability', CAPABILITY])]
  const archive = unsorted(file('a', { fields }, data(content(8192))))
  for (const options of [
    { samePermissions: false },
    { sameOwner: false, samePermissions: false, devices: false },
  ]) {
    await restore(archive, place.target, options)
    t.same(xattrNames(join(place.target, 'a')), [], JSON.stringify(options))
    empty(place.target)
  }
})

t.test('M1 M3 without root, nothing is given away, and nothing runs as somebody else', asRoot, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  fs.chmodSync(place.base, 0o755)
  const rows = [
    ...file('root', { fields: [mode(0o6755), owner(0, 0)] }, data(SOME)),
    ...file('stranger', { fields: [mode(0o6755), owner(STRANGER, STRANGER)] }, reference(0, 8192)),
    ...file('group', { fields: [mode(0o2755), owner(NOBODY, STRANGER)] }, data(SOME)),
    ...file('able', {
      fields: [mode(0o755), xattrs(['security.capability', CAPABILITY], ['trusted.x', 'y'])],
    }),
    device('null', TYPE.characterDevice, 1, 3),
    symlink('l', 'x', 0, { fields: [owner(0, 0)] }),
  ]
  const output = await asNobody(t, place, unsorted(rows))
  t.match(output, /^note owners are not restored: only root can$/m)
  t.match(output, /^note device nodes are left out$/m)
  for (const name of ['root', 'stranger', 'group', 'able', 'l']) {
    const { uid, gid, mode } = fs.lstatSync(join(place.target, name))
    t.same([uid, gid, mode & 0o6000], [NOBODY, NOBODY, 0], name)
  }
  t.same(xattrNames(join(place.target, 'able')), [])
  t.notOk(fs.existsSync(join(place.target, 'null')))
})

t.test('M2 devices and FIFOs', asRoot, async t => {
  for (const name of ['btrfs', 'xfs', 'ext4', 'tmpfs'] as const) {
    const place = ground(t, name)
    if (!place) return
    const rows = [
      device('char', TYPE.characterDevice, 1, 3),
      device('block', TYPE.blockDevice, 8, 0),
      entry({ type: TYPE.characterDevice, name: 'linked', flags: 1, fields: [[TAG.device, u32(1, 8)]] }),
      hardlink('other', 3),
      fifo('fifo', 0, [mode(0o666)]),
    ]
    const { events } = await restore(unsorted(rows), place.target, { devices: false })
    t.same(fs.readdirSync(place.target), ['fifo'], `${name}: devices can be left out, and links to them`)
    t.same(notes(events), ['device nodes are left out'])
    empty(place.target)
    await restore(unsorted(rows), place.target)
    const [char, block, linked, other] = ['char', 'block', 'linked', 'other'].map(file =>
      fs.lstatSync(join(place.target, file)),
    )
    t.ok(char?.isCharacterDevice() && char.rdev === 0x103, name)
    t.ok(block?.isBlockDevice() && block.rdev === 0x800, name)
    t.equal(linked?.ino, other?.ino)
    t.equal(await verified(unsorted(rows), place.target), 0, 'verify looks at them, and opens none')
  }
})

t.test('M2 sockets, and types that there are not', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  for (const type of [0, 8, 9, 255]) {
    t.same(await refusals(place, unsorted([entry({ type, name: 's' })]), 'BAD_FIELD'), [], `type ${type}`)
  }
})

t.test('M3 owners that are none', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  for (const [uid, gid] of [
    [2 ** 32 - 1, 0],
    [0, 2 ** 32 - 1],
  ] as const) {
    for (const rows of [
      file('f', { fields: [owner(uid, gid)] }),
      [fifo('p', 0, [owner(uid, gid)])],
      [directory('d', 0, [owner(uid, gid)])],
      [symlink('l', 'x', 0, { fields: [owner(uid, gid)] })],
    ]) {
      t.same(await refusals(place, unsorted(rows), 'BAD_FIELD'), [], `${uid}:${gid}`)
    }
  }
  const wide: Field = [TAG.owner, new Uint8Array(20)]
  t.same(await refusals(place, unsorted(file('f', { fields: [wide] })), 'BAD_FIELD', false), [])
})

t.test('M3 the highest owners, and names that are no owner here', asRoot, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const strange = [
    'root\n',
    ' root',
    'root:x',
    '+0',
    '0',
    '-1',
    'ROOT',
    '\xefroot',
    '\xef\xbb\xbfroot',
    '__proto__',
    'x'.repeat(255),
  ]
  const names = strange.map(text)
  const rows = strange.flatMap((_, i) =>
    file(`f${String(i).padStart(2, '0')}`, { fields: [owner(2 ** 32 - 2, STRANGER, i + 1, i + 1)] }),
  )
  const { events } = await restore(rawArchive({ segments: [{ names, rows }] }), place.target)
  t.same(problems(events), [])
  for (const [i, name] of strange.entries()) {
    const { uid, gid } = fs.statSync(join(place.target, `f${String(i).padStart(2, '0')}`))
    t.same([uid, gid], [2 ** 32 - 2, STRANGER], JSON.stringify(name))
  }
})

t.test('M4 attributes that no filesystem takes are named, and nothing else is lost', asRoot, async t => {
  const strange: readonly (readonly [name: string, value: Uint8Array | string])[] = [
    ['no-namespace', 'x'],
    ['security.capability', 'x'],
    ['system.posix_acl_access', 'x'],
    ['system.posix_acl_default', new Uint8Array(65536)],
    ['system.unknown', 'x'],
    ['trusted.', 'x'],
    ['user.', 'x'],
    ['user.__proto__', 'x'],
    ['user.\x1b[31m', new Uint8Array(65536)],
    ['user.a', 'a'],
    [`user.${'n'.repeat(250)}`, new Uint8Array(65536).fill(1)],
  ]
  for (const name of ['btrfs', 'xfs', 'ext4', 'tmpfs'] as const) {
    const place = ground(t, name)
    if (!place) return
    const before = beside(place)
    const sorted = [...strange].sort(([a], [b]) =>
      Buffer.compare(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1')),
    )
    const fields = [mode(0o640), modified(77), xattrs(...sorted)]
    const rows = [...file('f', { fields }, data(SOME)), directory('d', 0, fields), fifo('p', 0, fields)]
    const { events } = await restore(unsorted(rows), place.target)
    const told = problems(events)
    t.ok(
      told.length > 5 && told.every(line => /^SYSTEM_CALL [fdp]$/.test(line)),
      `${name}: ${told.length} are named`,
    )
    for (const event of events) {
      if (event.type === 'problem') t.notMatch(event.message, /[^\x20-\x7e]/, 'without what a terminal obeys')
    }
    t.ok(xattrNames(join(place.target, 'f')).includes('user.__proto__'), `${name}: what can be set is set`)
    t.ok(fs.readFileSync(join(place.target, 'f')).equals(SOME))
    for (const entry of ['f', 'd', 'p']) {
      const { mode, mtimeMs } = fs.lstatSync(join(place.target, entry))
      t.same([mode & 0o7777, mtimeMs], [0o640, 77_000], `${name}: ${entry}`)
    }
    t.same(beside(place), before)
  }
})

t.test('M4 attributes that the format does not allow', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const list: Record<string, Field> = {
    'without a name': xattrs(['', 'x']),
    'a zero byte in the name': xattrs(['user.a\0b', 'x']),
    twice: xattrs(['user.a', 'x'], ['user.a', 'y']),
    'more than 64 KiB': xattrs(['user.a', new Uint8Array(65537)]),
    'a length beyond the field': [TAG.xattrs, Uint8Array.of(6, 255, 255, 255, 0x75)],
  }
  for (const [what, field] of Object.entries(list)) {
    t.same(await refusals(place, unsorted(file('f', { fields: [field] })), 'BAD_FIELD', false), [], what)
  }
  const much = xattrs(
    ...Array.from(
      { length: 17 },
      (_, i) => [`user.${String.fromCharCode(97 + i)}`, new Uint8Array(65536)] as const,
    ),
  )
  t.same(
    await refusals(place, unsorted(file('f', { fields: [much] })), 'LIMIT_EXCEEDED', false),
    [],
    'more than 1 MiB',
  )
})

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u
const EVIL = '\x1b]0;x\x07\x9b31m\n\u202e\u2028'

t.test('M5 M6 nothing that a terminal obeys, or an object, is said', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const evil = Buffer.from(EVIL).toString('latin1')
  const names = [text(evil), text('__proto__')]
  const rows: RawRow[] = [
    ...file(
      evil,
      { flags: 1, fields: [mode(0o644), owner(1, 1, 1, 2), xattrs([`user.${evil}`, evil])] },
      data(SOME),
    ),
    ...['__proto__', 'constructor', 'hasOwnProperty', 'toString', '12345'].flatMap(name => file(name)),
    symlink('l', evil),
    hardlink('h', 1),
    directory(`d${evil}`),
    ...file('f', { parent: 9 }, data(content(10, 'f'))),
  ]
  const sound = rawArchive({ flags: 0, blockSize: 4096, segments: [{ names, rows }] })
  const bad = (last: readonly RawRow[]) =>
    rawArchive({ flags: 0, blockSize: 4096, segments: [{ names, rows: [...rows, ...last] }] })
  const archives = {
    sound,
    name: bad(file(`${evil}/x`, { parent: 9 })),
    repeated: bad(file(evil)),
    dangling: bad(file('z', { parent: 9 }, reference(2 ** 40, 1))),
    xattr: bad(file('z', { fields: [xattrs([evil, evil])] })),
  }
  const before = Reflect.ownKeys(Object.prototype)
  const path = join(place.base, 'archive')
  for (const [what, archive] of Object.entries(archives)) {
    fs.writeFileSync(path, archive)
    for (const argv of [
      ['list', '-v'],
      ['list', '--json'],
      ['verify', '-v', '--against', place.target],
      ['verify', '--json', '--against', place.target],
      ['extract', '-v', '-C', place.target],
      ['extract', '--json', '-v', '-C', place.target, '--keep-existing'],
      ['extract', '-v', '-C', place.target, '--salvage', '--overwrite'],
    ]) {
      const { stdout, stderr } = await reftar([...argv, '-f', path])
      const said = `${stdout}${stderr}`
      const [found] = UNPRINTABLE.exec(said.replaceAll('\n', '')) ?? []
      t.equal(found, undefined, `${what}: ${argv.join(' ')}`)
      t.ok(said.length > 0)
      if (argv.includes('--json')) {
        for (const line of stdout.toString().trimEnd().split('\n'))
          if (typeof JSON.parse(line) !== 'object') t.fail(line)
      }
    }
  }
  t.same(Reflect.ownKeys(Object.prototype), before)
  const shown = (await listed(sound)).map(({ path }) => Buffer.from(path).toString())
  t.ok(shown.includes(EVIL), 'the library gives bytes')
})

t.test('M7 a name that looks like an option is a name', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const names = [
    '-rf',
    '--help',
    '-C',
    '--overwrite',
    '-',
    '--',
    '$(touch pwned)',
    '; touch pwned',
    '`touch pwned`',
    '@file',
    '|x',
  ]
  const archive = unsorted(names.flatMap(name => file(name, {}, data(SOME))))
  const path = join(place.base, 'archive')
  fs.writeFileSync(path, archive)
  const before = beside(place)
  const { code } = await reftar(['extract', '-v', '-f', path, '-C', place.target], { cwd: place.base })
  t.equal(code, 0)
  t.same(fs.readdirSync(place.target).sort(), [...names].sort())
  t.same(beside(place), before)
})

t.test('M8 every invalid archive is refused by every reader in the same way', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  fs.writeFileSync(join(place.target, 'of before'), 'in the target')
  const wrong: string[] = []
  const recipes = invalidRecipes().filter(({ what }) => !what.startsWith('end-missing'))
  for (const { code, what, archive } of recipes) {
    for (const line of await refusals(place, archive, code, false)) wrong.push(`${code}--${what}: ${line}`)
  }
  t.same(wrong, [], `${recipes.length} archives`)
})

t.test('M8 what every other reader refuses, a salvage does not pass over in silence', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const some = data(SOME)
  const archives: Record<string, readonly RawRow[]> = {
    'a symlink as a parent': [symlink('l', '../outside'), ...file('f', { parent: 1 }, some)],
    'a file as a parent': [...file('e'), ...file('f', { parent: 1 }, some)],
    'a directory that was left as a parent': [directory('d'), fifo('p'), ...file('f', { parent: 1 }, some)],
    'a parent that there is not': file('f', { parent: 7 }, some),
    'a file without an end': [entry({ name: 'a', flags: 1 }), hardlink('h', 1)],
    'an end outside of a file': [...file('f', {}, some), end()],
  }
  for (const [what, rows] of Object.entries(archives)) {
    const archive = unsorted(rows)
    t.equal((await failure(restore(archive, place.target))).code, 'BAD_STRUCTURE')
    const outcome = await restore(archive, place.salvaged, { salvage: true }).then(
      ({ events }) => problems(events).length > 0,
      () => true,
    )
    t.ok(outcome, what)
    empty(place.salvaged)
  }
})

t.test('M9 parts of two archives make none', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const rows = (seed: string) => [
    { rows: file('a', {}, data(content(8192, `${seed}a`))) },
    { rows: file('b', {}, data(content(8192, `${seed}b`))) },
  ]
  const made = (seed: string) => unsorted([], { segments: rows(seed), flags: 1 })
  const [first, second] = [made('first'), made('second')]
  t.equal(first.byteLength, second.byteLength)
  t.not(`${first.slice(-40, -8)}`, `${second.slice(-40, -8)}`, 'the digest at the end tells them apart')
  const magic = Buffer.from('\x89rtseg\r\n', 'latin1')
  const at = Buffer.from(first).indexOf(magic, 5000)
  const mixed = {
    'the second half': [at, first.byteLength],
    'one segment': [at, first.byteLength - 112],
    'the trailer': [first.byteLength - 112, first.byteLength],
  }
  for (const [what, [from, to]] of Object.entries(mixed)) {
    const archive = first.slice()
    archive.set(second.subarray(from, to), from)
    t.same(await refusals(place, archive, 'CHECKSUM_MISMATCH', false), [], what)
  }
})

t.test('M9 checksums tell of accidents: whoever can write an archive can make it say anything', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const digests = new Set<string>()
  for (const word of ['yes', 'no!']) {
    const archive = unsorted(file('a', {}, data(Buffer.from(word))))
    await restore(archive, place.target, { existing: 'overwrite' })
    t.equal(fs.readFileSync(join(place.target, 'a'), 'utf8'), word)
    digests.add(Buffer.from(archive.slice(-40, -8)).toString('hex'))
  }
  t.equal(digests.size, 2, 'but not under the same digest')
})

t.test("M10 an archive of one's own is checked like any other", async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const path = join(place.base, 'archive')
  for (const command of ['extract', 'list', 'verify']) {
    const { stdout } = await reftar([command, '--help'])
    t.notMatch(stdout.toString(), /trust|no-check|insecure|unsafe|absolute/i, `${command} has no such option`)
  }
  const code: ErrorCode = 'UNSAFE_NAME'
  fs.writeFileSync(path, unsorted(file('../x')))
  // It is of room that --force does not ask.
  for (const options of [[], ['--force']]) {
    const argv = ['extract', '--json', '-f', path, '-C', place.target, ...options]
    const { code: status, stdout } = await reftar(argv)
    t.equal(status, 2)
    t.match(JSON.parse(stdout.toString().split('\n')[0] ?? ''), { type: 'error', code })
  }
})

t.test('M8 the error of a file without an end says where it is', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  for (const { what, code, archive } of invalidRecipes().filter(({ what }) => what.startsWith('end-missing')))
    t.same(await refusals(place, archive, code), [], what)
})
