import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { CLI, type Ended, reftar, run, scratch, shell, started, unprivileged, until } from './cli/run.js'
import { compareTrees } from './support/compare-trees.js'
import { tracing } from './support/extractor.js'
import { testDirectory } from './support/filesystems.js'
import { BARE, loggedCalls } from './support/injected.js'
import { MIB, namesBelow, noise, reflink } from './support/trees.js'

process.umask(0o022)

const REFTAR = '"$NODE" "$CLI"'

/** What stderr must be where nothing is wrong. */
const SILENT = ''

interface Case {
  readonly argv: readonly string[]
  readonly stdin?: string
  readonly code: number
  readonly stdout?: string | RegExp
  readonly stderr?: string | RegExp
}

function check(t: Test, ended: Ended, { code, stdout = '', stderr = SILENT }: Omit<Case, 'argv'>): void {
  t.equal(ended.signal, undefined, 'no signal')
  t.equal(ended.code, code, `exit status (stderr: ${JSON.stringify(ended.stderr)})`)
  const text = ended.stdout.toString()
  if (typeof stdout === 'string') t.equal(text, stdout, 'stdout')
  else t.match(text, stdout, 'stdout')
  if (typeof stderr === 'string') t.equal(ended.stderr, stderr, 'stderr')
  else t.match(ended.stderr, stderr, 'stderr')
  if (!ended.stderr.startsWith('{')) checkMessages(t, ended.stderr)
}

function checkMessages(t: Test, stderr: string): void {
  const lines = stderr.split('\n').filter(line => line !== '')
  t.same(
    lines.filter(line => !line.startsWith('reftar: ')),
    [],
    'every message begins with the name of the command',
  )
}

interface JsonLine {
  readonly type: string
  readonly status?: number
  readonly path?: string
  readonly pathBase64?: string
}

/** The objects of a JSON stream; the last of them is the summary, and agrees with the exit status. */
function objects(t: Test, text: Buffer | string, code: number | undefined): JsonLine[] {
  const lines = text.toString().trimEnd().split('\n')
  const parsed = lines.map(line => JSON.parse(line) as JsonLine)
  t.ok(
    parsed.every(object => typeof object.type === 'string'),
    'every object has a type',
  )
  const summary = parsed.at(-1)
  t.equal(summary?.type, 'summary', 'the last object is the summary')
  t.equal(summary?.status, code, 'the summary has the exit status')
  t.equal(parsed.filter(({ type }) => type === 'summary').length, 1, 'one summary')
  return parsed
}

/** A directory with a small tree, its archive and its listing. */
async function fixture(t: Test) {
  const directory = scratch(t)
  fs.mkdirSync(join(directory, 'tree/d'), { recursive: true })
  fs.writeFileSync(join(directory, 'tree/a'), noise(10_000))
  fs.writeFileSync(join(directory, 'tree/d/b'), 'b\n')
  fs.symlinkSync('a', join(directory, 'tree/l'))
  const { code } = await reftar(['create', '-f', 'a.reftar', 'tree'], { cwd: directory })
  if (code !== 0) throw new Error('no archive')
  return { directory, archive: fs.readFileSync(join(directory, 'a.reftar')) }
}

const LISTING = 'tree/\ntree/a\ntree/d/\ntree/d/b\ntree/l\n'

