import { setImmediate } from 'node:timers/promises'

/** A synchronous stretch longer than this, in milliseconds, makes way for timers and signals. */
const LONGEST_STRETCH = 8

/** Keeps a synchronous stretch from starving the event loop. */
export class Turn {
  #start = performance.now()

  get isDue(): boolean {
    return performance.now() - this.#start > LONGEST_STRETCH
  }

  async yield(): Promise<void> {
    if (!this.isDue) return
    await setImmediate()
    this.#start = performance.now()
  }
}
