// Runs a command in a memory control group of its own: what passes the limit is killed.
import * as fs from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { CLI, type Ended, type RunOptions, run } from '../cli/run.js'

const { CI } = process.env
const CONTROLLER = '/sys/fs/cgroup/memory'

export type Limited = (argv: readonly string[], options?: RunOptions) => Promise<Ended>

/** The command with at most so many bytes of memory; undefined, and skipped, where that cannot be. */
export function limitedTo(t: Test, bytes: number): Limited | undefined {
  const run = limitedProgram(t, bytes)
  return run && ((argv, options) => run([CLI, ...argv], options))
}

/** The same of any program. */
export function limitedProgram(t: Test, bytes: number): Limited | undefined {
  const group = join(CONTROLLER, `reftar-test-${process.pid}`)
  try {
    fs.mkdirSync(group, { recursive: true })
    fs.writeFileSync(join(group, 'memory.limit_in_bytes'), String(bytes))
  } catch (error) {
    if (CI) throw error
    t.pass('a limit of memory', { skip: 'needs root and the memory controller of cgroups, version 1' })
    return undefined
  }
  t.teardown(() => fs.rmdirSync(group))
  // A program that runs in the group is counted from its first page on.
  const script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
  return (command, options) => run(['bash', '-c', script, group, ...command], options)
}
