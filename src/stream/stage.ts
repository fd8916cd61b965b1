import { setImmediate } from 'node:timers/promises'
import { Duplex, getStreamError, isStreamx, pipeline, Readable, Writable } from 'streamx'
import { ReftarError } from '../errors.js'

/** A live view of what a stage has done; final once the stream has finished. */
export interface Live<S> {
  readonly summary: Readonly<S>
  destroy(error?: Error): void
}

// AsyncIterable comes last: from overloads TypeScript infers the last one, so that a function at the end of node's
// pipeline gets a T, not the string or Buffer of NodeJS.ReadableStream.
export type Stage<T, S> = NodeJS.ReadWriteStream & AsyncIterable<T> & Live<S>
export type Origin<T, S> = NodeJS.ReadableStream & AsyncIterable<T> & Live<S>
export type Sink<S> = NodeJS.WritableStream & Live<S>

export type Items<T> = Iterable<T> | AsyncIterable<T>

export interface StageHooks<In, Out> {
  readonly open?: () => Promise<void>
  /** What comes out for one input; asked for only as fast as the reader takes it. */
  readonly transform: (input: In) => Items<Out>
  readonly flush?: () => Items<Out>
  /** Runs once, after every other hook has come to rest, however the stream ends. */
  readonly close?: () => void | Promise<void>
}

export interface SinkHooks<In> {
  readonly open?: () => Promise<void>
  /** A promise only where something is waited for. */
  readonly write: (input: In) => void | Promise<void>
  /** The work that makes all of it count: it runs only when the whole input has arrived. */
  readonly final?: () => Promise<void>
  /** Rolls back what `final` has not made count. */
  readonly close?: () => void | Promise<void>
}

/** How much may wait in front of a stage and behind it, in bytes. */
const HIGH_WATER_MARK = 1024 * 1024
/** What an object without a body is taken to weigh, in bytes. */
const RECORD_WEIGHT = 128
/** A synchronous stretch longer than this, in milliseconds, makes way for timers and signals. */
const LONGEST_STRETCH = 8

const flow = { highWaterMark: HIGH_WATER_MARK, byteLength: weigh }

/**
 * A stream that makes its items itself, by a generator that is asked for one after the other.
 *
 * @param interrupt - called when the stream is destroyed: may end what the generator waits for
 */
export function origin<T, S extends object>(
  summary: S,
  items: () => AsyncGenerator<T, void, undefined>,
  signal?: AbortSignal,
  interrupt: () => void = () => undefined,
): Origin<T, S> {
  const iterator = items()
  const turn = new Turn()
  const stream = new Readable({
    ...flow,
    read(callback: Callback) {
      settle(async () => {
        await turn.yield()
        if (stream.destroying) return
        const { value, done } = await iterator.next()
        stream.push(done ? null : value)
      }, callback)
    },
    predestroy: interrupt,
    destroy(callback: Callback) {
      settle(async () => void (await iterator.return()), callback)
    },
  } as object)
  return finish(watchDestination(stream), summary, signal)
}

/** A stream of `In` to a stream of `Out`. */
export function stage<In, Out, S extends object>(
  summary: S,
  hooks: StageHooks<In, Out>,
  signal?: AbortSignal,
): Stage<Out, S> {
  const turn = new Turn()
  const reader = new Gate()
  const pump = async (iterator: Iterator<Out> | AsyncIterator<Out>) => {
    try {
      for (;;) {
        if (turn.isDue) await turn.yield()
        const step = iterator.next()
        const { value, done } = step instanceof Promise ? await step : step
        if (done) return
        if (!stream.push(value) && !stream.destroying) await reader.opened()
        if (stream.destroying) return
      }
    } finally {
      await iterator.return?.()
    }
  }
  const stream: Duplex = new Duplex({
    ...flow,
    open: (callback: Callback) => settle(hooks.open, callback),
    write: (input: In, callback: Callback) => settle(() => pump(iterate(hooks.transform(input))), callback),
    final: (callback: Callback) =>
      settle(async () => {
        if (hooks.flush) await pump(iterate(hooks.flush()))
        stream.push(null)
      }, callback),
    read(callback: Callback) {
      reader.open()
      callback(null)
    },
    predestroy: () => reader.open(),
    destroy: (callback: Callback) => settle(hooks.close, callback),
  } as object)
  return finish(watchDestination(watchSource(stream)), summary, signal)
}

/** A stream that ends here. */
export function sink<In, S extends object>(
  summary: S,
  hooks: SinkHooks<In>,
  signal?: AbortSignal,
  interrupt: () => void = () => undefined,
): Sink<S> {
  const turn = new Turn()
  const writeLater = async (input: In) => {
    await turn.yield()
    if (!stream.destroying) await hooks.write(input)
  }
  const stream: Writable = new Writable({
    ...flow,
    open: (callback: Callback) => settle(hooks.open, callback),
    write(input: In, callback: Callback) {
      settle(() => (turn.isDue ? writeLater(input) : hooks.write(input)), callback)
    },
    final: (callback: Callback) => settle(hooks.final, callback),
    predestroy: interrupt,
    destroy: (callback: Callback) => settle(hooks.close, callback),
  } as object)
  return finish(watchSource(stream), summary, signal)
}

