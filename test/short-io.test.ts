// Calls that do less than they were asked for: what is left is asked for again, from where it stopped, and no more.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { scratch, shell } from './cli/run.js'
import { compareTrees } from './support/compare-trees.js'
import { tracing } from './support/extractor.js'
import { underStrace } from './support/injected.js'
import { needsRoot, ownFilesystem } from './support/own-filesystem.js'
import { KIB, MIB, namesBelow, noise } from './support/trees.js'

process.umask(0o022)
t.setTimeout(120_000)

const REFTAR = 'env -u NODE_OPTIONS "$NODE" "$CLI"'
/** Bytes that are read and written one by one. */
const FEW = 700

/** A tree and its archive. */
async function fixture(t: Test, size: number) {
  const directory = scratch(t)
  const tree = join(directory, 'tree')
  fs.mkdirSync(join(tree, 'd'), { recursive: true })
  fs.mkdirSync(join(directory, 'out'))
  fs.writeFileSync(join(tree, 'a'), noise(size, 'a'))
  fs.writeFileSync(join(tree, 'd/b'), 'b')
  const { code } = await shell(`${REFTAR} create -f archive tree`, { cwd: directory })
  t.equal(code, 0)
  const archive = fs.readFileSync(join(directory, 'archive'))
  return { directory, tree, out: join(directory, 'out'), archive, inHere: { cwd: directory } }
}

interface Transfer {
  readonly asked: number
  readonly done: number
  /** Where in the file; of a call that has a place. */
  readonly offset: number
}

/** What was asked of one file, in order; the calls are to be traced with `-y`, and without the bytes. */
function transfersOf(log: string, name: string): Transfer[] {
  const pattern = /^\d+ +\w+\(\d+<([^>]*)>, .*?, (\d+)(?:, (\d+))?\) += (\d+)/
  return fs
    .readFileSync(log, 'latin1')
    .split('\n')
    .flatMap(line => {
      const [, file = '', asked, offset = '0', done] = pattern.exec(line) ?? []
      return file.endsWith(name) ? { asked: Number(asked), done: Number(done), offset: Number(offset) } : []
    })
}

t.test('an archive that comes byte by byte', needsRoot, async t => {
  const { tree, out, inHere } = await fixture(t, 9 * KIB)
  for (const command of ['extract -C out', 'verify --against out', 'list']) {
    const { code, stderr } = await shell(`dd if=archive bs=1 status=none | ${REFTAR} ${command}`, inHere)
    t.match({ code, stderr }, { code: 0, stderr: '' }, command)
  }
  t.same(compareTrees(tree, join(out, 'tree')), [])
})

t.test('an archive that nobody takes at once: a pipe that does not block', tracing, async t => {
  const { directory, archive, inHere } = await fixture(t, 3 * MIB)
  // Whoever has the other end made it so, waits until it is full, and reads little at a time.
  const script = `
    import fcntl, os, struct, subprocess, sys, termios, time
    def waiting(): return struct.unpack('i', fcntl.ioctl(get, termios.FIONREAD, bytes(4)))[0]
    get, put = os.pipe()
    fcntl.fcntl(put, fcntl.F_SETFL, fcntl.fcntl(put, fcntl.F_GETFL) | os.O_NONBLOCK)
    child = subprocess.Popen(sys.argv[1:], stdout=put)
    os.close(put)
    before = -1
    while before <= 0 or waiting() != before:
        before = waiting()
        time.sleep(0.5)
    while True:
        part = os.read(get, 33333)
        if not part: break
        os.write(1, part)
        time.sleep(0.001)
    sys.exit(child.wait())`.replaceAll('\n    ', '\n')
  fs.writeFileSync(join(directory, 'reader.py'), script)
  const log = join(directory, 'log')
  const strace = `strace -f -qq -o ${log} -e trace=writev -v -s 1`
  const { code, stdout, stderr } = await shell(
    `env -u NODE_OPTIONS python3 reader.py ${strace} "$NODE" "$CLI" create tree`,
    inHere,
  )
  t.match({ code, stderr }, { code: 0, stderr: '' })
  t.ok(stdout.equals(archive), 'it is the same, byte for byte')
  const calls = fs
    .readFileSync(log, 'latin1')
    .split('\n')
    .filter(line => line.includes('writev('))
  t.ok(
    calls.some(line => line.includes('EAGAIN')),
    'the pipe was full',
  )
  const short = calls.filter(line => {
    const lengths = [...line.matchAll(/iov_len=(\d+)/g)].map(([, length]) => Number(length))
    const done = Number(/ = (\d+)$/.exec(line)?.[1] ?? 0)
    return done > 0 && done < lengths.reduce((sum, length) => sum + length, 0)
  })
  t.ok(short.length > 0, `${short.length} of ${calls.length} writes were short`)
})

