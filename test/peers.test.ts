// The other end of a pipe: it ends in the middle, it never begins, it is killed, or there is none.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Ended, scratch, shell, started, until } from './cli/run.js'
import { compareTrees } from './support/compare-trees.js'
import { MIB, namesBelow, noise } from './support/trees.js'

process.umask(0o022)
t.setTimeout(120_000)

const REFTAR = 'env -u NODE_OPTIONS "$NODE" "$CLI"'
const BROKEN = 'reftar: write: broken pipe (EPIPE)\n'
const OLD = 'this was here before'
/** More than any pipe and any buffer holds. */
const LARGE = 24 * MIB

const directory = scratch(t)
const target = join(directory, 'out')
fs.mkdirSync(join(directory, 'tree'))
fs.writeFileSync(join(directory, 'tree/a'), 'small')
fs.writeFileSync(join(directory, 'tree/b'), noise(LARGE))
fs.writeFileSync(join(directory, 'tree/c'), 'small')
const inHere = { cwd: directory }

/** A target with a stranger, and a file that is to be replaced. */
function prepare(): void {
  fs.rmSync(target, { recursive: true, force: true })
  fs.mkdirSync(join(target, 'tree'), { recursive: true })
  for (const name of ['stranger', 'tree/a']) fs.writeFileSync(join(target, name), OLD)
}

function isUntouched(): boolean {
  const names = namesBelow(target).join(' ')
  return names === 'stranger tree tree/a' && fs.readFileSync(join(target, 'tree/a'), 'utf8') === OLD
}

/** What each command of a pipeline ended with, ahead of all that was said. */
async function statuses(script: string): Promise<Ended & { readonly statuses: string }> {
  const ended = await shell(`${script}; echo "\${PIPESTATUS[*]}"`, inHere)
  return { ...ended, statuses: ended.stdout.toString().trimEnd().split('\n').at(-1) ?? '' }
}

t.test('create: a reader that goes', async t => {
  const readers: readonly (readonly [reader: string, status: number])[] = [
    ['true', 0],
    ['head -c 1 > /dev/null', 0],
    [`head -c ${5 * MIB} > /dev/null`, 0],
    // It reads, and is killed while the writer waits for it.
    [`{ head -c ${5 * MIB} > /dev/null; sleep 0.2; kill -KILL $BASHPID; }`, 137],
    // It never reads.
    ['{ sleep 0.2; kill -KILL $BASHPID; }', 137],
  ]
  for (const [reader, status] of readers) {
    const ended = await statuses(`${REFTAR} create tree | ${reader}`)
    t.equal(ended.statuses, `2 ${status}`, reader)
    t.match(ended.stderr, new RegExp(`^${BROKEN.replace(/[()]/g, '\\$&')}`), reader)
  }
})

t.test('extract: a writer that ends in the middle', async t => {
  const writers: readonly (readonly [writer: string, stderr: RegExp])[] = [
    ['true', /^reftar: the archive ends before the rest of the header \(at byte 0\)$/m],
    ['printf r', /^reftar: the archive ends before the rest of the header \(at byte 1\)$/m],
    [
      `${REFTAR} create tree | head -c 4096`,
      /^reftar: the archive ends before the trailer \(at byte 4096\)$/m,
    ],
    [`${REFTAR} create tree | head -c 6000000`, /^reftar: the archive ends before .*$/m],
    [`${REFTAR} create tree | head -c -1`, /^reftar: the archive ends before .*$/m],
    [`${REFTAR} create tree none`, /^reftar: the archive ends before .*$/m],
  ]
  for (const [writer, stderr] of writers) {
    for (const options of ['', '--overwrite']) {
      const what = `${writer.replaceAll(REFTAR, 'reftar')}, ${options}`
      prepare()
      // The target has a name that is in the way, which is told first.
      if (options === '') fs.rmSync(join(target, 'tree/a'))
      const ended = await statuses(`${writer} | ${REFTAR} extract -C out ${options}`)
      t.equal(ended.statuses.at(-1), '2', what)
      t.match(ended.stderr, stderr, what)
      if (options === '') t.same(namesBelow(target), ['stranger', 'tree'], what)
      else t.ok(isUntouched(), `${what}: nothing is published, and nothing is left`)
    }
  }
})

