// Archives that nobody made: read wrongly, refused or read rightly, by all alike.
import t from 'tap'
import { vectors } from '../fixtures/generate.js'
import { wrongOf } from './fuzz/check.js'
import { fuzz } from './fuzz/fuzz.js'
import { testDirectory } from './support/filesystems.js'

/** Milliseconds; `npm run fuzz` takes its time. */
const TIME = 60_000

t.setTimeout(120_000)

t.test('list, verify, extract and salvage agree on any input, and harm nothing', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  const seed = Math.floor(Date.now() / 1000)
  const { inputs, blocks, failures } = await fuzz(directory, seed, TIME)
  t.ok(inputs > 100, `${inputs} inputs from seed ${seed}`)
  t.ok(blocks > 1000, `they ran ${blocks} blocks of code`)
  t.same(
    failures.map(({ what, bytes }) => `${what}: ${Buffer.from(bytes).toString('hex')}`),
    [],
  )
})

t.test('they agree on the vectors', async t => {
  const directory = testDirectory(t, 'tmpfs')
  if (directory === undefined) return
  for (const [path, bytes] of await vectors())
    if (path.endsWith('.reftar')) t.equal(await wrongOf(bytes, directory), undefined, path)
})
