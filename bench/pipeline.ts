/** Processes, alone or two joined by an operating system pipe, each timed and watched. What the benchmarks share. */
import { execFileSync, type StdioOptions, spawn } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export type Command = readonly string[]

export type Outcome = {
  seconds: number
  /** Peak resident memory. */
  peakBytes: number
  /** What a shell would show: the exit status, or 128 and the number of the signal that ended it. */
  exitCode: number
  /** What it wrote to standard output, if that was captured. */
  output: string
}

export type PipelineOutcome = { seconds: number; left: Outcome; right: Outcome }

const TIME = '/usr/bin/time'
const POLL_MILLISECONDS = 20

/** The command line that starts the built reftar, or another build of it. */
export function reftarCommand(cli = fileURLToPath(new URL('../dist/cli.cjs', import.meta.url))): string[] {
  if (!existsSync(cli)) throw new Error(`${cli} does not exist: build it first`)
  return [cli]
}

/** Runs one command with nothing to read, and captures its standard output. */
export function runCommand(command: Command): Promise<Outcome> {
  return inTemporary(directory => run(command, ['ignore', 'pipe', 'inherit'], join(directory, 'report')))
}

/**
 * Runs `left | right` and captures the standard output of `right`. Node's own `pipe` would be a socket pair, which
 * costs differently, so both ends are opened from a FIFO: to the kernel that is a pipe like the shell's.
 */
export function runPipeline(left: Command, right: Command): Promise<PipelineOutcome> {
  return inTemporary(async directory => {
    const fifo = join(directory, 'fifo')
    execFileSync('mkfifo', [fifo])
    const both = openSync(fifo, 'r+') // or opening either end would wait for the other
    const readEnd = openSync(fifo, 'r')
    const writeEnd = openSync(fifo, 'w')
    closeSync(both)

    const start = performance.now()
    const running = Promise.all([
      run(left, ['ignore', writeEnd, 'inherit'], join(directory, 'left')),
      run(right, [readEnd, 'pipe', 'inherit'], join(directory, 'right')),
    ])
    closeSync(readEnd)
    closeSync(writeEnd)
    const [leftOutcome, rightOutcome] = await running
    return { seconds: secondsSince(start), left: leftOutcome, right: rightOutcome }
  })
}

async function inTemporary<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'reftar-bench-'))
  try {
    return await work(directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function run(command: Command, stdio: StdioOptions, report: string): Promise<Outcome> {
  const timed = existsSync(TIME)
  const [program = '', ...args] = timed
    ? [TIME, '--quiet', '--format=%M', `--output=${report}`, ...command]
    : command
  const start = performance.now()
  const child = spawn(program, args, { stdio })
  const peakOf = timed ? undefined : watchPeak(child.pid)

  let seconds = 0
  let output = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.on('exit', () => {
    seconds = secondsSince(start)
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      const peakBytes = peakOf?.() ?? readReport(report)
      resolve({ seconds, peakBytes, exitCode: code ?? signalStatus(signal), output })
    })
  })
}

/** GNU time writes the peak in KiB on its last line; a line about a signal may stand before it. */
function readReport(report: string): number {
  const lines = readFileSync(report, 'utf8').trim().split('\n')
  return Number(lines.at(-1)) * 1024
}

/** Polls the high-water mark of a process until the returned function is called, which gives the last one seen. */
function watchPeak(pid: number | undefined): () => number {
  let peakBytes = 0
  const poll = () => {
    peakBytes = Math.max(peakBytes, highWaterMark(pid))
  }
  const timer = setInterval(poll, POLL_MILLISECONDS)
  return () => {
    clearInterval(timer)
    return peakBytes
  }
}

function highWaterMark(pid: number | undefined): number {
  try {
    const match = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return Number(match?.[1] ?? 0) * 1024
  } catch {
    return 0 // it is gone
  }
}

function signalStatus(signal: NodeJS.Signals | null): number {
  return 128 + (signal === null ? 0 : constants.signals[signal])
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000
}
