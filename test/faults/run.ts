// Every errno at every call of every system call: `npm run faults -- [--shard 1/4] [--state FILE] [--filesystem xfs]`.
// What has passed is written to the state file, and passed over by the next run.
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type FilesystemName, testDirectory } from '../support/filesystems.js'
import { archive } from '../support/trees.js'
import { clean, ERRNOS, faultOf, makeFaultTree, SYSCALLS } from './cases.js'
import { type Fault, type FaultCommand, FaultProcess } from './fault-process.js'

const { values } = parseArgs({
  options: {
    shard: { type: 'string', default: '1/1' },
    state: { type: 'string', default: 'faults.state' },
    filesystem: { type: 'string', default: 'btrfs' },
  },
})
const [shard = 1, shards = 1] = values.shard.split('/').map(Number)
const passed = new Set(existsSync(values.state) ? readFileSync(values.state, 'utf8').split('\n') : [])
const teardowns: (() => void)[] = []
const test = { pass: () => undefined, teardown: (handler: () => void) => void teardowns.push(handler) }
const directory = testDirectory(test as never, values.filesystem as FilesystemName)
if (directory === undefined) throw new Error(`there is no ${values.filesystem}`)

const counts = { passed: 0, failed: 0, before: 0 }

async function check(
  worker: FaultProcess,
  command: FaultCommand,
  fault: Fault,
  id: string,
): Promise<boolean> {
  clean(command)
  const result = await worker.run(command, fault)
  const wrong = await faultOf(command, fault, result)
  if (wrong === undefined) {
    counts.passed++
    appendFileSync(values.state, `${id}\n`)
  } else {
    counts.failed++
    console.log(`${id}: ${wrong}`)
  }
  return result !== undefined
}

/** The cases of one operation that belong to this shard. */
function* casesOf(
  operation: FaultCommand['operation'],
  calls: ReadonlyMap<string, number>,
): Generator<{ id: string; fault: Fault }> {
  let number = 0
  for (const [syscall, count] of calls) {
    for (let when = 1; when <= count; when++) {
      for (const errno of ERRNOS) {
        if (number++ % shards !== shard - 1) continue
        const id = `${values.filesystem} ${operation} ${syscall} ${errno} ${when}`
        yield { id, fault: { syscall, effect: `error=${errno}`, when } }
      }
    }
  }
}

try {
  for (const operation of ['create', 'extract'] as const) {
    const place = join(directory, operation)
    const command = {
      operation,
      source: join(place, 's'),
      archive: join(place, 'a'),
      target: join(place, 't'),
    }
    mkdirSync(command.source, { recursive: true })
    mkdirSync(command.target)
    makeFaultTree(command.source)
    const { bytes } = await archive(['.'], { directory: command.source })
    writeFileSync(command.archive, bytes)
    let worker = await FaultProcess.start()
    const calls = await worker.count(command, SYSCALLS[operation], join(place, 'log'))
    for (const { id, fault } of casesOf(operation, calls)) {
      if (passed.has(id)) {
        counts.before++
        continue
      }
      if (await check(worker, command, fault, id)) continue
      worker.end()
      worker = await FaultProcess.start()
    }
    worker.end()
  }
} finally {
  for (const teardown of teardowns) teardown()
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.before} had passed before`)
process.exitCode = counts.failed > 0 ? 1 : 0
