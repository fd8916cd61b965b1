// Names of every kind go into an archive and come out of it, byte by byte, and no message hands them to a terminal.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { verify } from '../src/verify.js'
import { CLI, type Ended, reftar, run as runProgram, unprivileged } from './cli/run.js'
import { compareTrees } from './support/compare-trees.js'
import { testDirectory } from './support/filesystems.js'
import { archive, checkRoundTrip, listed, problems, restore, run, sourceAndTarget } from './support/trees.js'

process.umask(0o022)

const isRoot = process.getuid?.() === 0

/** Kinds of the Big List of Naughty Strings: what goes wrong somewhere, without slashes and zero bytes. */
const NAUGHTY: readonly string[] = [
  'undefined',
  'null',
  'NaN',
  'true',
  '__proto__',
  'constructor',
  'prototype',
  'hasOwnProperty',
  'toString',
  'CON',
  'LPT1',
  'COM1.txt',
  '$1,000.00',
  '1E+02',
  '0x0',
  '-1',
  '-rf',
  '--help',
  '--',
  '-',
  '...',
  '..a',
  '.hidden',
  '~',
  '~root',
  '*',
  '?',
  '[abc]',
  '{a,b}',
  '!',
  '#comment',
  ' ',
  ' leading',
  'trailing ',
  'two\nlines',
  '\n',
  '\r\n',
  'tab\tseparated',
  '\x01\x02\x03\x04\x05\x06\x07\x08\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f',
  '\x80\x81\x85\x9b31m\x9f',
  '\x1b[31mred\x1b[0m',
  '\x1b[2J\x1b[H',
  '\x1b]0;title\x07',
  '\x1b]8;;http:example.com\x1b\\link\x1b]8;;\x1b\\',
  'reftar: an error that nobody made\nreftar: ',
  '{"type":"summary","status":0}',
  '"',
  "'",
  "''",
  "'\"'",
  '\\',
  '\\n',
  '\\033[31m',
  "\\'",
  '`id`',
  '$(touch pwned)',
  '; touch pwned;',
  '| cat',
  '&& true',
  '%n%s%x%d',
  '%2e%2e%2f',
  "1' OR '1'='1",
  "1; DROP TABLE users-- 1'",
  '<script>alert(1)<script>',
  '<b onmouseover=alert(1)>',
  '&lt;&amp;&#0;',
  '\u202egnp.exe',
  '\u2066isolate\u2069 \u202aembed\u202c',
  '\u200blast\u200c\u200d\u2060',
  '\ufeffbom',
  '\u2028\u2029',
  '\u00ad\u061c\u180e',
  '\ufffe\uffff',
  '\ufffd',
  '\ue000\u{f0000}',
  '\u{e0001}\u{e0020}\u{e007f}',
  'Z\u0351\u036b\u0343\u036a\u0302a\u0354\u034al\u0334\u0315g\u0353o\u0321',
  '\u{1f469}\u200d\u{1f469}\u200d\u{1f467}',
  '\u{1f3f3}\ufe0f\u200d\u{1f308}',
  '\u{1f1e9}\u{1f1ea}',
  '田中さん',
  'ثم نفس',
  'הָיְתָה',
  '𝕋𝕙𝕖',
  '﷽',
  '\u3000\u00a0\u2003',
  '\u1160\u3164',
]

/** Of which some filesystems and programs make one. */
const ALIKE: readonly string[] = [
  'readme',
  'README',
  'ReadMe',
  'é',
  'e\u0301',
  'Å',
  'A\u030a',
  '\u212b',
  'ﬁ',
  'fi',
  'ß',
  'ẞ',
  'SS',
  'I',
  'i',
  'İ',
  'ı',
  '\u2126',
  'Ω',
  '한',
  '\u1112\u1161\u11ab',
]

