/**
 * Shows reftar at its main job: `npm run demo`, or `npx tsx bench/demo.ts` once it is built. It is a selftest in a fresh
 * directory inside the current one, which it removes at the end, or in a filesystem of its own.
 */
import { openPlace } from './demo/place.js'
import { answerSignals, interruptedStatus, runScript } from './process-group.js'

answerSignals()
try {
  const place = await openPlace()
  try {
    if (interruptedStatus() === undefined) {
      console.log(`${place.description}\n`)
      process.exitCode = await runScript(new URL('../dist/cli.cjs', import.meta.url), [
        'selftest',
        '--verbose',
        place.directory,
      ])
    }
  } finally {
    await place.close()
  }
} catch (error) {
  console.error(error instanceof Error ? error.message.trim() : error)
  process.exitCode = 1
}
process.exitCode = interruptedStatus() ?? process.exitCode ?? 0