t.test(
  'a write that is short, for there is no more room: the rest is asked for, and fails',
  tracing,
  async t => {
    for (const [what, place, prefix, error] of [
      ['tmpfs', () => ownFilesystem(t, 'tmpfs', 'size=1536k').mountPoint, [], 'ENOSPC'],
      ['a limit', () => scratch(t), ['prlimit', `--fsize=${MIB - 100}`], 'EFBIG'],
    ] as const) {
      const { archive, tree } = await fixture(t, 3 * MIB)
      const directory = place()
      const log = join(scratch(t), 'log')
      const options = ['-y', '-s', '0', '-o', log, '-e', 'trace=pwrite64,write,writev']
      const file = join(scratch(t), 'archive')
      fs.writeFileSync(file, archive)

      const extracted = await underStrace(
        options,
        ['extract', '--force', '-f', file, '-C', directory],
        {},
        prefix,
      )
      t.match(extracted, { code: 2, stderr: new RegExp(`^reftar: 'tree/a': write: .*${error}.*\\n$`) }, what)
      t.same(namesBelow(directory), [], `${what}: nothing is left`)
      const writes = transfersOf(log, '/tree/a')
      const short = writes.findIndex(({ asked, done }) => done < asked)
      t.ok(short >= 0, `${what}: a write was short`)
      const failed = fs
        .readFileSync(log, 'latin1')
        .split('\n')
        .find(line => line.includes(error))
      const { asked = 0, done = 0, offset = 0 } = writes[short] ?? {}
      t.match(failed, `, ${asked - done}, ${offset + done}) = -1 ${error}`, `${what}: the rest of it`)

      const created = await underStrace(
        options,
        ['create', '-f', join(directory, 'new'), '-C', tree, '.'],
        {},
        prefix,
      )
      t.match(created, { code: 2, stderr: new RegExp(`^reftar: '[^']*': write: .*${error}.*\\n$`) }, what)
      t.same(namesBelow(directory), [], `${what}: nothing is left`)
      const text = fs.readFileSync(log, 'latin1')
      t.match(text, new RegExp(`reftar-part-.*= -1 ${error}`), what)
    }
  },
)

t.test('each call does one byte only', tracing, async t => {
  const { archive, tree, directory, out } = await fixture(t, FEW)
  // What strace pretends is not done, so only what is asked for can be judged: all of it, once, and nothing else.
  const inOrder = Array.from({ length: FEW }, (_, offset) => ({ asked: FEW - offset, done: 1, offset }))
  const log = join(directory, 'log')
  const one = (call: string, argv: readonly string[], ...more: readonly string[]) =>
    underStrace(
      ['-y', '-s', '0', '-o', log, ...more, '-e', `trace=${call}`, '-e', `inject=${call}:retval=1:when=1+`],
      argv,
    )
  fs.writeFileSync(join(directory, 'whole'), archive)
  const extracted = await one('pwrite64', ['extract', '-f', join(directory, 'whole'), '-C', out])
  t.equal(extracted.code, 0, extracted.stderr)
  t.same(transfersOf(log, '/tree/a'), inOrder, 'extract writes')

  const only = ['-P', join(tree, 'a')]
  const created = await one('pread64', ['create', '-f', join(directory, 'new'), '-C', tree, 'a'], ...only)
  t.equal(created.code, 0, created.stderr)
  t.same(transfersOf(log, '/tree/a').slice(0, FEW), inOrder, 'create reads')
})
