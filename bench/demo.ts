/**
 * Shows reftar at its main job: `npm run demo`, or `npx tsx bench/demo.ts` once it is built. It works in a fresh
 * directory inside the current one, which it removes at the end. The exit status is 0 only if all that was restored is
 * identical and shares what it shared. What there is to see happens in demo/show.ts.
 */
import { openPlace } from './demo/place.js'
import { answerSignals, interruptedStatus, runScript } from './process-group.js'

answerSignals()
try {
  const place = await openPlace()
  try {
    if (interruptedStatus() === undefined) {
      console.log(`${place.description}\n`)
      const how = place.canReflink ? 'reflink' : 'copy'
      process.exitCode = await runScript(new URL('demo/show.ts', import.meta.url), [place.directory, how])
    }
  } finally {
    await place.close()
  }
} catch (error) {
  console.error(error instanceof Error ? error.message.trim() : error)
  process.exitCode = 1
}
process.exitCode = interruptedStatus() ?? process.exitCode ?? 0