/** What a decoder may take for something else, or stumble over. */
const NOT_UTF_8: readonly (readonly number[])[] = [
  [0xff],
  [0xfe, 0xff],
  [0x80],
  [0xbf, 0xbf],
  [0xc0, 0xaf], // an overlong slash
  [0xe0, 0x80, 0xaf],
  [0xc0, 0x80], // an overlong zero byte
  [0xc0, 0xae, 0xc0, 0xae], // overlong dots
  [0xe2, 0x82],
  [0xf0, 0x9f, 0x98],
  [0xed, 0xa0, 0x80], // half of a surrogate pair
  [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80],
  [0xf4, 0x90, 0x80, 0x80], // beyond the last character
  [0xf8, 0x88, 0x80, 0x80, 0x80],
  [0x83, 0x5c], // Shift-JIS, of which the second byte is a backslash
  [0x63, 0x61, 0x66, 0xe9], // Latin-1
  [0x61, 0xff, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 0x0a, 0x27], // a terminal sequence, a newline and a quote
  [0xff, 0xe2, 0x80, 0xae], // a bidi override that follows
]

const LONGEST = 255
const FILLERS: readonly (string | readonly number[])[] = [
  'x',
  '-',
  ' ',
  '\n',
  '\x1b',
  "'",
  '"',
  '\\',
  'é',
  'e\u0301',
  '\u{1f600}',
  '\u202e',
  [0xff],
  [0xc3],
]

/** As many as fit, and then bytes up to the longest name that there is. */
function longest(filler: string | readonly number[]): Buffer {
  const unit = Buffer.from(filler as string)
  const units = Array.from({ length: Math.floor(LONGEST / unit.length) }, () => unit)
  return Buffer.concat([...units, Buffer.alloc(LONGEST % unit.length, 'x')])
}

function singleBytes(): Buffer[] {
  return Array.from({ length: 256 }, (_, byte) => Buffer.from([byte])).filter(
    name => !['\0', '.', '/'].includes(name.toString('latin1')),
  )
}

/** All names, each of them once. */
const NAMES: readonly Buffer[] = Array.from(
  new Map(
    [
      ...singleBytes(),
      ...FILLERS.map(longest),
      ...[...NAUGHTY, ...ALIKE].map(name => Buffer.from(name)),
      ...NOT_UTF_8.map(bytes => Buffer.from(bytes)),
    ].map(name => [name.toString('latin1'), name]),
  ).values(),
)

const SLASH = Buffer.from('/')

function path(...parts: readonly (string | Buffer)[]): Buffer {
  const separated = parts.flatMap((part, i) => (i === 0 ? [Buffer.from(part)] : [SLASH, Buffer.from(part)]))
  return Buffer.concat(separated)
}

/** Each name three times: of a file, of a directory with a file of that name, and of a link to that name. */
function makeTree(tree: string): void {
  for (const kind of ['d', 'f', 'l']) fs.mkdirSync(join(tree, kind), { recursive: true })
  for (const name of NAMES) {
    fs.writeFileSync(path(tree, 'f', name), name)
    fs.mkdirSync(path(tree, 'd', name))
    fs.writeFileSync(path(tree, 'd', name, name), name)
    fs.symlinkSync(name, path(tree, 'l', name))
  }
}

/** What an archive of such a tree has, as latin1, so that no two paths become one. */
function expectedPaths(top: string): string[] {
  const paths = NAMES.flatMap(name => [
    path('f', name),
    path('d', name),
    path('d', name, name),
    path('l', name),
  ])
  const all = [...['d', 'f', 'l'].map(kind => Buffer.from(kind)), ...paths]
  return latin1(top === '' ? [Buffer.alloc(0), ...all] : [Buffer.from(top), ...all.map(at => path(top, at))])
}

function latin1(paths: Iterable<Uint8Array>): string[] {
  return Array.from(paths, bytes => Buffer.from(bytes).toString('latin1')).sort()
}

function namesIn(directory: string): string[] {
  return latin1(fs.readdirSync(directory, { encoding: 'buffer' }))
}

/** Undoes what quotePath does, so that what is shown can be told from everything else. */
function unescaped(shown: string): Buffer {
  const parts = shown.match(/\\(?:[0-7]{3}|n|\\|')|[^\\]+/g) ?? []
  return Buffer.concat(
    parts.map(part => {
      if (/^\\[0-7]{3}$/.test(part)) return Buffer.from([Number.parseInt(part.slice(1), 8)])
      if (part === '\\n') return Buffer.from('\n')
      return Buffer.from(part.replace(/^\\(.)$/, '$1'))
    }),
  )
}

/** The quoted names that messages begin with. */
function namedIn(stderr: string): string[] {
  const quoted = stderr.split('\n').flatMap(line => /^reftar: '((?:[^'\\]|\\.)*)'/.exec(line)?.[1] ?? [])
  return [...new Set(latin1(quoted.map(unescaped)))]
}

