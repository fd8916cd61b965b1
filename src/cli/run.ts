import { constants } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import type { Output } from './output.js'

/** Exit statuses, as those of GNU tar. */
export const DONE = 0
/** Done, but something that was named differs or was left out. */
export const DIFFERS = 1
export const FATAL = 2

/** Milliseconds. */
const DELIVERY = 1000
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Runs a command, cleans up when it is interrupted, and sets the exit status; a signal still ends the process in the end.
 *
 * @param work - returns the exit status, the fields of its summary, and what to say of it to people
 */
export async function run(
  output: Output,
  work: (
    signal: AbortSignal,
  ) => Promise<{ status: number; summary: object; conclusion?: string | undefined }>,
): Promise<void> {
  const controller = new AbortController()
  let received: NodeJS.Signals | undefined
  const interrupt = (signal: NodeJS.Signals) => {
    received = signal
    controller.abort()
  }
  for (const signal of SIGNALS) process.on(signal, interrupt)
  output.onError(error => controller.abort(error))
  try {
    const { status, summary, conclusion } = await work(controller.signal)
    if (output.json) output.object({ type: 'summary', status, ...summary })
    await output.end()
    if (conclusion !== undefined) output.message(conclusion)
    process.exitCode = status
  } catch (error) {
    process.exitCode = FATAL
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
