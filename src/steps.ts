/**
 * Makes items one after the other. Where it has to wait it gives out a promise in place of an item, and goes on with what
 * that resolves to: most items wait for nothing, and a promise for each would cost more than the item.
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

/** Hands over all items; it returns a promise only where something is waited for. */
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

/** Ends what makes items before it is done. */
async function conclude<T>(iterator: ItemIterator<T>): Promise<void> {
  let step = await iterator.return?.(undefined)
  while (step && !step.done) {
    step = step.value instanceof Promise ? await resume(iterator, step.value) : await iterator.next()
  }
}

async function failing<T>(iterator: ItemIterator<T>, error: unknown): Promise<never> {
  await conclude(iterator)
  throw error
}