t.test('files, paths and archives that are not as they should be', async t => {
  const { directory, archive } = await fixture(t)
  const broken = (name: string, ...parts: readonly Uint8Array[]) => {
    fs.writeFileSync(join(directory, name), Buffer.concat(parts))
    return name
  }
  const flipped = (at: number) => {
    const byte = Buffer.from([(archive[at] ?? 0) ^ 0x10])
    return broken(`flipped-${at}`, archive.subarray(0, at), byte, archive.subarray(at + 1))
  }
  const cut = (at: number) => broken(`cut-${at}`, archive.subarray(0, at))
  const size = archive.byteLength
  const no = 'no such file or directory (ENOENT)'
  const none = broken('file', Buffer.from('text'))
  fs.mkdirSync(join(directory, 'out'))

  const missing: readonly Case[] = [
    { argv: ['create', '-f', 'x', 'none'], code: 2, stderr: `reftar: 'none': statx: ${no}\n` },
    { argv: ['create', '-f', 'x', 'tree', 'no\nne'], code: 2, stderr: `reftar: 'no\\nne': statx: ${no}\n` },
    { argv: ['create', '-f', 'x', '-C', 'none', 'tree'], code: 2, stderr: `reftar: 'none': openat: ${no}\n` },
    { argv: ['create', '-f', 'none/x', 'tree'], code: 2, stderr: `reftar: 'none/x': open: ${no}\n` },
    {
      argv: ['create', '-f', 'out', 'tree'],
      code: 2,
      stderr: "reftar: 'out' is a directory, expected an archive\n",
    },
    {
      argv: ['create', '-f', 'x', 'tree/../tree'],
      code: 2,
      stderr: /^reftar: 'tree\/\.\.\/tree' has a '\.\.'/,
    },
    { argv: ['create', '-f', 'x', '..'], code: 2, stderr: /^reftar: '\.\.' has a '\.\.'/ },
    { argv: ['create', '-f', 'x', ''], code: 2, stderr: /^reftar: a path is empty/ },
    { argv: ['list', '-f', 'none'], code: 2, stderr: `reftar: 'none': open: ${no}\n` },
    { argv: ['list', '-f', '\x1b[31m'], code: 2, stderr: `reftar: '\\033[31m': open: ${no}\n` },
    { argv: ['list', '-f', 'tree'], code: 2, stderr: "reftar: 'tree' is a directory, expected an archive\n" },
    { argv: ['extract', '-f', 'none', '-C', 'out'], code: 2, stderr: `reftar: 'none': open: ${no}\n` },
    { argv: ['extract', '-f', 'a.reftar', '-C', 'none'], code: 2, stderr: `reftar: 'none': openat: ${no}\n` },
    {
      argv: ['extract', '-f', 'a.reftar', '-C', none],
      code: 2,
      stderr: "reftar: 'file': openat: not a directory (ENOTDIR)\n",
    },
  ]
  for (const { argv, ...expected } of missing) {
    await t.test(argv.map(text => JSON.stringify(text)).join(' '), async t => {
      check(t, await reftar(argv, { cwd: directory }), expected)
      t.notOk(fs.existsSync(join(directory, 'x')), 'no archive')
    })
  }

  const text = broken('text', Buffer.from('This is some text, and no archive at all.\n'.repeat(200)))
  const damaged: readonly [what: string, file: string, stderr: RegExp][] = [
    ['empty', broken('empty'), /^reftar: (?=.*not a reftar archive|.*ends).*\n$/],
    ['text', text, /^reftar: not a reftar archive.*\n$/],
    ['truncated in the header', cut(100), /^reftar: the archive ends before .*\n$/],
    ['truncated in a segment', cut(6000), /^reftar: the archive ends before .*\n$/],
    ['truncated in the trailer', cut(size - 1), /^reftar: the archive ends before .*\n$/],
    ['damaged in the header', flipped(8), /^reftar: .*\(at byte \d+\)\n$/],
    ['damaged in a segment header', flipped(4096 + 50), /^reftar: .*\(at byte \d+\)\n$/],
    ['damaged in data', flipped(Math.floor(size / 2)), /^reftar: .*\(at byte \d+\)\n$/],
    ['damaged in the trailer', flipped(size - 20), /^reftar: .*\(at byte \d+\)\n$/],
    [
      'followed by bytes',
      broken('more', archive, Buffer.from('x')),
      /^reftar: bytes follow the trailer.*\n$/,
    ],
    ['followed by itself', broken('twice', archive, archive), /^reftar: bytes follow the trailer.*\n$/],
  ]
  for (const [what, file, stderr] of damaged) {
    await t.test(`an archive that is ${what}`, async t => {
      check(t, await reftar(['list', '-f', file], { cwd: directory }), {
        code: 2,
        stdout: /^(tree.*\n)*$/,
        stderr,
      })
      const argv = ['extract', '-C', 'out', '--json']
      const extracted = await reftar(argv, { cwd: directory, stdin: join(directory, file) })
      check(t, extracted, { code: 2, stdout: /./, stderr })
      const [error] = objects(t, extracted.stdout, 2)
      t.match(error, {
        type: 'error',
        code: /^[A-Z_]+$/,
        message: extracted.stderr.slice('reftar: '.length, -1),
      })
      t.same(namesBelow(join(directory, 'out')), [], 'nothing is restored')
    })
  }
})

