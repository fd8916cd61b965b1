import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export interface FaultCommand {
  readonly operation: 'create' | 'extract'
  readonly source: string
  readonly archive: string
  readonly target: string
}

export interface FaultResult {
  readonly ok: boolean
  /** Problems and notes. */
  readonly told: readonly string[]
  readonly message?: string
  /** The error is a ReftarError, or one of node's that has a number. */
  readonly isNamed?: boolean
}

export interface FaultOutcome extends FaultResult {
  /** How many descriptors are open that were not before. */
  readonly leaked: number
}

/** What strace does to a system call: `when` counts its calls in one thread. */
export interface Fault {
  readonly syscall: string
  readonly effect: string
  readonly when: number
}

const WORKER = fileURLToPath(new URL('./worker.ts', import.meta.url))
/** Milliseconds after which an operation counts as hanging. */
const PATIENCE = 30_000

/** Runs operations in a process of its own, with faults that strace injects. */
export class FaultProcess {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  }

  static async start(): Promise<FaultProcess> {
    // One thread in the pool, so that the calls that it makes are counted together.
    const env = { ...process.env, UV_THREADPOOL_SIZE: '1', NODE_OPTIONS: '' }
    const child = spawn(process.execPath, ['--import', 'tsx', WORKER], { env })
    child.stderr.pipe(process.stderr)
    const started = new FaultProcess(child)
    await started.#next()
    return started
  }

  /** How often each system call is made. */
  async count(command: FaultCommand, syscalls: readonly string[], log: string): Promise<Map<string, number>> {
    const stop = await this.#attach(['-o', log, '-e', `trace=${syscalls.join(',')}`])
    await this.#perform(command)
    await stop()
    const counts = new Map<string, number>()
    for (const line of readFileSync(log, 'latin1').split('\n')) {
      const syscall = /^\d+ +(\w+)\(/.exec(line)?.[1]
      if (syscall) counts.set(syscall, (counts.get(syscall) ?? 0) + 1)
    }
    return counts
  }

  /** @returns undefined when it hangs */
  async run(command: FaultCommand, { syscall, effect, when }: Fault): Promise<FaultOutcome | undefined> {
    const before = await this.#descriptors(command)
    const inject = `inject=${syscall}:${effect}:when=${when}`
    const stop = await this.#attach(['-o', '/dev/null', '-e', `trace=${syscall}`, '-e', inject])
    const result = await this.#perform(command)
    await stop()
    return result && { ...result, leaked: (await this.#descriptors(command)) - before }
  }

  end(): void {
    this.#child.kill()
  }

  /** How many files of the operation it has open, once nothing opens or closes any more. */
  async #descriptors({ source, archive, target }: FaultCommand): Promise<number> {
    const directory = `/proc/${this.#child.pid}/fd`
    const isOurs = (name: string) => {
      const file = linkTarget(`${directory}/${name}`)
      return [source, archive, target].some(path => file.startsWith(path))
    }
    const count = () => readdirSync(directory).filter(isOurs).length
    let last = count()
    for (let same = 0; same < 4; same++) {
      await setTimeout(3)
      const now = count()
      if (now !== last) same = -1
      last = now
    }
    return last
  }

  async #attach(options: readonly string[]): Promise<() => Promise<void>> {
    const { pid } = this.#child
    const strace = spawn('strace', ['-f', ...options, '-p', String(pid)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    await once(strace.stderr, 'data')
    return async () => {
      const closed = once(strace, 'close')
      strace.kill('SIGINT')
      await closed
    }
  }

  async #perform(command: FaultCommand): Promise<FaultResult | undefined> {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`)
    return this.#next()
  }

  async #next(): Promise<FaultResult | undefined> {
    const patience = new AbortController()
    const late = setTimeout(PATIENCE, undefined, { signal: patience.signal }).catch(() => undefined)
    const line = await Promise.race([this.#lines.next(), late])
    patience.abort()
    return line && !line.done ? (JSON.parse(line.value) as FaultResult) : undefined
  }
}

/** Empty for one that was closed in the meantime. */
function linkTarget(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
