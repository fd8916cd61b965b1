import { drive, type Put } from '../steps.js'
import { Clock, type Timed } from './clock.js'
import {
  destroyed,
  hooksOf,
  type Origin,
  type ProducerHooks,
  producer,
  type Sink,
  type SinkHooks,
  type StageHooks,
  sink,
} from './stage.js'
import { Turn } from './turn.js'

/** An origin and the stages behind it, as one origin. Only what they do is used, not their streams. */
export function composeOrigin<T, S extends object>(
  [first, ...stages]: readonly [NodeJS.ReadableStream, ...NodeJS.ReadWriteStream[]],
  summary: S,
  signal?: AbortSignal,
): Origin<T, S & Timed> {
  const { produce, interrupt } = hooksOf<ProducerHooks<unknown>>(first)
  const clock = new Clock()
  return producer<T, S & Timed>(
    clock.on(summary),
    {
      async produce(put) {
        const chain = new Chain(stages, put as Put<unknown>)
        clock.start()
        try {
          await chain.open()
          await produce(chain.put)
          await chain.flush()
        } finally {
          await chain.close()
          clock.stop()
        }
      },
      interrupt,
    },
    signal,
  )
}

/** Stages that end in a sink, as one sink. Only what they do is used, not their streams. */
export function composeSink<S extends object>(
  streams: readonly [NodeJS.ReadWriteStream, ...NodeJS.ReadWriteStream[], NodeJS.WritableStream],
  summary: S,
  signal?: AbortSignal,
): Sink<S & Timed> {
  const stages = streams.slice(0, -1) as NodeJS.ReadWriteStream[]
  const last = hooksOf<SinkHooks<unknown>>(streams.at(-1) as NodeJS.WritableStream)
  let isOver = false
  const goOn = () => {
    if (isOver) throw destroyed()
  }
  const chain = new Chain(stages, item => {
    goOn()
    return last.write(item)
  })
  const clock = new Clock()
  let closing: Promise<void> | undefined
  const close = () => {
    clock.stop()
    closing ??= closeAll()
    return closing
  }
  const closeAll = async () => {
    try {
      await chain.close()
    } finally {
      await last.close?.()
    }
  }
  return sink(
    clock.on(summary),
    {
      async open() {
        clock.start()
        await chain.open()
        await last.open?.()
      },
      write: chain.put,
      async final() {
        await chain.flush()
        // Whoever destroyed the stream while it was waited for wants none of it to count.
        goOn()
        await last.final?.()
        // Whoever waits for the end finds nothing open any more.
        await close()
      },
      close,
    },
    signal,
    () => {
      isOver = true
    },
  )
}

/** Stages one behind the other, without streams between them: a record through a stream costs more than most do with it. */
class Chain {
  readonly #stages: readonly StageHooks<unknown, unknown>[]
  /** What takes the input of each stage, and in the end what the last one puts out. */
  readonly #puts: Put<unknown>[]
  readonly #turn = new Turn()

  constructor(stages: readonly NodeJS.ReadWriteStream[], end: Put<unknown>) {
    this.#stages = stages.map(stage => hooksOf<StageHooks<unknown, unknown>>(stage))
    this.#puts = [this.#unhurried(end)]
    for (const { transform } of this.#stages.toReversed()) {
      const [next] = this.#puts as [Put<unknown>]
      this.#puts.unshift(item => drive(transform(item), next))
    }
    this.#puts[0] = this.#unhurried(this.#puts[0] as Put<unknown>)
  }

  get put(): Put<unknown> {
    return this.#puts[0] as Put<unknown>
  }

  async open(): Promise<void> {
    for (const { open } of this.#stages) await open?.()
  }

  async flush(): Promise<void> {
    for (const [i, { flush }] of this.#stages.entries()) {
      if (flush) await drive(flush(), this.#puts[i + 1] as Put<unknown>)
    }
  }

  async close(): Promise<void> {
    for (const { close } of this.#stages) await close?.()
  }

  /** Makes way for timers and signals where it has gone on for long. */
  #unhurried(put: Put<unknown>): Put<unknown> {
    const later = async (item: unknown) => {
      await this.#turn.yield()
      await put(item)
    }
    return item => (this.#turn.isDue ? later(item) : put(item))
  }
}