t.test('where the archive goes and comes from', async t => {
  const { directory, archive } = await fixture(t)
  const listed = { code: 0, stdout: LISTING }
  const inHere = { cwd: directory }

  await t.test('stdin and stdout by default, and by -', async t => {
    for (const argv of [
      ['create', 'tree'],
      ['create', '-f', '-', 'tree'],
    ]) {
      const created = await reftar(argv, inHere)
      t.ok(created.stdout.equals(archive), 'the same bytes as with -f')
      t.equal(created.stderr, SILENT)
    }
    check(t, await reftar(['list', '-f', '-'], { stdin: join(directory, 'a.reftar') }), listed)
    check(t, await reftar(['list'], { stdin: archive }), listed)
  })

  await t.test('create DIR | extract -C OUT gives OUT/DIR', async t => {
    fs.mkdirSync(join(directory, 'out'))
    check(t, await shell(`${REFTAR} create tree | ${REFTAR} extract -C out`, inHere), { code: 0 })
    t.same(fs.readdirSync(join(directory, 'out')), ['tree'])
    t.same(compareTrees(join(directory, 'tree'), join(directory, 'out/tree'), { root: true }), [])
    const again = await reftar(['extract', '-f', 'a.reftar', '-C', 'out'], inHere)
    check(t, again, { code: 2, stderr: "reftar: 'tree/a' is already there, expected a free name\n" })
  })

  await t.test('-C with both, and several paths', async t => {
    fs.mkdirSync(join(directory, 'other'))
    const argv = ['create', '-C', 'tree', 'l', 'd/b', 'a']
    const { code, stdout } = await reftar(argv, inHere)
    t.equal(code, 0)
    check(t, await reftar(['extract', '-C', 'other'], { cwd: directory, stdin: stdout }), { code: 0 })
    t.same(
      compareTrees(join(directory, 'tree'), join(directory, 'other')).filter(line => !line.startsWith('d: ')),
      [],
    )
    check(t, await reftar(['list'], { stdin: stdout }), { code: 0, stdout: 'a\nd/\nd/b\nl\n' })
  })

  await t.test("a leading '/' is left out, with one note", async t => {
    const created = await reftar(
      ['create', '-f', 'absolute', join(directory, 'tree/a'), join(directory, 'tree/l')],
      inHere,
    )
    check(t, created, { code: 0, stderr: "reftar: leading '/' is left out of stored names\n" })
    const { stdout } = await reftar(['list', '-f', 'absolute'], inHere)
    t.match(stdout.toString(), new RegExp(`^${directory.slice(1)}/tree/a$`, 'm'))
  })

  await t.test('byte by byte through a slow pipe', async t => {
    check(t, await shell(`dd if=a.reftar bs=1 status=none | ${REFTAR} list`, inHere), listed)
  })

  await t.test('a terminal is refused', async t => {
    for (const [argv, use] of [
      ['create tree', 'written to'],
      ['create -f /dev/tty tree', 'written to'],
      ['list', 'read from'],
      ['extract', 'read from'],
    ] as const) {
      const script = ['script', '-qec', `${REFTAR} ${argv}`, '/dev/null']
      const { code, stdout } = await run(script, inHere)
      t.equal(code, 2, argv)
      t.equal(
        stdout.toString(),
        `reftar: an archive is not ${use} a terminal: name a file with -f, or use a pipe\r\n`,
      )
    }
  })

  await t.test('a FIFO and a device are written as they are', async t => {
    execFileSync('mkfifo', ['fifo'], inHere)
    const both = await shell(`cat fifo > copy & ${REFTAR} create -f fifo tree && wait`, inHere)
    check(t, both, { code: 0 })
    t.ok(fs.readFileSync(join(directory, 'copy')).equals(archive))
    t.ok(fs.lstatSync(join(directory, 'fifo')).isFIFO(), 'it still is one')
    check(t, await shell(`cat a.reftar > fifo & ${REFTAR} list -f fifo`, inHere), listed)
    check(t, await reftar(['create', '-f', '/dev/full', 'tree'], inHere), { code: 2, stderr: /ENOSPC/ })
    t.ok(fs.lstatSync('/dev/full').isCharacterDevice(), 'it still is one')
  })

  await t.test('an archive has the mode of a new file, or that of the one it replaces', async t => {
    const mode = (name: string) => fs.statSync(join(directory, name)).mode & 0o7777
    t.equal(mode('a.reftar'), 0o644)
    fs.writeFileSync(join(directory, 'private'), 'old', { mode: 0o600 })
    fs.symlinkSync('private', join(directory, 'link'))
    check(t, await reftar(['create', '-f', 'link', 'tree'], inHere), { code: 0 })
    t.equal(mode('private'), 0o600)
    t.ok(fs.lstatSync(join(directory, 'link')).isSymbolicLink())
    t.ok(fs.readFileSync(join(directory, 'private')).equals(archive))
  })

  await t.test('the archive is left out of itself', async t => {
    const note = 'reftar: the archive itself is left out\n'
    check(t, await reftar(['create', '-f', 'tree/self', 'tree'], inHere), { code: 0, stderr: note })
    check(t, await reftar(['list', '-f', 'tree/self'], inHere), listed)
    const again = await reftar(['create', '-f', 'tree/self', 'tree'], inHere)
    check(t, again, { code: 0, stderr: new RegExp(`^(${note})+$`) })
    check(t, await reftar(['list', '-f', 'tree/self'], inHere), listed)
    fs.rmSync(join(directory, 'tree/self'))
    check(t, await shell(`${REFTAR} create tree > tree/self`, inHere), { code: 0, stderr: note })
    check(t, await reftar(['list', '-f', 'tree/self'], inHere), listed)
    fs.rmSync(join(directory, 'tree/self'))
  })
})

