import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'

const PREFIX = '.reftar-'
/** What is said of a name that {@link isLeftover}. */
export const IS_LEFT_OVER = 'is left over from a run that was killed: look at it before you remove it'
const PRIVATE_NAME = /^\.reftar-(?:part-)?(\d+)-(\d+)-[\da-f]+$/

/**
 * A name for what this run makes only for a while: it tells which process that was, and ends in what nobody can guess,
 * for an archive may hold any name.
 */
export function privateName(kind: '' | 'part-' = ''): string {
  return `${PREFIX}${kind}${process.pid}-${startTime('self')}-${randomBytes(6).toString('hex')}`
}

/** Whether it is the private name of a process that has ended. */
export function isLeftover(name: string): boolean {
  const match = PRIVATE_NAME.exec(name)
  return match !== null && startTime(match[1] ?? '') !== match[2]
}

/** When a process started, in clock ticks since boot: proc(5), field 22 of stat. Undefined when there is none. */
function startTime(pid: string): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
