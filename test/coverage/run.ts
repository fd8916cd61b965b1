// The tests that reach every branch of the format, and of what makes, publishes and removes names: `npm run coverage`, as
// root and with strace. c8 counts them, which tap brings along: tap itself does not count the processes that tests start,
// and some of it can happen only there, without privilege or while strace holds a call.
import { chmodSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { ended } from '../support/trees.js'

const TESTS = [
  ...['targets', 'metadata', 'staging', 'restore', 'salvage', 'vectors', 'rename'],
  ...['threats/held', 'threats/taken-away', 'fs/directory-tree'],
]
const FORMAT = readdirSync('test/format').map(name => `test/format/${name}`)
const { NODE_V8_COVERAGE } = process.env

if (NODE_V8_COVERAGE === undefined) throw new Error('nothing counts: start it by npm run coverage')
// Processes that become another user write there too.
chmodSync(NODE_V8_COVERAGE, 0o777)
Object.assign(process.env, { TAP_TIMEOUT: '300' })

const waiting = [...TESTS.map(name => `test/${name}.test.ts`), ...FORMAT]

async function work(): Promise<void> {
  for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
    const { code, output } = await ended(process.execPath, '--import', 'tsx', file)
    console.log(code === 0 ? `passed ${file}` : `${output}\nfailed ${file}`)
    if (code !== 0) process.exitCode = 1
  }
}

await Promise.all(Array.from({ length: availableParallelism() }, work))
