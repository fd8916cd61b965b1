// Progress on a terminal and elsewhere, as it is seen there.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { reftar, shell, started, until } from './cli/run.js'
import { BARE } from './support/injected.js'
import { onTerminal, type Terminal } from './support/terminal.js'
import { MIB, namesBelow, noise } from './support/trees.js'

process.umask(0o022)

const isRoot = process.getuid?.() === 0
const tracing = { skip: isRoot && fs.existsSync('/usr/bin/strace') ? false : 'needs root and strace' }
const FILES = 24
const LINE = /^\d+ entr(y|ies), .* read, .* shared, .*\/s/
const SIGUSR2 = 12

/** The command, each read of the archive taking its time. */
const SLOW =
  'env -u NODE_OPTIONS strace -f -qq -o /dev/null -P "$PWD/a.reftar" -e trace=read,pread64 -e inject=read,pread64:delay_enter=80ms "$NODE" "$CLI"'
/** Bytes on stdin, with a pause after the first of them. */
const PAUSED = '(head -c 9000000 a.reftar; sleep 1; tail -c +9000001 a.reftar 2> /dev/null)'
const REFTAR = '"$NODE" "$CLI"'

/** A directory with a tree, half of it found equal, and its archive. */
const place = fs.mkdtempSync('/tmp/reftar-progress-')
t.teardown(() => fs.rmSync(place, { recursive: true }))

t.before(async () => {
  fs.mkdirSync(join(place, 'tree'))
  for (let i = 0; i < FILES; i++) {
    const name = `tree/${String(i).padStart(2, '0')}`
    fs.writeFileSync(join(place, name), noise(MIB, name))
    fs.writeFileSync(join(place, `${name}-again`), noise(MIB, name))
  }
  const { code } = await reftar(['create', '-f', 'a.reftar', 'tree'], { cwd: place })
  if (code !== 0) throw new Error('no archive')
})

function terminal(t: Test, columns: number, script: string): Terminal {
  const terminal = onTerminal(columns, script, place)
  t.teardown(terminal.kill)
  return terminal
}

/** What may be said of any screen, however it comes about. */
function checkScreen(t: Test, { screen }: Terminal): void {
  t.same(screen.unknown, [], 'nothing that a dumb terminal would not obey')
  t.notOk(screen.isWrapped, 'no line goes on in the next')
}

for (const columns of [80, 200]) {
  t.test(`a line that is written anew, and is gone in the end: ${columns} columns`, tracing, async t => {
    const on = terminal(t, columns, `${SLOW} verify -f a.reftar`)
    t.equal(await on.ended, 0)
    const { frames, text } = on.screen
    t.ok(frames.length > 2, `${frames.length} times: ${frames.at(-1)}`)
    for (const frame of frames) t.match(frame, frame.endsWith('finishing') ? / shared, / : LINE)
    t.match(frames.at(1), /, \d:\d\d left$/, 'the size of the archive is known')
    if (columns === 200) t.match(frames.at(1), /, \d:\d\d so far, \d+ %, /)
    t.equal(text, '', 'nothing is left')
    checkScreen(t, on)
    const read = frames.map(frame => Number(/([\d.]+) MiB read/.exec(frame)?.[1]))
    t.same(
      read,
      [...read].sort((a, b) => a - b),
      'it grows',
    )
  })
}

t.test('a window that becomes narrower, and wider', tracing, async t => {
  const on = terminal(t, 100, `${SLOW} list -f a.reftar > names`)
  const { frames } = on.screen
  for (const [i, columns] of [40, 120].entries()) {
    await until(() => frames.length > i * 3)
    on.resize(columns)
  }
  t.equal(await on.ended, 0)
  const lengths = frames.map(frame => frame.length)
  t.ok((lengths[0] as number) > 60, `${lengths}`)
  t.ok(
    lengths.some(length => length < 40),
    'narrow',
  )
  t.ok((lengths.at(-1) as number) > 60, 'and wide')
  t.equal(on.screen.text, '')
  checkScreen(t, on)
})

t.test('names and messages take its place', tracing, async t => {
  fs.rmSync(join(place, 'out'), { recursive: true, force: true })
  fs.mkdirSync(join(place, 'out'))
  const on = terminal(t, 200, `${SLOW} extract -v -f a.reftar -C out --no-devices`)
  t.equal(await on.ended, 0)
  const { frames, lines } = on.screen
  const names = lines.slice(0, 1 + 2 * FILES).map(line => line.trimEnd())
  t.same(names.sort(), ['tree', ...namesBelow(join(place, 'tree')).map(name => `tree/${name}`)])
  const said = lines.slice(1 + 2 * FILES).map(line => line.trimEnd())
  t.match(said[0], /^reftar: 49 entries, 48\.0 MiB: /)
  t.equal(said.at(-1), '')
  t.ok(said.slice(0, -1).every(line => line.startsWith('reftar: ')))
  t.ok(frames.some(frame => LINE.test(frame)))
  checkScreen(t, on)
})

t.test('an error takes its place', async t => {
  const on = terminal(t, 80, `${PAUSED} | head -c 20000000 | ${REFTAR} verify`)
  t.equal(await on.ended, 2)
  t.ok(on.screen.frames.some(frame => LINE.test(frame)))
  t.match(on.screen.text, /^reftar: the archive ends before the .*\(at byte 20000000\)\n$/)
  checkScreen(t, on)
})