/** Control, format and separator characters, bidi controls among them, private and unassigned ones. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}\p{Bidi_Control}]/u

function checkPrintable(t: Test, what: string, text: string | Buffer): void {
  const shown = text.toString()
  t.ok(Buffer.from(shown).equals(Buffer.from(text)), `${what}: UTF-8`)
  const [bad] = UNPRINTABLE.exec(shown.replaceAll('\n', '')) ?? []
  t.equal(bad?.codePointAt(0)?.toString(16), undefined, `${what}: nothing but printable text`)
}

interface Line {
  readonly type: string
  readonly path?: string
  readonly pathBase64?: string
  readonly message?: string
}

function jsonLines(t: Test, what: string, text: string | Buffer): Line[] {
  checkPrintable(t, what, text)
  const lines = text.toString().trimEnd().split('\n')
  const objects = lines.map(line => JSON.parse(line) as Line)
  t.equal(objects.at(-1)?.type, 'summary', `${what}: ends with the summary`)
  return objects
}

/** The paths that lines of one type have, without loss; the text is that of the bytes where it can be. */
function jsonPaths(t: Test, what: string, lines: readonly Line[], type: string): string[] {
  const named = lines.filter(line => line.type === type && line.path !== undefined)
  for (const { path: text = '', pathBase64 } of named) {
    if (pathBase64 === undefined) continue
    const bytes = Buffer.from(pathBase64, 'base64')
    if (bytes.toString() !== text || Buffer.from(text).equals(bytes)) t.fail(`${what}: ${pathBase64}`)
  }
  const paths = named.map(({ path: text = '', pathBase64 }) =>
    pathBase64 === undefined ? Buffer.from(text) : Buffer.from(pathBase64, 'base64'),
  )
  return [...new Set(latin1(paths))]
}

async function differences(bytes: Uint8Array, against: string): Promise<string[]> {
  const found: string[] = []
  const sink = verify({
    against,
    onEvent: event => {
      if (event.type === 'problem') found.push(event.message)
    },
  })
  await run(Readable.from([Uint8Array.from(bytes)], { objectMode: false }), sink)
  return found
}

function failures(...all: readonly Ended[]): string[] {
  return all.flatMap(({ code, stderr }) => (code === 0 ? [] : `${code}: ${stderr.slice(0, 400)}`))
}

for (const name of ['btrfs', 'tmpfs'] as const) {
  t.test(`the library keeps all names on ${name}`, async t => {
    const directory = testDirectory(t, name)
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    makeTree(source)
    const before = Reflect.ownKeys(Object.prototype)
    const { bytes, events } = await checkRoundTrip(t, source, target)
    t.same(problems(events), [])
    const entries = await listed(bytes)
    t.same(latin1(entries.map(({ path }) => path)), expectedPaths(''), 'listed')
    for (const kind of ['f', 'd', 'l']) t.same(namesIn(join(target, kind)), latin1(NAMES), `restored ${kind}`)
    const told = latin1(events.flatMap(event => (event.type === 'entry' ? [event.path] : [])))
    t.same(told, expectedPaths('').slice(1), 'told, but for the directory itself')
    t.same(await differences(bytes, source), [], 'the source is as it was')
    t.same(await differences(bytes, target), [], 'the target is as the source was')
    t.same(Reflect.ownKeys(Object.prototype), before, 'no object has got anything')
  })
}

t.test('the library keeps names that are given one by one', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  makeTree(source)
  const before = Reflect.ownKeys(Object.prototype)
  const paths = NAMES.flatMap(name => [path('f', name), path('d', name, name)])
  const { bytes, events } = await archive(paths, { directory: source })
  t.same(problems(events), [])
  const files = (await listed(bytes)).filter(({ entry }) => entry.type === 'file')
  t.same(latin1(files.map(({ path }) => path)), latin1(paths))
  await restore(bytes, target)
  t.same(namesIn(join(target, 'f')), latin1(NAMES))
  t.same(
    NAMES.filter(name => !fs.readFileSync(path(target, 'd', name, name)).equals(name)),
    [],
    'each has its own content',
  )
  t.same(Reflect.ownKeys(Object.prototype), before, 'no object has got anything')
})

