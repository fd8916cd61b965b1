import { getHeapStatistics } from 'node:v8'

/** Milliseconds. */
const INTERVAL = 10
const MIB = 1024 * 1024
/** In bytes, as all below. */
const MOST_GARBAGE = 32 * MIB
/** Where the process takes more than this, there may be less garbage. */
const MUCH_MEMORY = 160 * MIB
const LESS_GARBAGE = 16 * MIB

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
    const garbage = external - least
    if (garbage < LESS_GARBAGE) return
    if (garbage < MOST_GARBAGE && !takesMuch()) return
    gc()
    // Another thread frees it: how much is left is seen the next time.
    least = Number.POSITIVE_INFINITY
  }
  setInterval(collect, INTERVAL).unref()
}

function takesMuch(): boolean {
  try {
    return process.memoryUsage.rss() > MUCH_MEMORY
  } catch {
    // Without /proc, it cannot be told.
    return false
  }
}