t.test('an interruption leaves nothing of it', async t => {
  const on = terminal(t, 80, `exec ${REFTAR} extract -C out2 < <(head -c 9000000 a.reftar; sleep 20)`)
  fs.mkdirSync(join(place, 'out2'), { recursive: true })
  await until(() => on.screen.frames.length > 1)
  on.type('\u0003')
  t.equal(await on.ended, 'SIGINT')
  t.equal(on.screen.text, '')
  t.same(fs.readdirSync(join(place, 'out2')), [], 'it has cleaned up')
})

t.test('while the archive goes to stdout', tracing, async t => {
  for (const to of ['> b.reftar', '| cat > b.reftar']) {
    const on = terminal(t, 80, `${SLOW} create a.reftar ${to}`)
    t.equal(await on.ended, 0)
    t.match(on.screen.frames[0], LINE)
    t.equal(on.screen.text, '', to)
    checkScreen(t, on)
  }
  const { stdout } = await shell(`${REFTAR} create a.reftar | cmp - b.reftar && echo same`, { cwd: place })
  t.equal(stdout.toString(), 'same\n')
})

t.test('where it would be in the way', async t => {
  const silent = {
    'names go to who reads them on the same screen': `${PAUSED} | ${REFTAR} list | cat`,
    'it is in the background': `set -m; { ${PAUSED} | ${REFTAR} verify; } & wait`,
    'another one tells how far it is': `exec flock "$(tty)" bash -c '${PAUSED} | ${REFTAR} verify'`,
    'it is not wanted': `${PAUSED} | ${REFTAR} verify --no-progress`,
    'what is said is JSON': `${PAUSED} | ${REFTAR} verify --json > json`,
  }
  await Promise.all(
    Object.entries(silent).map(async ([why, script]) => {
      const on = terminal(t, 200, script)
      t.equal(await on.ended, 0, why)
      t.same(
        on.screen.frames.filter(frame => LINE.test(frame)),
        [],
        why,
      )
      checkScreen(t, on)
    }),
  )
  const on = terminal(t, 80, `${PAUSED} | ${REFTAR} list --progress | tail -n 1`)
  t.equal(await on.ended, 0)
  t.match(on.screen.frames[0], LINE, 'unless it is asked for')
})

t.test('without a terminal', async t => {
  const archive = fs.readFileSync(join(place, 'a.reftar'))
  const [head, tail] = [archive.subarray(0, 9_000_000), archive.subarray(9_000_000)]

  await t.test('--progress tells lines now and then', async t => {
    const running = started(['verify', '--progress'])
    t.teardown(() => running.kill('SIGKILL'))
    running.feed(head)
    await until(() => running.stderr().includes('\n'))
    running.end(tail)
    const { code, stdout, stderr } = await running.ended
    t.equal(code, 0)
    t.equal(stdout.toString(), '')
    for (const line of stderr.trimEnd().split('\n'))
      t.match(line, /^reftar: \d+ entries, .*\/s, \d:\d\d so far$/)
  })

  await t.test('with --json, an event', async t => {
    const running = started(['verify', '--progress', '--json'])
    t.teardown(() => running.kill('SIGKILL'))
    running.feed(head)
    await until(() => running.stdout().includes('\n'))
    running.end(tail)
    const { code, stdout, stderr } = await running.ended
    t.match({ code, stderr }, { code: 0, stderr: '' })
    const events = stdout
      .toString()
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    const summary = events.pop()
    t.match(summary, { type: 'summary', status: 0, seconds: Number, archive: { entries: 1 + 2 * FILES } })
    for (const event of events) {
      t.match(event, {
        type: 'progress',
        entries: Number,
        bytesRead: Number,
        logicalBytes: Number,
        sharedBytes: Number,
        bytesPerSecond: Number,
        seconds: Number,
      })
      t.ok(event.seconds <= summary.seconds)
      t.ok(event.bytesRead <= summary.archive.archiveBytes)
      t.notOk('secondsLeft' in event, 'nobody knows')
    }
  })

  await t.test('SIGUSR2 asks once, and never ends it', async t => {
    const told = /^(reftar: |\{"type":"progress","entries":)(\d+)/
    for (const more of [[], ['--json']]) {
      // The test runner handles signals in all others.
      const running = started(['verify', ...more], place, BARE)
      t.teardown(() => running.kill('SIGKILL'))
      /** Asks until so many entries are told. */
      const asked = (entries: number) =>
        until(() => {
          running.kill('SIGUSR2')
          const lines = (running.stdout() + running.stderr()).trimEnd().split('\n')
          return Number(told.exec(lines.at(-1) ?? '')?.[2] ?? -1) >= entries
        })
      await until(() => isHandled(running.pid, SIGUSR2))
      await asked(0)
      running.feed(head)
      await asked(1)
      running.end(tail)
      const { code, signal, stdout, stderr } = await running.ended
      t.match({ code, signal }, { code: 0, signal: undefined })
      const lines = (stdout.toString() + stderr).trimEnd().split('\n')
      if (more.length > 0) t.match(lines.pop(), /^\{"type":"summary","status":0,/)
      for (const line of new Set(lines)) t.match(line, told)
    }
  })
})

/** Whether a process does not die of a signal. */
function isHandled(pid: number, signal: number): boolean {
  const [, caught = '0'] = /^SigCgt:\s*(\w+)$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1')) ?? []
  return ((BigInt(`0x${caught}`) >> BigInt(signal - 1)) & 1n) === 1n
}