t.test('a pipe that others hold, too, does not become non-blocking', tracing, async t => {
  const directory = scratch(t)
  fs.mkdirSync(join(directory, 'tree'))
  // What makes work for every thread.
  for (let i = 0; i < 2000; i++) fs.writeFileSync(join(directory, `tree/${i}`), `file ${i}`)
  fs.writeFileSync(join(directory, 'tree/large'), noise(9 * MIB))
  const log = join(directory, 'log')
  const { code, calls } = await loggedCalls(log, ['ioctl', 'fcntl'], ['create', '-C', directory, 'tree'])
  t.equal(code, 0)
  const ofStdout = calls.filter(({ line }) => /(ioctl|fcntl)\(1</.test(line))
  t.ok(ofStdout.length > 0)
  // Node gives back at its end what it found, so that nobody sees it afterwards.
  t.same(
    ofStdout.filter(({ line }) => /FIONBIO|F_SETFL/.test(line)),
    [],
  )
})

t.test('without /proc', { skip: process.getuid?.() === 0 ? false : 'needs root' }, async t => {
  const directory = scratch(t)
  fs.mkdirSync(join(directory, 'tree'))
  for (let i = 0; i < 12; i++) fs.writeFileSync(join(directory, `tree/${i}`), noise(9 * MIB, i))
  const { stdout: expected } = await reftar(['create', '-C', directory, 'tree'])
  const hidden = 'mount --make-rprivate / && mount -t tmpfs none /proc && exec "$@"'
  const command = [process.execPath, '--expose-gc', CLI, 'create', '-C', directory, 'tree']
  const made = await run([...BARE, 'unshare', '--mount', 'sh', '-c', hidden, 'sh', ...command])
  t.equal(made.code, 0, made.stderr)
  t.ok(made.stdout.equals(expected), 'the same archive')
})

t.test('nobody takes what is written', async t => {
  const directory = scratch(t)
  fs.mkdirSync(join(directory, 'tree'))
  for (let i = 0; i < 2000; i++) {
    fs.writeFileSync(join(directory, 'tree', `file-${i}-with-quite-a-long-name-to-fill-pipes`), '')
  }
  fs.writeFileSync(join(directory, 'tree/z'), noise(MIB))
  fs.mkdirSync(join(directory, 'out'))
  await reftar(['create', '-f', 'a.reftar', 'tree'], { cwd: directory })

  const pipe = 'reftar: write: broken pipe (EPIPE)\n'
  const full = 'reftar: write: no space left on device (ENOSPC)\n'
  const scripts: readonly [script: string, stderr: string][] = [
    [`${REFTAR} list -f a.reftar | head -n 1`, pipe],
    [`${REFTAR} list -v -f a.reftar | head -n 1`, pipe],
    [`${REFTAR} list --json -f a.reftar | head -n 1`, pipe],
    [`${REFTAR} create tree | head -c 100 > first`, pipe],
    [`${REFTAR} create -v -f x tree | head -n 1`, pipe],
    [`${REFTAR} extract -v -f a.reftar -C out | head -n 1`, pipe],
    [`${REFTAR} list -f a.reftar > /dev/full`, full],
    [`${REFTAR} create tree/z | ${REFTAR} list > /dev/full`, full],
    [`${REFTAR} list --json -f a.reftar > /dev/full`, full],
    [`${REFTAR} create tree > /dev/full`, full],
    [`${REFTAR} create -v -f x tree > /dev/full`, full],
    [`${REFTAR} extract --json -f a.reftar -C out > /dev/full`, full],
  ]
  for (const [script, stderr] of scripts) {
    await t.test(script.replaceAll(REFTAR, 'reftar'), async t => {
      const ended = await shell(script, { cwd: directory })
      check(t, ended, { code: 2, stdout: /^([^\n]*\n)?$/, stderr })
      t.match(fs.readdirSync(directory).join(' '), /^a\.reftar (first )?out tree$/, 'nothing is left')
      fs.rmSync(join(directory, 'out'), { recursive: true })
      fs.mkdirSync(join(directory, 'out'))
    })
  }
})

t.test('failures leave an archive as it was', async t => {
  const { directory } = await fixture(t)
  fs.writeFileSync(join(directory, 'old'), 'an older archive')
  const { ino } = fs.statSync(join(directory, 'old'))
  const before = fs.readdirSync(directory)
  const unchanged = (t: Test) => {
    t.equal(fs.readFileSync(join(directory, 'old'), 'utf8'), 'an older archive')
    t.equal(fs.statSync(join(directory, 'old')).ino, ino)
    t.same(fs.readdirSync(directory), before, 'nothing is left')
  }

  await t.test('a path that does not exist', async t => {
    check(t, await reftar(['create', '-f', 'old', 'tree', 'zzz'], { cwd: directory }), {
      code: 2,
      stderr: /'zzz'/,
    })
    unchanged(t)
  })

  await t.test('a directory that cannot be written', async t => {
    fs.mkdirSync(join(directory, 'tree/locked'), { mode: 0o555 })
    const created = await unprivileged(['create', '-f', 'tree/locked/x', 'tree/a'], { cwd: directory })
    check(t, created, { code: 2, stderr: "reftar: 'tree/locked/x': open: permission denied (EACCES)\n" })
    const extracted = await unprivileged(['extract', '-f', 'a.reftar', '-C', 'tree/locked'], {
      cwd: directory,
    })
    check(t, extracted, { code: 2, stderr: /^reftar: .*permission denied \(EACCES\)\n$/ })
    t.same(fs.readdirSync(join(directory, 'tree/locked')), [])
    fs.rmdirSync(join(directory, 'tree/locked'))
    unchanged(t)
  })
})

t.test('signals', async t => {
  const directory = scratch(t)
  fs.mkdirSync(join(directory, 'tree'))
  fs.mkdirSync(join(directory, 'out'))
  const big = join(directory, 'tree/big')
  for (let i = 0; i < 400; i++) fs.appendFileSync(big, randomBytes(MIB))
  fs.writeFileSync(join(directory, 'old'), 'an older archive')
  const { stdout: archive } = await shell(`${REFTAR} create tree | head -c 20000000`, { cwd: directory })
  const start = (t: Test, ...argv: readonly string[]) => {
    const running = started(argv, directory)
    t.teardown(() => running.kill('SIGKILL'))
    return running
  }

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    await t.test(`${signal}: create -f`, async t => {
      const running = start(t, 'create', '-f', 'old', 'tree')
      await until(() => fs.readdirSync(directory).some(name => name.includes('part')))
      running.kill(signal)
      const { stdout, stderr, signal: by } = await running.ended
      t.match({ stdout: stdout.toString(), stderr, by }, { stdout: '', stderr: '', by: signal })
      t.equal(fs.readFileSync(join(directory, 'old'), 'utf8'), 'an older archive')
      t.same(fs.readdirSync(directory), ['old', 'out', 'tree'], 'nothing is left')
    })

    await t.test(`${signal}: create to a reader that does not read`, async t => {
      const running = start(t, 'create', 'tree')
      await until(() => fs.readFileSync(`/proc/${running.pid}/cmdline`, 'latin1').includes('create'))
      running.pause()
      await until(() => bytesRead(running.pid) > 8 * MIB)
      running.kill(signal)
      running.resume()
      const { stderr, signal: by } = await running.ended
      t.match({ stderr, by }, { stderr: '', by: signal })
    })

    await t.test(`${signal}: extract`, async t => {
      const running = start(t, 'extract', '-C', 'out')
      running.feed(archive)
      await until(() => namesBelow(join(directory, 'out')).some(name => name.endsWith('/big')))
      running.kill(signal)
      const { stdout, stderr, signal: by } = await running.ended
      t.match({ stdout: stdout.toString(), stderr, by }, { stdout: '', stderr: '', by: signal })
      t.same(fs.readdirSync(join(directory, 'out')), [], 'nothing is left')
    })
  }

  for (const argv of [
    ['list', '-f', 'fifo'],
    ['create', '-f', 'fifo', 'tree'],
  ]) {
    await t.test(`SIGTERM: ${argv.join(' ')}, with nobody at the other end`, async t => {
      execFileSync('mkfifo', ['fifo'], { cwd: directory })
      const { code } = await run(['timeout', '--kill-after=10', '1', process.execPath, CLI, ...argv], {
        cwd: directory,
      })
      t.equal(code, 124, 'it need not be killed')
      fs.rmSync(join(directory, 'fifo'))
    })
  }
})

