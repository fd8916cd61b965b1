/**
 * A script in a process group of its own, which one signal ends with all that it started. Whoever runs it only makes the
 * place and takes it away again, so that it can answer a Ctrl-C at any moment.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const PATIENCE = 10_000
const POLL = 20

let interrupted: NodeJS.Signals | undefined
let group: ChildProcess | undefined

/** From now on, signals end the script, not this process; called once, before there is anything to take away. */
export function answerSignals(): void {
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      interrupted ??= signal
      if (group) signalGroup(group, signal)
    })
  }
}

/** The exit status that a signal asks for, if one came. */
export function interruptedStatus(): number | undefined {
  return interrupted && 128 + constants.signals[interrupted]
}

/** Runs a TypeScript file; resolves with its exit status when all the processes that it started are gone too. */
export async function runScript(script: URL, args: readonly string[]): Promise<number> {
  if (interrupted) return 1
  const command = ['--import', import.meta.resolve('tsx'), fileURLToPath(script), ...args]
  const child = spawn(process.execPath, command, { detached: true, stdio: ['ignore', 'inherit', 'inherit'] })
  group = child
  const status = await new Promise<number>((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', code => resolve(code ?? 1))
  })
  for (const end = Date.now() + PATIENCE; signalGroup(child, 0) && Date.now() < end; ) await setTimeout(POLL)
  return status
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals | 0): boolean {
  try {
    return pid !== undefined && process.kill(-pid, signal)
  } catch {
    return false
  }
}
