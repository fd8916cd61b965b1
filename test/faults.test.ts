// A system call that fails makes a failure that is named, or none that matters: never a success that is none.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { clean, ERRNOS, faultOf, makeFaultTree, SYSCALLS, someOf } from './faults/cases.js'
import { type FaultCommand, FaultProcess } from './faults/fault-process.js'
import { testDirectory } from './support/filesystems.js'
import { archive, sourceAndTarget } from './support/trees.js'

const hasStrace = process.getuid?.() === 0 && fs.existsSync('/usr/bin/strace')
const tracing = { skip: hasStrace ? false : 'needs root and strace' } as const

t.setTimeout(600_000)

for (const operation of ['create', 'extract'] as const) {
  t.test(`${operation}: each system call fails once`, tracing, async t => {
    const directory = testDirectory(t, 'btrfs')
    if (directory === undefined) return
    const { source, target } = sourceAndTarget(directory)
    makeFaultTree(source)
    execFileSync('sync', ['--file-system', source])
    const command: FaultCommand = { operation, source, archive: join(directory, 'archive'), target }
    if (operation === 'extract')
      fs.writeFileSync(command.archive, (await archive(['.'], { directory: source })).bytes)
    const worker = await FaultProcess.start()
    t.teardown(() => worker.end())
    const counts = await worker.count(command, SYSCALLS[operation], join(directory, 'log'))
    t.ok(counts.size >= SYSCALLS[operation].length - 4, `${[...counts.keys()]}`)
    for (const [syscall, count] of counts) {
      for (const when of someOf(count)) {
        for (const error of ERRNOS) {
          clean(command)
          const fault = { syscall, effect: `error=${error}`, when }
          const result = await worker.run(command, fault)
          t.equal(
            await faultOf(command, fault, result),
            undefined,
            `${syscall} ${error}, call ${when} of ${count}`,
          )
          if (!result) return
        }
      }
    }
  })
}
