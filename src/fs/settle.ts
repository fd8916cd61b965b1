import { setTimeout } from 'node:timers/promises'
import type { Status } from '../sys/status.js'

/** The longest tick of the clock of file times, in milliseconds: CONFIG_HZ=100. */
const TICK = 10
/** That of a filesystem that counts whole seconds, as ext4 with inodes of 128 bytes does; in milliseconds. */
const COARSE_TICK = 2000

/** Whether the last change of a file is so long ago that the next one will show in its change time. */
export function isSettled({ changed }: Status, now: number): boolean {
  return changeTime(changed) + tickOf(changed) < now
}

/** Waits until the change time of a file that was changed just now has become one that proves something. */
export function settle(status: Status): Promise<void> | undefined {
  return isSettled(status, Date.now()) ? undefined : settled(status)
}

async function settled(status: Status): Promise<void> {
  const { changed } = status
  const tick = tickOf(changed)
  for (let now = Date.now(); !isSettled(status, now); now = Date.now()) {
    const age = now - changeTime(changed)
    // A time that lies in the future comes from another clock: waiting for it would prove nothing.
    if (age < -tick) return
    await setTimeout(Math.ceil(tick - age) + 1)
  }
}

/** How long two changes may show the same change time, in milliseconds. */
function tickOf({ nanoseconds }: Status['changed']): number {
  return nanoseconds === 0 ? COARSE_TICK : TICK
}

/** In milliseconds. */
function changeTime({ seconds, nanoseconds }: Status['changed']): number {
  return seconds * 1000 + nanoseconds / 1_000_000
}
