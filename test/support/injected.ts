// The built command below strace, which tells which calls it makes and does something to one of them.
import { readFileSync } from 'node:fs'
import { CLI, type Ended, type RunOptions, run } from '../cli/run.js'

/** Ahead of a command: the test runner puts its instrumentation, and its handlers of signals, into every process. */
export const BARE = ['env', '-u', 'NODE_OPTIONS'] as const

/** What a call is in a log of strace. */
const CALL = /^(\d+) +(\w+)\(/

/**
 * With one thread in its pool, so that the calls that it makes are counted together.
 *
 * @param prefix - goes ahead of the command
 */
export function underStrace(
  options: readonly string[],
  argv: readonly string[],
  more: RunOptions = {},
  prefix: readonly string[] = [],
): Promise<Ended> {
  const strace = ['strace', '-f', '-qq', ...options, ...prefix, process.execPath, CLI, ...argv]
  return run([...BARE, 'UV_THREADPOOL_SIZE=1', ...strace], more)
}

/** Does something to one call: `when` counts those of its name in one thread, from 1. */
export function injected(
  call: string,
  effect: string,
  when: number | string,
  argv: readonly string[],
  more: RunOptions = {},
): Promise<Ended> {
  const inject = `inject=${call}:${effect}:when=${when}`
  return underStrace(['-o', '/dev/null', '-e', `trace=${call}`, '-e', inject], argv, more)
}

/** A call of a log, with the descriptors as the files that they are. */
export interface LoggedCall {
  readonly call: string
  /** As strace counts it to inject something. */
  readonly when: number
  readonly line: string
}

/** Every call that a run makes. */
export async function loggedCalls(
  log: string,
  calls: readonly string[],
  argv: readonly string[],
  more: RunOptions = {},
): Promise<Ended & { readonly calls: LoggedCall[] }> {
  const ended = await underStrace(['-y', '-o', log, '-e', `trace=${calls}`], argv, more)
  const counts = new Map<string, number>()
  const logged: LoggedCall[] = []
  for (const line of readFileSync(log, 'latin1').split('\n')) {
    const [, thread, call] = CALL.exec(line) ?? []
    if (thread === undefined || call === undefined) continue
    const when = (counts.get(`${thread} ${call}`) ?? 0) + 1
    counts.set(`${thread} ${call}`, when)
    logged.push({ call, when, line })
  }
  return { ...ended, calls: logged }
}

/** How often a run is made again that ended ahead of its call. */
const RUNS = 4

/**
 * Kills a run at the `nth` of these calls, from 1. Runs differ by a file or two that node opens as it starts: where the count of
 * its calls ended ahead of this one, all is prepared and run again.
 */
export async function killedAt(
  calls: readonly LoggedCall[],
  nth: number,
  argv: readonly string[],
  prepare: () => void,
): Promise<Ended> {
  const { call, when } = calls[nth - 1] as LoggedCall
  for (let runs = 1; ; runs++) {
    prepare()
    const ended = await injected(call, 'signal=SIGKILL', when, argv)
    if (ended.signal === 'SIGKILL' || runs === RUNS) return ended
  }
}
