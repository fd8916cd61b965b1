import { createHash } from 'node:crypto'
import { Worker } from 'node:worker_threads'

export interface Digested {
  /** The bytes that were given, in the same memory. */
  readonly bytes: Uint8Array
  /** SHA-256, FIPS 180-4. */
  readonly digest: Uint8Array
}

/** Below this, in bytes, the way to another thread and back takes longer than the digest. */
const SMALL = 256 * 1024

const CODE = `
  const { createHash } = require('node:crypto')
  const { parentPort } = require('node:worker_threads')
  parentPort.on('message', bytes => {
    const digest = createHash('sha256').update(bytes).digest()
    parentPort.postMessage({ bytes, digest }, [bytes.buffer])
  })
`

interface Waiting {
  resolve(digested: Digested): void
  reject(error: Error): void
}

/**
 * Makes digests on a thread of its own. Memory is handed over and comes back: node's own asynchronous digest copies
 * it twice, which takes as long as the digest.
 */
export class DigestThread {
  #worker: Worker | undefined
  /** In the order in which digests were asked for, which is the order in which they come. */
  readonly #waiting: Waiting[] = []

  /** Takes memory that nobody else uses; until the promise resolves, it is empty. */
  digest(bytes: Uint8Array): Promise<Digested> {
    if (bytes.byteLength < SMALL || bytes.byteLength !== bytes.buffer.byteLength) {
      return Promise.resolve({ bytes, digest: createHash('sha256').update(bytes).digest() })
    }
    this.#worker ??= this.#start()
    const digested = new Promise<Digested>((resolve, reject) => this.#waiting.push({ resolve, reject }))
    this.#worker.postMessage(bytes, [bytes.buffer as ArrayBuffer])
    return digested
  }

  /** Ends the thread; digests that are under way are given up. */
  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  #start(): Worker {
    const worker = new Worker(CODE, { eval: true })
    worker.on('message', (digested: Digested) => this.#waiting.shift()?.resolve(digested))
    const fail = (error: Error) => {
      for (const { reject } of this.#waiting.splice(0)) reject(error)
    }
    worker.on('error', fail)
    worker.on('exit', () => fail(new Error('the thread that makes digests has ended')))
    return worker
  }
}
