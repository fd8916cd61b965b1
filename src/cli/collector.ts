import { getHeapStatistics } from 'node:v8'

/** Milliseconds. */
const INTERVAL = 10
/** In bytes. */
const MOST_GARBAGE = 32 * 1024 * 1024

/**
 * What is made here is mostly buffers, which lie outside of node's heap. That is small, so that node collects only when 64 MiB
 * of them are garbage; this does it earlier, where `gc` was asked for when node was started.
 */
export function collectOften(): void {
  const { gc } = globalThis
  if (!gc) return
  let least = 0
  const collect = () => {
    const { external_memory: external } = getHeapStatistics()
    least = Math.min(least, external)
    if (external - least < MOST_GARBAGE) return
    gc()
    // Another thread frees it: how much is left is seen the next time.
    least = Number.POSITIVE_INFINITY
  }
  setInterval(collect, INTERVAL).unref()
}