t.test('the command keeps all names, and shows none as it is', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const tree = join(directory, 'tree')
  makeTree(tree)
  for (const out of ['out', 'json', 'other']) fs.mkdirSync(join(directory, out))
  const inHere = { cwd: directory }
  const expected = expectedPaths('tree')

  await t.test('in text', async t => {
    const created = await reftar(['create', '-v', '-f', 'a', 'tree'], inHere)
    const list = await reftar(['list', '-f', 'a'], inHere)
    const long = await reftar(['list', '-v', '-f', 'a'], inHere)
    const verified = await reftar(['verify', '-v', '-f', 'a'], inHere)
    const against = await reftar(['verify', '-v', '-f', 'a', '--against', '.'], inHere)
    const extracted = await reftar(['extract', '-v', '-f', 'a', '-C', 'out'], inHere)
    t.same(failures(created, list, long, verified, against, extracted), [])
    t.same(compareTrees(tree, join(directory, 'out/tree'), { root: true }), [])
    t.same(namesIn(join(directory, 'out/tree/f')), latin1(NAMES), 'restored')

    for (const [what, { stdout, stderr }] of Object.entries({
      created,
      list,
      long,
      verified,
      against,
      extracted,
    })) {
      checkPrintable(t, what, stdout)
      checkPrintable(t, `${what}, messages`, stderr)
      t.equal(stderr.split('\n').filter(line => !line.startsWith('reftar: ')).length, 1, `${what}: messages`)
    }
    const lines = (ended: Ended) => ended.stdout.toString().trimEnd().split('\n')
    const withoutSlash = lines(list).map(line => unescaped(line.replace(/\/$/, '')))
    t.same(latin1(withoutSlash), expected, 'list can be read back')
    t.equal(lines(long).length, expected.length, 'one line an entry')
    t.same(latin1(lines(created).map(unescaped)), expected, 'create -v can be read back')
    t.same(latin1(lines(extracted).map(unescaped)), expected, 'extract -v can be read back')
  })

  await t.test('in JSON', async t => {
    const said = {
      create: await reftar(['create', '--json', '-v', '-f', 'b', 'tree'], inHere),
      list: await reftar(['list', '--json', '-f', 'b'], inHere),
      verify: await reftar(['verify', '--json', '-v', '-f', 'b', '--against', '.'], inHere),
      extract: await reftar(['extract', '--json', '-v', '-f', 'b', '-C', 'json'], inHere),
    }
    t.same(failures(...Object.values(said)), [])
    for (const [what, { stdout }] of Object.entries(said)) {
      t.same(jsonPaths(t, what, jsonLines(t, what, stdout), 'entry'), expected, `${what}: all paths`)
    }
    const links = jsonLines(t, 'links', said.list.stdout).filter(line => 'linkTargetBase64' in line)
    const targets = links.map(line => Buffer.from(String(Object(line).linkTargetBase64), 'base64'))
    t.same(latin1(targets), latin1(NAMES), 'all targets of links')
    t.same(compareTrees(tree, join(directory, 'json/tree'), { root: true }), [])
  })

  await t.test('to stderr, while stdout carries the archive', async t => {
    const text = await reftar(['create', '-v', 'tree'], inHere)
    const json = await reftar(['create', '-v', '--json', 'tree'], inHere)
    t.same(failures(text, { ...json, stderr: '' }), [])
    checkPrintable(t, 'text', text.stderr)
    t.same(jsonPaths(t, 'json', jsonLines(t, 'json', json.stderr), 'entry'), expected)
  })

  await t.test('in messages of what differs', async t => {
    const other = join(directory, 'other/tree')
    makeTree(other)
    for (const name of NAMES) fs.appendFileSync(path(other, 'f', name), '!')
    const files = latin1(NAMES.map(name => path('tree/f', name)))
    const argv = ['verify', '-f', 'a', '--against', 'other']
    const { code, stdout, stderr } = await reftar(argv, inHere)
    t.equal(code, 1)
    checkPrintable(t, 'verify', stderr)
    const isFile = (name: string) => name.startsWith('tree/f/')
    t.same(namedIn(stderr).filter(isFile), files, 'each is named')
    t.match(stdout.toString(), /^\d+ differences\n/)
    const json = await reftar([...argv, '--json'], inHere)
    checkPrintable(t, 'verify --json, messages', json.stderr)
    const told = jsonPaths(t, 'verify --json', jsonLines(t, 'verify --json', json.stdout), 'problem')
    t.same(told.filter(isFile), files, 'each is named in JSON')
  })

  await t.test('in messages of what is there already', async t => {
    const { code, stderr } = await reftar(['extract', '--keep-existing', '-f', 'a', '-C', 'out'], inHere)
    t.equal(code, 1)
    checkPrintable(t, 'extract', stderr)
    const kept = NAMES.flatMap(name => [
      path('tree/f', name),
      path('tree/d', name, name),
      path('tree/l', name),
    ])
    t.same(namedIn(stderr), latin1(kept), 'each is named')
  })
})