function bytesRead(pid: number): number {
  return Number(/^rchar: (\d+)$/m.exec(fs.readFileSync(`/proc/${pid}/io`, 'latin1'))?.[1])
}

t.test('what cannot be archived is named', async t => {
  const { directory } = await fixture(t)
  const server = createServer().listen(join(directory, 'tree/socket'))
  await new Promise(resolve => server.once('listening', resolve))
  const socket = "reftar: 'tree/socket': a socket is not archived\n"
  const argv = ['create', '-f', 'x', 'tree']
  check(t, await reftar(argv, { cwd: directory }), { code: 0, stderr: socket })
  check(t, await reftar(['list', '-f', 'x'], { cwd: directory }), { code: 0, stdout: LISTING })

  const json = await reftar(['create', '--json', 'tree'], { cwd: directory })
  t.equal(json.code, 0)
  t.match(objects(t, json.stderr, 0)[0], { type: 'note', message: /tree\/socket/ })
  const named = await reftar([...argv, '--json'], { cwd: directory })
  t.match(objects(t, named.stdout, 0)[0], { type: 'note', message: /tree\/socket/ })
  t.equal(named.stderr, socket)
  server.close()

  await t.test('a file and a directory that may not be read', async t => {
    fs.writeFileSync(join(directory, 'tree/locked'), 'secret', { mode: 0 })
    fs.mkdirSync(join(directory, 'tree/shut'), { mode: 0 })
    check(t, await unprivileged(argv, { cwd: directory }), {
      code: 1,
      stderr: /^reftar: 'tree\/locked': .*EACCES.*\nreftar: 'tree\/shut': .*EACCES.*\n$/,
    })
    const { stdout } = await reftar(['list', '-f', 'x'], { cwd: directory })
    t.notMatch(stdout.toString(), /locked/)
    fs.rmdirSync(join(directory, 'tree/shut'))
  })
})

