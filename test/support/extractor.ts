// A process that extracts what it is told to, so that strace can be put on it: to hold it inside a system call while
// names change, or to write down what it asks of the kernel.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { type RawRow, rawArchive } from '../../fixtures/recipes/raw.js'
import { until } from '../cli/run.js'
import { fifo, file, ground, METADATA, owner, unsorted } from './hostile.js'
import { moduleCommand } from './trees.js'

export interface Extraction {
  /** Where the archive is. */
  readonly file: string
  readonly target: string
  readonly existing?: 'refuse' | 'keep' | 'overwrite'
  readonly salvage?: boolean
}

export interface Outcome {
  /** Of the error; undefined for none. */
  readonly code?: string
  readonly message?: string
  readonly problems: readonly string[]
  readonly notes: readonly string[]
  /** Descriptors that are open afterwards. */
  readonly descriptors: number
}

/** A call at which a process is held. */
export interface Hold {
  readonly call: string
  /** The how manieth of its main thread. */
  readonly when?: number
  /** When it is done, not before. */
  readonly after?: boolean
  readonly meanwhile: () => void
}

const SCRIPT = `
  const { createReadStream, readdirSync } = await import('node:fs')
  const { createInterface } = await import('node:readline')
  const { pipeline } = await import('node:stream/promises')
  const { extract } = await import('./src/extract.ts')
  process.umask(0o022)
  console.log('{}')
  for await (const line of createInterface({ input: process.stdin })) {
    const { file, target, ...options } = JSON.parse(line)
    const events = { problem: [], note: [], entry: [] }
    const onEvent = event => void events[event.type].push(event.message)
    const sink = extract(target, { ...options, onEvent })
    const closed = new Promise(resolve => sink.once('close', resolve))
    const result = await pipeline(createReadStream(file), sink).then(
      () => ({}),
      ({ code, message }) => ({ code, message }),
    )
    await closed
    const descriptors = readdirSync('/proc/self/fd').length
    console.log(JSON.stringify({ ...result, problems: events.problem, notes: events.note, descriptors }))
  }`

export const tracing = {
  skip:
    process.getuid?.() === 0 && fs.existsSync('/usr/bin/strace') ? false : ('needs root and strace' as const),
} as const

/** In milliseconds: how long a call is held, and after how long a stop is taken for that. */
const HELD = 1200
const STOPPED = 200
/** In milliseconds: after that, what should end is killed. */
const PATIENCE = 10_000

const NAMES = [Buffer.from('root')]
const WARM = rawArchive({
  segments: [{ names: NAMES, rows: [fifo('p', 0, METADATA), ...file('f', { fields: [owner(0, 0, 1, 1)] })] }],
})

