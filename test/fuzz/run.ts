// Inputs for a while: `npm run fuzz -- [--minutes 60] [--seed 1] [--directory /dev/shm]`. Prints each that is read wrongly
// in hex, to become a fixture.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fuzz } from './fuzz.js'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    directory: { type: 'string', default: tmpdir() },
  },
})
const directory = mkdtempSync(join(values.directory, 'reftar-fuzz-'))
const { inputs, blocks, failures } = await fuzz(
  directory,
  Number(values.seed),
  Number(values.minutes) * 60_000,
)
rmSync(directory, { recursive: true, force: true })
for (const { seed, what, bytes } of failures)
  console.log(`seed ${seed}: ${what}\n${Buffer.from(bytes).toString('hex')}`)
console.log(
  `${inputs} inputs from seed ${values.seed} ran ${blocks} blocks of code, ${failures.length} failed`,
)
process.exitCode = failures.length > 0 ? 1 : 0