t.test('names that a terminal would obey', async t => {
  const directory = scratch(t)
  const names = [
    Buffer.from('a new\nline'),
    Buffer.from('an escape \x1b[31m sequence\x07'),
    Buffer.from([0x62, 0xff, 0xfe, 0x1b, 0x0a]),
    Buffer.from('c1 \u009b31m and del \x7f'),
    Buffer.from('direction \u202e and tag \u{e0041}'),
    Buffer.from('e \u2028 \u2029'),
    Buffer.from("quote ' and \\' backslash \\"),
    Buffer.from('\ufeffbom'),
    Buffer.from('Grüße 中文 🙂'),
  ].sort(Buffer.compare)
  const tree = join(directory, 'tree')
  fs.mkdirSync(tree)
  for (const name of names) fs.writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), name]), '')
  fs.symlinkSync('to \x1b[31m\n', join(tree, 'zlink'))
  fs.mkdirSync(join(directory, 'out'))
  fs.mkdirSync(join(directory, 'out2'))

  const inHere = { cwd: directory }
  const said = {
    'create -v': await reftar(['create', '-v', '-f', 'a', 'tree'], inHere),
    'create -v to stdout': await shell(`${REFTAR} create -v tree > b`, inHere),
    'create --json -v': await reftar(['create', '--json', '-v', '-f', 'c', 'tree'], inHere),
    'create --json -v to stdout': await shell(`${REFTAR} create --json -v tree > d`, inHere),
    list: await reftar(['list', '-f', 'a'], inHere),
    'list -v': await reftar(['list', '-v', '-f', 'a'], inHere),
    'list --json': await reftar(['list', '--json', '-f', 'a'], inHere),
    'extract -v': await reftar(['extract', '-v', '-f', 'a', '-C', 'out'], inHere),
    'extract --json -v': await reftar(['extract', '--json', '-v', '-f', 'a', '-C', 'out2'], inHere),
    'extract again': await reftar(['extract', '-f', 'a', '-C', 'out'], inHere),
  }
  for (const [what, { stdout, stderr }] of Object.entries(said)) {
    const text = stdout.toString() + stderr
    t.ok(Buffer.from(stdout.toString()).equals(stdout), `${what}: UTF-8`)
    t.notMatch(text.replaceAll('\n', ''), /[\p{C}\p{Zl}\p{Zp}]/u, `${what}: nothing but printable text`)
  }
  t.same(compareTrees(tree, join(directory, 'out/tree')), [])

  const lines = said.list.stdout.toString().trimEnd().split('\n')
  t.equal(lines.length, names.length + 2, 'one line a name')
  t.ok(lines.includes('tree/a new\\nline'))
  t.ok(lines.includes('tree/an escape \\033[31m sequence\\007'))
  t.ok(lines.includes('tree/b\\377\\376\\033\\n'))
  t.ok(lines.includes("tree/quote ' and \\\\' backslash \\\\"))
  t.ok(lines.includes('tree/Grüße 中文 🙂'))

  const inJson = objects(t, said['list --json'].stdout, 0).filter(
    line => 'entryType' in line && line.entryType === 'file',
  )
  const paths = inJson.map(({ path, pathBase64 }) => {
    return pathBase64 === undefined ? Buffer.from(String(path)) : Buffer.from(String(pathBase64), 'base64')
  })
  t.same(
    paths.map(String),
    names.map(name => `tree/${name}`),
  )
  t.same(inJson.filter(({ pathBase64 }) => pathBase64 !== undefined).length, 1, 'only where it is not UTF-8')
})

