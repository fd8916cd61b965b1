import { createHash } from 'node:crypto'
import { Worker } from 'node:worker_threads'

/** Below this, in bytes, the way to another thread and back takes longer than the digest. */
const SMALL = 256 * 1024
/** What the payload of a segment fits in, so that the same memory serves for all; in bytes. */
const MEMORY = 4 * 1024 * 1024 + 64 * 1024

// It runs as a script or as a module, whichever the process that it is in prefers.
const CODE = `
  Promise.all([import('node:crypto'), import('node:worker_threads')]).then(([{ createHash }, { parentPort }]) => {
    parentPort.on('message', bytes => {
      parentPort.postMessage(createHash('sha256').update(bytes).digest())
    })
  })
`

interface Waiting {
  resolve(digest: Uint8Array): void
  reject(error: Error): void
}

/**
 * Makes SHA-256 digests (FIPS 180-4) on a thread of its own, of copies in memory that both threads see. Node's own
 * asynchronous digest copies to new memory, twice, which takes as long as the digest.
 */
export class DigestThread {
  #worker: Worker | undefined
  #failure: Error | undefined
  #isClosed = false
  /** Free memory to copy to. */
  readonly #memory: SharedArrayBuffer[] = []
  /** In the order in which digests were asked for, which is the order in which they come. */
  readonly #waiting: Waiting[] = []

  /** The digest of bytes in pieces, which are not looked at any more when this returns. */
  digest(pieces: readonly Uint8Array[]): Promise<Uint8Array> {
    const length = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0)
    if (length < SMALL) return Promise.resolve(digestOf(pieces))
    const free = this.#memory.pop()
    const memory = free && free.byteLength >= length ? free : new SharedArrayBuffer(Math.max(length, MEMORY))
    const bytes = new Uint8Array(memory, 0, length)
    let at = 0
    for (const piece of pieces) {
      bytes.set(piece, at)
      at += piece.byteLength
    }
    this.#worker ??= this.#start()
    if (this.#failure) return Promise.reject(this.#failure)
    this.#worker.ref()
    this.#worker.postMessage(bytes)
    const digest = new Promise<Uint8Array>((resolve, reject) => this.#waiting.push({ resolve, reject }))
    return digest.finally(() => this.#memory.push(memory))
  }

  /** Ends the thread; digests that are under way are given up. */
  async close(): Promise<void> {
    // Until it has ended, somebody waits for that: a last message must not let the process go before.
    this.#isClosed = true
    await this.#worker?.terminate()
  }

  #start(): Worker {
    const worker = new Worker(CODE, { eval: true, execArgv: [] })
    worker.on('message', (digest: Uint8Array) => {
      this.#waiting.shift()?.resolve(digest)
      // Idle, it keeps no process alive.
      if (this.#waiting.length === 0 && !this.#isClosed) worker.unref()
    })
    const fail = (error: Error) => {
      this.#failure ??= error
      for (const { reject } of this.#waiting.splice(0)) reject(error)
    }
    worker.on('error', fail)
    worker.on('exit', () => fail(new Error('the thread that makes digests has ended')))
    return worker
  }
}

function digestOf(pieces: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256')
  for (const piece of pieces) hash.update(piece)
  return hash.digest()
}
