import { constants } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import { collectOften } from './collector.js'
import type { Output } from './output.js'
import { Progress } from './progress.js'

/** Exit statuses, as those of GNU tar. */
export const DONE = 0
/** Done, but something that was named differs or was left out. */
export const DIFFERS = 1
export const FATAL = 2

/** Milliseconds. */
const DELIVERY = 1000
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export interface Outcome {
  /** Of the process. */
  readonly status: number
  readonly summary: object
  /** What to say of it to people, in lines. */
  readonly conclusion?: readonly string[]
}

/**
 * Runs a command, cleans up when it is interrupted, and sets the exit status; a signal still ends the process in the end.
 *
 * @param work - tells `progress` what to follow
 */
export async function run(
  output: Output,
  work: (signal: AbortSignal, progress: Progress) => Promise<Outcome>,
): Promise<void> {
  const controller = new AbortController()
  let received: NodeJS.Signals | undefined
  const interrupt = (signal: NodeJS.Signals) => {
    received = signal
    controller.abort()
  }
  for (const signal of SIGNALS) process.on(signal, interrupt)
  collectOften()
  const progress = new Progress(output)
  output.onError(error => controller.abort(error))
  try {
    const { status, summary, conclusion = [] } = await work(controller.signal, progress)
    progress.stop()
    if (output.json) output.object({ type: 'summary', status, ...summary, seconds: progress.seconds })
    await output.end()
    for (const line of conclusion) output.message(line)
    process.exitCode = status
  } catch (error) {
    process.exitCode = FATAL
    progress.stop()
    if (!received) output.error(controller.signal.aborted ? controller.signal.reason : error)
    if (output.json) output.object({ type: 'summary', status: FATAL })
  }
  output.flush()
  for (const signal of SIGNALS) process.off(signal, interrupt)
  if (received) {
    process.exitCode = 128 + constants.signals[received]
    process.kill(process.pid, received)
    // Another thread may be the one that takes the signal: until it does, this one must not exit.
    await setTimeout(DELIVERY)
  }
}
