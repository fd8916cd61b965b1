/**
 * Shows reftar at its main job: `npm run demo`, or `npx tsx bench/demo.ts` once it is built. It works in a fresh
 * directory inside the current one, which it removes at the end. The exit status is 0 only if all that was restored is
 * identical and shares what it shared.
 *
 * This process only makes the place and takes it away again, so that it can answer a Ctrl-C at any moment; what there
 * is to see happens in a process of its own, demo/show.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openPlace, type Place } from './demo/place.js'

const SHOW = fileURLToPath(new URL('demo/show.ts', import.meta.url))
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const PATIENCE = 10_000
const POLL = 20

let interrupted: NodeJS.Signals | undefined
let show: ChildProcess | undefined

for (const signal of SIGNALS) {
  process.on(signal, () => {
    interrupted ??= signal
    if (show) signalGroup(show, signal)
  })
}

/** Resolves with the exit status, when all the processes that the show started are gone too. */
async function run({ directory, canReflink }: Place): Promise<number> {
  const args = ['--import', import.meta.resolve('tsx'), SHOW, directory, canReflink ? 'reflink' : 'copy']
  // In a process group of its own, so that one signal ends them all.
  const child = spawn(process.execPath, args, { detached: true, stdio: ['ignore', 'inherit', 'inherit'] })
  show = child
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

try {
  const place = await openPlace()
  try {
    if (!interrupted) {
      console.log(`${place.description}\n`)
      process.exitCode = await run(place)
    }
  } finally {
    await place.close()
  }
} catch (error) {
  console.error(error instanceof Error ? error.message.trim() : error)
  process.exitCode = 1
}
if (interrupted) process.exitCode = 128 + constants.signals[interrupted]
