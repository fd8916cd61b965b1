/** How long a pipeline takes. */
export interface Timed {
  /** Since it began to work, and until it had finished. */
  readonly seconds: number
}

/** Measures time for a summary. */
export class Clock {
  #start: number | undefined
  #end: number | undefined

  start(): void {
    this.#start ??= performance.now()
  }

  stop(): void {
    this.#end ??= performance.now()
  }

  /** The same object, with the time. */
  on<S extends object>(summary: S): S & Timed {
    const get = () =>
      this.#start === undefined ? 0 : ((this.#end ?? performance.now()) - this.#start) / 1000
    return Object.defineProperty(summary, 'seconds', { get, enumerable: true }) as S & Timed
  }
}