t.test('extract: a writer that is killed', async t => {
  for (const bytes of [3 * MIB, 20 * MIB]) {
    prepare()
    // The writer writes on until it waits for a reader that stands still, and is killed there.
    const script = `
      mkfifo fifo
      ${REFTAR} create tree > fifo & writer=$!
      { head -c ${bytes}; kill -KILL $writer; cat; } < fifo | ${REFTAR} extract -C out --overwrite
      echo $?
      wait $writer; echo $?
      rm fifo`
    const { stdout, stderr } = await shell(script, inHere)
    t.equal(stdout.toString(), '2\n137\n')
    t.match(stderr, /reftar: the archive ends before .*\n/)
    t.ok(isUntouched(), 'nothing is published, and nothing is left')
  }
})

t.test('create | extract: the reader is killed, and the writer hears of it', async t => {
  prepare()
  const script = `
    mkfifo fifo
    ${REFTAR} extract -C out --overwrite < fifo & reader=$!
    ${REFTAR} create tree | {
      head -c ${10 * MIB}
      until test -e out/tree/.reftar-*/b; do sleep 0.01; done
      kill -KILL $reader
      cat
    } > fifo
    echo \${PIPESTATUS[0]}
    wait $reader; echo $?
    rm fifo`
  const { stdout } = await shell(script, inHere)
  t.equal(stdout.toString(), '2\n137\n')
  t.ok(fs.readFileSync(join(target, 'tree/a'), 'utf8') === OLD, 'nothing is published')
  const again = await shell(`${REFTAR} create tree | ${REFTAR} extract -C out --overwrite`, inHere)
  t.equal(again.code, 0)
  const left = namesBelow(target).filter(name => /^(tree\/)?\.reftar-[^/]*$/.test(name))
  t.equal(left.length, 1)
  t.match(again.stderr, new RegExp(`^reftar: '${left[0]}' is left over [^\\n]*\\n$`))
  for (const name of left) fs.rmSync(join(target, name), { recursive: true })
  t.same(compareTrees(join(directory, 'tree'), join(target, 'tree')), [])
})

t.test('a writer that stands still is waited for, and its end is heard', async t => {
  prepare()
  const { stdout: bytes } = await shell(`${REFTAR} create tree`, inHere)
  const running = started(['extract', '-C', target, '--overwrite'])
  t.teardown(() => running.kill('SIGKILL'))
  running.feed(bytes.subarray(0, 10 * MIB))
  await until(() => namesBelow(target).some(name => name.endsWith('/b')))
  running.kill('SIGTERM')
  const { signal } = await running.ended
  t.equal(signal, 'SIGTERM')
  t.ok(isUntouched(), 'nothing is published, and nothing is left')
})

t.test('descriptors that are closed from the start', async t => {
  prepare()
  const { stdout: archive } = await shell(`${REFTAR} create tree`, inHere)
  fs.writeFileSync(join(directory, 'archive'), archive)
  const none = 'reftar: the archive ends before the rest of the header (at byte 0)\n'
  for (const command of ['extract -C out', 'list', 'verify', 'verify --against .']) {
    const { code, stderr, stdout } = await shell(`${REFTAR} ${command} <&-`, inHere)
    t.match({ code, stderr, stdout: stdout.toString() }, { code: 2, stderr: none, stdout: '' }, command)
  }
  t.ok(isUntouched())
  // What is opened next gets the number of what is closed: no message and no name may come into an archive.
  const closed = ['<&-', '>&-', '2>&-', '<&- >&-', '>&- 2>&-', '<&- >&- 2>&-']
  for (const how of closed) {
    const { code } = await shell(`${REFTAR} create -v -f new tree /none/such ${how}`, inHere)
    t.equal(code, 2, `create ${how}`)
    t.notOk(fs.existsSync(join(directory, 'new')), how)
    const whole = await shell(`${REFTAR} create -v -f new tree ${how}`, inHere)
    t.equal(whole.code, 0, `create ${how}`)
    t.ok(fs.readFileSync(join(directory, 'new')).equals(archive), `create ${how}: the archive is the same`)
    fs.rmSync(join(directory, 'new'))
    prepare()
    const extracted = await shell(`${REFTAR} extract -v -f archive -C out --overwrite ${how}`, inHere)
    t.equal(extracted.code, 0, `extract ${how}`)
    t.same(compareTrees(join(directory, 'tree'), join(target, 'tree')), [], `extract ${how}`)
  }
  t.same(fs.readdirSync(directory).sort(), ['archive', 'out', 'tree'], 'and nothing else came of it')
})
