/**
 * Makes items one after the other. Where it has to wait it gives out a promise in place of an item, and goes on with what
 * that resolves to: most items wait for nothing, and a promise for each would cost more than the item.
 *
 * In a `finally` there is at most one wait, and it is the last that is done there: see {@link drive}.
 */
export type Steps<T, R = void> = Generator<T | Promise<unknown>, R, unknown>

/** What a promise resolves to, in the middle of steps. */
export function* wait<T>(promise: Promise<T>): Generator<Promise<T>, T, unknown> {
  return (yield promise) as T
}

/** What makes items: a promise among those of an iterable stands for a wait, as in {@link Steps}. */
export type Items<T> = Iterable<T | Promise<unknown>>

type ItemIterator<T> = Iterator<T | Promise<unknown>, unknown, unknown> | AsyncIterator<T>

type Step<T> = IteratorResult<T | Promise<unknown>, unknown>

/** Takes an item; a promise only where something is waited for. */
export type Put<T> = (item: T) => void | Promise<void>

/**
 * Hands over all items; it returns a promise only where something is waited for. Where `put` throws, what makes them is made
 * to return, and again after each wait in its `finally`.
 */
export function drive<T>(items: Items<T> | AsyncIterable<T>, put: Put<T>): void | Promise<void> {
  if (Array.isArray(items) && items.length === 1) return put(items[0])
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
  try {
    for (;;) {
      const step = iterator.next()
      if (step instanceof Promise) return driveOn(iterator, put, step)
      if (step.done) return
      if (step.value instanceof Promise) return driveOn(iterator, put, resume(iterator, step.value))
      const waiting = put(step.value)
      if (waiting) return driveOn(iterator, put, nextAfter(iterator, waiting))
    }
  } catch (error) {
    return failing(iterator, error)
  }
}

async function driveOn<T>(iterator: ItemIterator<T>, put: Put<T>, first: Promise<Step<T>>): Promise<void> {
  try {
    for (let step = await first; !step.done; ) {
      if (step.value instanceof Promise) {
        step = await resume(iterator, step.value)
        continue
      }
      const waiting = put(step.value)
      if (waiting) await waiting
      const next = iterator.next()
      step = next instanceof Promise ? await next : next
    }
  } catch (error) {
    await failing(iterator, error)
  }
}

async function nextAfter<T>(iterator: ItemIterator<T>, waiting: Promise<void>): Promise<Step<T>> {
  await waiting
  return iterator.next()
}

/** Goes on with what a promise resolves to, or with why it was rejected. */
async function resume<T>(iterator: ItemIterator<T>, promise: Promise<unknown>): Promise<Step<T>> {
  let value: unknown
  try {
    value = await promise
  } catch (error) {
    if (!iterator.throw) throw error
    return iterator.throw(error)
  }
  return (iterator as Iterator<T, unknown, unknown>).next(value)
}

/**
 * Ends what makes items before it is done. After each wait it is told so again: to a `yield*`, a generator that goes on from
 * a wait in its `finally` ends like any other, and it would make all other items.
 */
async function conclude<T>(iterator: ItemIterator<T>): Promise<void> {
  for (;;) {
    const step = await iterator.return?.(undefined)
    if (!step || step.done) return
    // It is ended because of another error.
    await Promise.resolve(step.value).catch(() => undefined)
  }
}

async function failing<T>(iterator: ItemIterator<T>, error: unknown): Promise<never> {
  await conclude(iterator)
  throw error
}