t.test('names that cannot be read are named', { skip: !isRoot && 'needs root' }, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const tree = join(directory, 'tree')
  fs.mkdirSync(tree)
  for (const name of NAMES) fs.writeFileSync(path(tree, name), name, { mode: 0 })
  const files = latin1(NAMES.map(name => path('tree', name)))
  const { code, stderr } = await unprivileged(['create', '-C', directory, 'tree'])
  t.equal(code, 1)
  checkPrintable(t, 'create', stderr)
  t.same(namedIn(stderr), files)
  const json = await unprivileged(['create', '--json', '-C', directory, 'tree'])
  t.equal(json.code, 1)
  t.same(jsonPaths(t, 'create --json', jsonLines(t, 'create --json', json.stderr), 'problem'), files)
})

t.test('names as arguments of the command', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const tree = join(directory, 'tree')
  fs.mkdirSync(tree)
  fs.mkdirSync(join(directory, 'out'))
  const texts = NAMES.filter(name => Buffer.from(name.toString()).equals(name))
  for (const name of texts) fs.writeFileSync(path(tree, name), name)
  const archiveFile = join(directory, 'a')
  // A lone dash after `--` is a path like any other.
  const argv = ['create', '-f', archiveFile, '--', ...texts.map(String)]
  const created = await reftar(argv, { cwd: tree })
  t.same(failures(created), [])
  const extracted = await reftar(['extract', '-f', archiveFile, '-C', join(directory, 'out')])
  t.same(failures(extracted), [])
  t.same(compareTrees(tree, join(directory, 'out')), [])

  for (const name of ['\x1b[31m', '\u202egnp.exe\n', '__proto__', '-rf']) {
    const missing = await reftar(['create', '-f', 'x', '--', name], { cwd: directory })
    t.equal(missing.code, 2, JSON.stringify(name))
    checkPrintable(t, 'create', missing.stderr)
    t.same(namedIn(missing.stderr), latin1([Buffer.from(name)]))
    const json = await reftar(['list', '--json', '-f', `./${name}`], { cwd: directory })
    t.equal(json.code, 2)
    const lines = jsonLines(t, 'list --json', json.stdout)
    t.same(jsonPaths(t, 'list --json', lines, 'error'), latin1([Buffer.from(`./${name}`)]))
  }
  t.same(fs.readdirSync(directory).sort(), ['a', 'out', 'tree'], 'nothing is left')
})

const DEPTH = 5000

/** Steps down, because no path reaches the bottom. */
function python(script: string, ...args: readonly string[]): string {
  return execFileSync('python3', ['-c', script, ...args], { encoding: 'utf8', maxBuffer: 1 << 28 })
}

/** What is at the bottom takes several segments: a reader that gets none of the last has made all the directories. */
const BUILD = `
import os, random, sys
os.chdir(sys.argv[1])
for i in range(int(sys.argv[2])):
    os.mkdir('d', 0o700 if i % 2 else 0o755)
    os.chdir('d')
open('bottom', 'wb').write(random.Random(0).randbytes(12 << 20))`

const LOOK = `
import hashlib, os, sys
os.chdir(sys.argv[1])
for i in range(int(sys.argv[2])):
    os.chdir('d')
    status = os.stat('.')
    print(*sorted(os.listdir('.')), oct(status.st_mode), status.st_mtime_ns)
print(hashlib.sha256(open('bottom', 'rb').read()).hexdigest(), os.stat('bottom').st_mtime_ns)`

