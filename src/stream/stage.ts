import { Duplex, Readable, Writable } from 'streamx'
import { drive, type Items, type Put } from '../steps.js'
import { Turn } from './turn.js'
import { watchDestination, watchSource } from './watch.js'

/**
 * A live view of what a stage has done, to be looked at whenever somebody wants to know how far it is; final once the
 * stream has finished.
 *
 * @example
 * ```ts
 * const archive = extract('/restored')
 * const timer = setInterval(() => console.log(archive.summary.archive.archiveBytes), 250)
 * await pipeline(createReadStream('images.reftar'), archive).finally(() => clearInterval(timer))
 * ```
 */
export interface Live<S> {
  readonly summary: Readonly<S>
  /** Ends the stream before its time, and rolls back. */
  destroy(error?: Error): void
}

// AsyncIterable comes last: from overloads TypeScript infers the last one, so that a function at the end of node's
// pipeline gets a T, not the string or Buffer of NodeJS.ReadableStream.
/** A stream of something to a stream of `T`. */
export type Stage<T, S> = NodeJS.ReadWriteStream & AsyncIterable<T> & Live<S>
/** A stream of `T` that comes out of nothing but what made it. */
export type Origin<T, S> = NodeJS.ReadableStream & AsyncIterable<T> & Live<S>
/** A stream that ends here. */
export type Sink<S> = NodeJS.WritableStream & Live<S>

export interface ProducerHooks<Out> {
  /** Puts all items, no faster than `put` lets it; ends with the error that `put` throws. */
  readonly produce: (put: Put<Out>) => Promise<void>
  /** Called when the stream is destroyed: may end what is waited for. */
  readonly interrupt: () => void
}

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

const flow = { highWaterMark: HIGH_WATER_MARK, byteLength: weigh }

/** The hooks behind each stream that was made here. */
const hooksBehind = new WeakMap<object, object>()

/** What makes a stream an origin, a stage or a sink, for who runs it without the stream. */
export function hooksOf<Hooks>(stream: object): Hooks {
  return hooksBehind.get(stream) as Hooks
}

/**
 * A stream that makes its items itself.
 *
 * @param interrupt - called when the stream is destroyed: may end what the items wait for
 */
export function origin<T, S extends object>(
  summary: S,
  items: () => Items<T> | AsyncIterable<T>,
  signal?: AbortSignal,
  interrupt: () => void = () => undefined,
): Origin<T, S> {
  return producer(summary, { produce: async put => drive(items(), put), interrupt }, signal)
}

/** A stream of what `produce` puts. */
export function producer<T, S extends object>(
  summary: S,
  hooks: ProducerHooks<T>,
  signal?: AbortSignal,
): Origin<T, S> {
  let work: Promise<void> | undefined
  const produce = async () => {
    try {
      await hooks.produce(outlet.put)
      stream.push(null)
    } catch (error) {
      stream.destroy(error as Error)
    }
  }
  const stream: Readable = new Readable({
    ...flow,
    read(callback: Callback) {
      outlet.open()
      work ??= produce()
      callback(null)
    },
    predestroy() {
      hooks.interrupt()
      outlet.open()
    },
    destroy: (callback: Callback) => settle(() => work, callback),
  } as object)
  const outlet = new Outlet<T>(stream)
  hooksBehind.set(stream, hooks)
  return finish(watchDestination(stream), summary, signal)
}

/** A stream of `In` to a stream of `Out`. */
export function stage<In, Out, S extends object>(
  summary: S,
  hooks: StageHooks<In, Out>,
  signal?: AbortSignal,
): Stage<Out, S> {
  const stream: Duplex = new Duplex({
    ...flow,
    open: (callback: Callback) => settle(hooks.open, callback),
    write: (input: In, callback: Callback) =>
      settle(() => drive(hooks.transform(input), outlet.put), callback),
    final: (callback: Callback) =>
      settle(async () => {
        if (hooks.flush) await drive(hooks.flush(), outlet.put)
        stream.push(null)
      }, callback),
    read(callback: Callback) {
      outlet.open()
      callback(null)
    },
    predestroy: () => outlet.open(),
    destroy: (callback: Callback) => settle(hooks.close, callback),
  } as object)
  const outlet = new Outlet<Out>(stream)
  hooksBehind.set(stream, hooks)
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
  hooksBehind.set(stream, hooks)
  return finish(watchSource(stream), summary, signal)
}

type Callback = (error: Error | null) => void

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

function weigh(item: unknown): number {
  if (item instanceof Uint8Array) return item.byteLength
  const { bytes, path } = item as { readonly bytes?: unknown; readonly path?: unknown }
  const body = bytes ?? path
  return body instanceof Uint8Array ? RECORD_WEIGHT + body.byteLength : RECORD_WEIGHT
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

/** What a stream puts out, no faster than it is taken. */
class Outlet<T> {
  readonly #stream: Readable | Duplex
  readonly #turn = new Turn()
  #resolve: (() => void) | undefined

  constructor(stream: Readable | Duplex) {
    this.#stream = stream
  }

  /** @throws when the stream is being destroyed, to end what puts */
  readonly put: Put<T> = item => {
    if (this.#stream.destroying) throw destroyed()
    const isFull = !this.#stream.push(item)
    return isFull || this.#turn.isDue ? this.#room(isFull) : undefined
  }

  /** There is room now, or no need of it any more. */
  open(): void {
    this.#resolve?.()
    this.#resolve = undefined
  }

  async #room(isFull: boolean): Promise<void> {
    if (isFull && !this.#stream.destroying) {
      await new Promise<void>(resolve => {
        this.#resolve = resolve
      })
    }
    await this.#turn.yield()
    if (this.#stream.destroying) throw destroyed()
  }
}

/** Ends what makes items for a stream that takes no more; nobody hears of it. */
export function destroyed(): Error {
  return new Error('the stream was destroyed')
}
