import type { Output } from './output.js'
import { type Figures, progressLine, type Snapshot } from './progress-line.js'
import { Speed } from './speed.js'

/** What takes no longer than this needs no progress, in milliseconds. */
const PATIENCE = 500
const TICK = 250
/** In milliseconds, from one time that it is told to the next. */
const INTERVALS = { screen: TICK, events: 1000, lines: 5000 } as const

/** Tells how far a command has come, in one of the ways that its output has for that. */
export class Progress {
  readonly #output: Output
  readonly #start = performance.now()
  readonly #speed = new Speed(this.#start)
  #figures: (() => Figures) | undefined
  #timer: NodeJS.Timeout | undefined
  /** When it is told next. */
  #due = this.#start + PATIENCE

  constructor(output: Output) {
    this.#output = output
  }

  /** @param figures - asked now and then, until {@link stop} is called */
  follow(figures: () => Figures): void {
    this.#figures = figures
    process.on('SIGUSR2', () => this.tellOnce())
    if (!this.#output.progress) return
    this.#timer = setInterval(() => this.#tell(), TICK).unref()
  }

  /** Since the command began, to the millisecond. */
  get seconds(): number {
    return Math.round(performance.now() - this.#start) / 1000
  }

  tellOnce(): void {
    const snapshot = this.#snapshot()
    if (!snapshot) return
    if (this.#output.json) this.#event(snapshot)
    else this.#output.message(progressLine(snapshot, Number.POSITIVE_INFINITY))
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#figures = undefined
    this.#output.endStatus()
  }

  #tell(): void {
    const way = this.#output.progress
    const now = performance.now()
    const snapshot = this.#snapshot()
    if (!way || !snapshot || now < this.#due) return
    this.#due = now + INTERVALS[way] - TICK / 2
    if (way === 'screen') this.#output.status(width => progressLine(snapshot, width))
    else if (way === 'events') this.#event(snapshot)
    else this.tellOnce()
  }

  #event(snapshot: Snapshot): void {
    this.#output.object({ type: 'progress', ...snapshot })
    this.#output.flush()
  }

  #snapshot(): Snapshot | undefined {
    const figures = this.#figures?.()
    if (!figures) return undefined
    const { bytesRead, totalBytes } = figures
    const bytesPerSecond = this.#speed.at(performance.now(), bytesRead)
    const left = totalBytes === undefined ? 0 : totalBytes - bytesRead
    return {
      ...figures,
      seconds: this.seconds,
      bytesPerSecond: Math.round(bytesPerSecond),
      ...(left > 0 && bytesPerSecond > 0 && { secondsLeft: Math.ceil(left / bytesPerSecond) }),
    }
  }
}