t.test(`a tree of ${DEPTH} levels`, async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  python(BUILD, source, String(DEPTH))
  const inHere = { cwd: directory }
  const bottom = `${'d/'.repeat(DEPTH)}bottom`

  await t.test('by the command', async t => {
    const created = await reftar(['create', '--no-zero-copy', '-f', 'a', '-C', source, '.'], inHere)
    const list = await reftar(['list', '-f', 'a'], inHere)
    const verified = await reftar(['verify', '-f', 'a'], inHere)
    const against = await reftar(['verify', '-f', 'a', '--against', source], inHere)
    const extracted = await reftar(['extract', '-f', 'a', '-C', target], inHere)
    t.same(failures(created, list, verified, against, extracted), [])
    const lines = list.stdout.toString().trimEnd().split('\n')
    t.equal(lines.length, DEPTH + 2)
    t.equal(lines.at(-1), bottom)
    t.match(against.stdout.toString(), /^no differences\n/)
    t.equal(python(LOOK, target, String(DEPTH)), python(LOOK, source, String(DEPTH)))
  })

  await t.test('that is not restored to its end leaves nothing', async t => {
    const out = join(directory, 'out')
    fs.mkdirSync(out)
    const whole = fs.readFileSync(join(directory, 'a'))
    const { code, stderr } = await reftar(['extract', '-C', out], { stdin: whole.subarray(0, -1) })
    t.equal(code, 2)
    t.match(stderr, /^reftar: the archive ends before .*\n$/)
    t.same(fs.readdirSync(out), [])
  })

  await t.test('of which the bottom differs', async t => {
    const change = LOOK.replace(/print\(hashlib.*$/, "open('bottom', 'a').write('!')")
    python(change, target, String(DEPTH))
    const { code, stderr } = await reftar(['verify', '-f', 'a', '--against', target], inHere)
    t.equal(code, 1)
    t.same(namedIn(stderr), [bottom])
  })

  await t.test('by the library', async t => {
    const { bytes, events } = await archive(['.'], { directory: source })
    t.same(problems(events), [])
    t.ok(bytes.equals(fs.readFileSync(join(directory, 'a'))), 'the same bytes')
    t.same(await differences(bytes, source), [])
  })

  execFileSync('rm', ['-rf', source, target])
  t.same(fs.readdirSync(directory).sort(), ['a', 'out'], 'removed')
})

const MANY = 200_000
/** In KiB. */
const MOST_MEMORY = 600 * 1024

/** Runs a program, and says on a last line of stderr how much memory it took, in KiB. */
const MEASURE = `
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)`

/** Every second name is one more of the first file. */
const FILL = `
import os, sys
os.chdir(sys.argv[1])
for i in range(int(sys.argv[2])):
    name = 'entry-%06d' % i
    if i % 2 == 0 and i > 0:
        os.link('entry-000000', name)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))`

t.test(`${MANY} entries in one directory`, async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  const { source, target } = sourceAndTarget(directory)
  python(FILL, source, String(MANY))
  const measured = async (what: string, ...args: readonly string[]) => {
    const command = ['python3', '-c', MEASURE, process.execPath, CLI, what, ...args]
    const ended = await runProgram(command, { cwd: directory })
    t.equal(ended.code, 0, what)
    t.match(ended.stderr, /^\d+\n$/, 'nothing is told')
    const memory = Number(ended.stderr)
    t.comment(`${what}: ${Math.round(memory / 1024)} MiB`)
    t.ok(memory > 1024 && memory < MOST_MEMORY, `${what} takes ${memory} KiB of memory`)
    return ended.stdout.toString()
  }
  await measured('create', '-f', 'a', '-C', source, '.')
  const list = await measured('list', '-f', 'a')
  const lines = list.trimEnd().split('\n')
  t.equal(lines.length, MANY + 1)
  t.equal(lines.at(-1), 'entry-199999')
  await measured('extract', '-f', 'a', '-C', target)

  const names = fs.readdirSync(target)
  t.equal(names.length, MANY, 'all are there')
  t.equal(new Set(names).size, MANY)
  t.ok(names.every(name => /^entry-\d{6}$/.test(name)))
  t.equal(fs.statSync(join(target, 'entry-000000')).nlink, MANY / 2, 'half of them are one file')
})
