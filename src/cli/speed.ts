interface Sample {
  /** In milliseconds. */
  readonly time: number
  readonly bytes: number
}

/** What a speed is measured over, in milliseconds. */
const WINDOW = 5000

/** How fast bytes come: over the last seconds, or over all the time where nobody has looked since. */
export class Speed {
  readonly #samples: Sample[]

  /** @param time - when there were none yet, in milliseconds */
  constructor(time: number) {
    this.#samples = [{ time, bytes: 0 }]
  }

  /** Returns how many come in a second. */
  at(time: number, bytes: number): number {
    const samples = this.#samples
    samples.push({ time, bytes })
    while (samples.length > 2 && (samples[1] as Sample).time <= time - WINDOW) samples.shift()
    const [first] = samples as [Sample]
    return time > first.time ? ((bytes - first.bytes) / (time - first.time)) * 1000 : 0
  }
}