export class Extractor {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.#child = child
    this.#lines = lines
  }

  static async start(t: Test): Promise<Extractor> {
    const [command, ...args] = moduleCommand(SCRIPT)
    const env = { ...process.env, UV_THREADPOOL_SIZE: '1' }
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env })
    // It ends by itself when nothing more is asked of it: what is killed leaves no coverage.
    t.teardown(() => endOf(child))
    const extractor = new Extractor(child, createInterface({ input: child.stdout })[Symbol.asyncIterator]())
    await extractor.#next()
    // What the first one loads and looks up, later ones have.
    const warm = fs.mkdtempSync(join(tmpdir(), 'reftar-warm-'))
    try {
      fs.writeFileSync(join(warm, 'archive'), WARM)
      fs.mkdirSync(join(warm, 'target'))
      await extractor.extract({ file: join(warm, 'archive'), target: join(warm, 'target') })
    } finally {
      fs.rmSync(warm, { recursive: true })
    }
    return extractor
  }

  async extract(extraction: Extraction): Promise<Outcome> {
    this.#child.stdin?.write(`${JSON.stringify(extraction)}\n`)
    return (await this.#next()) as Outcome
  }

  /** With strace on all of its threads. */
  async traced<T>(options: readonly string[], work: () => Promise<T>): Promise<T> {
    const argv = ['-f', ...options, '-p', String(this.#child.pid)]
    const strace = spawn('strace', argv, { stdio: ['ignore', 'ignore', 'pipe'] })
    try {
      await once(strace.stderr, 'data')
      return await work()
    } finally {
      strace.kill('SIGINT')
      await once(strace, 'close')
    }
  }

  /** Extracts, and holds it at one call after the other, those of one name in a row, to do something meanwhile. */
  async heldAt(extraction: Extraction, ...holds: readonly Hold[]): Promise<Outcome & { held: number }> {
    const calls = [...new Set(holds.map(({ call }) => call))]
    const injections = calls.flatMap(name => {
      const of = holds.filter(({ call }) => call === name)
      const [first, last] = [of[0], of.at(-1)].map(hold => hold?.when ?? 1)
      const side = of[0]?.after ? 'exit' : 'enter'
      return ['-e', `inject=${name}:delay_${side}=${HELD * 1000}:when=${first}..${last}`]
    })
    return this.traced(['-o', '/dev/null', '-e', `trace=${calls}`, ...injections], async () => {
      let hasEnded = false
      const extracting = this.extract(extraction).finally(() => {
        hasEnded = true
      })
      let held = 0
      for (const { meanwhile } of holds) {
        await until(this.#isHeld(() => hasEnded))
        if (hasEnded) break
        held++
        // Between two holds in a row it may run for too short to be seen: then it is the time that tells.
        const released = performance.now() + HELD
        meanwhile()
        await until(() => hasEnded || !this.#isStopped() || performance.now() > released)
      }
      return { ...(await extracting), held }
    })
  }

  /** Whether it has been stopped for longer than strace stops it at a call. */
  #isHeld(hasEnded: () => boolean): () => boolean {
    let since = Number.POSITIVE_INFINITY
    return () => {
      const now = performance.now()
      since = this.#isStopped() ? Math.min(since, now) : Number.POSITIVE_INFINITY
      return hasEnded() || now - since > STOPPED
    }
  }

  #isStopped(): boolean {
    const stat = fs.readFileSync(`/proc/${this.#child.pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('t')
  }

  async #next(): Promise<unknown> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error('the process has ended')
    return JSON.parse(value)
  }
}

async function endOf(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const hanging = setTimeout(() => child.kill('SIGKILL'), PATIENCE)
  child.stdin?.end()
  await once(child, 'close')
  clearTimeout(hanging)
}

/** Exchanges two names, and puts a symlink back where one is gone, as fast as it can. */
const SWAP = `
import ctypes, os, shutil, sys
libc = ctypes.CDLL(None, use_errno=True)
directory, link = sys.argv[1:]
os.chdir(directory)
print('ready', flush=True)
while True:
    libc.renameat2(-100, b'd', -100, b'e', 2)
    try:
        if not os.path.islink('d') and not os.path.islink('e'):
            shutil.rmtree('e', ignore_errors=True)
            os.symlink(link, 'e')
    except OSError:
        pass`

/** While something is done, `d` in a directory is a directory and a symlink by turns. */
export async function whileSwapping<T>(directory: string, link: string, work: () => Promise<T>): Promise<T> {
  fs.mkdirSync(join(directory, 'd'), { recursive: true })
  fs.symlinkSync(link, join(directory, 'e'))
  const swapper = spawn('python3', ['-c', SWAP, directory, link], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    await once(swapper.stdout, 'data')
    return await work()
  } finally {
    swapper.kill('SIGKILL')
    await once(swapper, 'close')
  }
}

/** A scene with an archive in it, for a process that is held. */
export function scene(t: Test, rows: readonly RawRow[]) {
  const place = ground(t, 'xfs')
  if (!place) return undefined
  const path = join(place.base, 'archive')
  fs.writeFileSync(path, unsorted(rows))
  return { place, extraction: { file: path, target: place.target } }
}

/** Puts something else in the place of a name, which is moved away. */
export function replace(path: string, make: (path: string) => void): void {
  fs.renameSync(path, `${path}-moved`)
  make(path)
}