/** Several stages that end in a sink, as one sink: finished when the last of them is, and destroyed with any of them. */
export function composeSink<S extends object>(
  stages: readonly [NodeJS.ReadWriteStream, ...NodeJS.ReadWriteStream[], NodeJS.WritableStream],
  summary: S,
  signal?: AbortSignal,
): Sink<S> {
  const first = stages[0] as unknown as Writable
  const room = new Gate()
  first.on('drain', () => room.open())
  const closed = allClosed(stages)
  let finished: Promise<void> | undefined
  const composed = sink<unknown, S>(
    summary,
    {
      async open() {
        finished = connect(stages)
        finished.catch(error => composed.destroy(error))
      },
      write: input => (first.write(input) ? undefined : room.opened()),
      final() {
        first.end(undefined)
        return finished ?? Promise.resolve()
      },
      close: () => closed,
    },
    signal,
    () => {
      destroy(stages)
      room.open()
    },
  )
  return composed
}

/** Several stages that begin with an origin, as one origin; it closes after the last of them. */
export function composeOrigin<T, S extends object>(
  stages: readonly [NodeJS.ReadableStream, ...NodeJS.ReadWriteStream[]],
  summary: S,
  signal?: AbortSignal,
): Origin<T, S> {
  const last = stages[stages.length - 1] as unknown as AsyncIterable<T>
  const closed = allClosed(stages)
  async function* items() {
    connect(stages).catch(() => undefined)
    try {
      yield* last
    } finally {
      await closed
    }
  }
  return origin(summary, items, signal, () => destroy(stages))
}

async function allClosed(stages: readonly NodeJS.EventEmitter[]): Promise<void> {
  await Promise.all(stages.map(stage => new Promise(resolve => stage.once('close', resolve))))
}

function destroy(stages: readonly unknown[]): void {
  for (const stage of stages) (stage as Live<unknown>).destroy()
}

function connect(stages: readonly unknown[]): Promise<void> {
  return new Promise((resolve, reject) => {
    untypedPipeline(stages, error => (error ? reject(error) : resolve()))
  })
}

// streamx types its pipeline for its own classes only, though it takes any stream.
const untypedPipeline = pipeline as unknown as (streams: readonly unknown[], done: StreamCallback) => void

type Callback = (error: Error | null) => void
type StreamCallback = (error?: Error | null) => void

/** Calls back once `work` is done or has failed; a throw inside a streamx hook would hang the stream. */
function settle(work: (() => void | Promise<void>) | undefined, callback: Callback): void {
  let result: void | Promise<void>
  try {
    result = work?.()
  } catch (error) {
    callback(error as Error)
    return
  }
  if (result) result.then(() => callback(null), callback)
  else callback(null)
}

function iterate<T>(items: Items<T>): Iterator<T> | AsyncIterator<T> {
  return Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
}

function weigh(item: unknown): number {
  if (item instanceof Uint8Array) return item.byteLength
  const bytes = (item as { bytes?: unknown }).bytes
  return bytes instanceof Uint8Array ? RECORD_WEIGHT + bytes.byteLength : RECORD_WEIGHT
}

/** Under plain `.pipe()` nobody tells the destination that its source died: without this it would wait for ever. */
function watchSource<T extends Writable | Duplex>(stream: T): T {
  stream.on('pipe', (readable: unknown) => {
    const source = readable as NodeJS.ReadableStream
    const onClose = () => {
      const error = new ReftarError('PREMATURE_CLOSE', 'the source closed before it ended')
      stream.destroy(errorOf(source) ?? error)
    }
    source.once('close', onClose)
    source.once('end', () => source.off('close', onClose))
    stream.on('unpipe', gone => {
      if (gone === source) source.off('close', onClose)
    })
  })
  return stream
}

/**
 * Under plain `.pipe()` streamx destroys a source with its destination, and gives it the error of that. It is the
 * destination that tells it: told once more by the source, where nobody listens, it would be the end of the process.
 */
function watchDestination<T extends Readable | Duplex>(stream: T): T {
  stream.on('piping', (writable: unknown) => {
    const destination = writable as NodeJS.WritableStream
    const mute = () => void stream.on('error', () => undefined)
    destination.once('close', mute)
    if (isStreamx(writable as Writable)) return
    // Of a stream of node, the listener of streamx and this one would hide an error that nobody else hears.
    destination.prependListener('error', () => {
      destination.off('close', mute)
      if (destination.listenerCount('error') > 2) mute()
    })
  })
  return stream
}

function errorOf(source: NodeJS.ReadableStream): Error | null {
  const { errored } = source as { errored?: Error | null }
  return errored ?? getStreamError(source as unknown as Readable)
}

function finish<S extends object, T>(
  stream: Readable | Writable | Duplex,
  summary: S,
  signal?: AbortSignal,
): T & Live<S> {
  if (signal) {
    const abort = () => stream.destroy(signal.reason as Error)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    stream.on('close', () => signal.removeEventListener('abort', abort))
  }
  return Object.defineProperty(stream, 'summary', { value: summary, enumerable: true }) as unknown as T &
    Live<S>
}

/** Where one waits until another goes on. */
class Gate {
  #resolve: (() => void) | undefined

  opened(): Promise<void> {
    return new Promise(resolve => {
      this.#resolve = resolve
    })
  }

  open(): void {
    this.#resolve?.()
    this.#resolve = undefined
  }
}

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