t.test('-v names entries', async t => {
  const { directory } = await fixture(t)
  const names = LISTING.replaceAll(/\/$/gm, '')
  const byEnd = (text: string) => text.split('\n').sort().join('\n')
  fs.mkdirSync(join(directory, 'out'))
  const created = await reftar(['create', '-v', '-f', 'x', 'tree'], { cwd: directory })
  check(t, created, {
    code: 0,
    stdout: names,
    stderr: /^reftar: 5 entries, 9\.8 KiB: .*read.*shared.*\nreftar: archive .* ratio .*\n$/,
  })
  const piped = await reftar(['create', '-v', 'tree'], { cwd: directory })
  t.ok(piped.stderr.startsWith(names), 'on stderr while stdout carries the archive')
  const extracted = await reftar(['extract', '-v', '-f', 'x', '-C', 'out'], { cwd: directory })
  check(t, extracted, {
    code: 0,
    stdout: /./,
    stderr: /^reftar: 5 entries, 9\.8 KiB: .*cloned.*\nreftar: archive .*\n$/,
  })
  t.equal(byEnd(extracted.stdout.toString()), byEnd(names))
})

t.test('from btrfs to ext4', async t => {
  const from = testDirectory(t, 'btrfs')
  const to = testDirectory(t, 'ext4')
  if (from === undefined || to === undefined) return
  const tree = join(from, 'tree')
  fs.mkdirSync(tree)
  fs.writeFileSync(join(tree, 'a'), noise(MIB))
  for (const name of ['b', 'c']) reflink(join(tree, 'a'), join(tree, name))
  for (const out of ['json', 'verbose', 'always']) fs.mkdirSync(join(to, out))
  const created = await reftar(['create', '--json', '-f', 'a.reftar', '-C', from, 'tree'], { cwd: to })
  const summary = objects(t, created.stdout, 0).at(-1)
  t.match(summary, {
    tree: { entries: 4, bytesRead: MIB, sharedBytes: 2 * MIB },
    archive: { dataBytes: MIB },
  })

  const json = await reftar(['extract', '--json', '-f', 'a.reftar', '-C', 'json'], { cwd: to })
  check(t, json, { code: 0, stdout: /./ })
  t.match(objects(t, json.stdout, 0).at(-1), {
    target: { clonedBytes: 0, copiedBytes: 2 * MIB, copyReasons: { EOPNOTSUPP: 2 * MIB } },
  })
  t.same(compareTrees(tree, join(to, 'json/tree')), [])

  const verbose = await reftar(['extract', '-v', '-f', 'a.reftar', '-C', 'verbose'], { cwd: to })
  check(t, verbose, {
    code: 0,
    stdout: /./,
    stderr:
      /^reftar: 4 entries, 3\.0 MiB: 1\.0 MiB written, 0 B cloned in 0 of 1 calls, 2\.0 MiB copied, 0 B holes\nreftar: 0\.0 of 2\.0 MiB that were shared .*\(EOPNOTSUPP\)\nreftar: archive .*\n$/,
  })
  t.same(compareTrees(tree, join(to, 'verbose/tree')), [])

  const always = await reftar(['extract', '--reflink', 'always', '-f', 'a.reftar', '-C', 'always'], {
    cwd: to,
  })
  check(t, always, { code: 2, stderr: /^reftar: .*cannot be cloned: EOPNOTSUPP\n$/ })
  t.same(fs.readdirSync(join(to, 'always')), [])
})
