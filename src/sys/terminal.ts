import fs from 'node:fs'
import { libcFunctions } from './koffi.js'

const libc = libcFunctions<{ flock(fd: number, operation: number): number }>({
  flock: 'int flock(int fd, int operation)',
})

const LOCK_EX = 2
const LOCK_NB = 4
const { O_RDONLY, O_NOCTTY, O_NONBLOCK } = fs.constants
/** Of /proc/self/stat, counted from the end of the name of the program: proc_pid_stat(5). */
const PGRP = 2
const TPGID = 5

/** Whether this process belongs to what its terminal is busy with, and not to the background; true without a terminal. */
export function isForeground(): boolean {
  const stat = fs.readFileSync('/proc/self/stat', 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[TPGID]) <= 0 || fields[TPGID] === fields[PGRP]
}

/**
 * Locks the terminal behind a descriptor, against others that ask for it in this way, until what is returned is closed:
 * flock(2). Undefined where another process has it.
 *
 * @throws when it cannot be opened, and where koffi cannot be loaded
 */
export function lockTerminal(fd: number): number | undefined {
  // A descriptor of its own: those that are inherited have their lock together.
  const own = fs.openSync(`/proc/self/fd/${fd}`, O_RDONLY | O_NOCTTY | O_NONBLOCK)
  if (libc().flock(own, LOCK_EX | LOCK_NB) === 0) return own
  fs.closeSync(own)
  return undefined
}
