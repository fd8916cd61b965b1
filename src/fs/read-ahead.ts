import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { close, closingOnError } from '../sys/file.js'
import { isSameFile } from '../sys/status.js'
import type { Directory } from './directory-tree.js'
import { type Batch, BatchReader, type ExaminedFile } from './examined-files.js'
import { IS_OVER, type ReadAheadData, SENT, STATES, TAKEN, VISITED } from './read-ahead-state.js'

/** With fewer files than this, a thread takes longer to start than to be of use. */
const WORTHWHILE = 500

/**
 * A thread that walks ahead through the same tree, in the same order, and looks at small files: most of what they cost is
 * waiting for the kernel. It only saves time: what it has not sent is looked at by who walks.
 */
export class ReadAhead {
  /** Opens the directory where counting began. */
  #open: (() => number) | undefined
  #count = 0
  #worker: Worker | undefined
  #port: MessagePort | undefined
  #ended: Promise<void> | undefined
  #reader: BatchReader | undefined
  #state: ReadAheadData['state'] = new Int32Array(0)

  /** Begins to count the files of a tree. @param open - opens its root, once that is of use */
  begin(open: () => number): void {
    this.#stop()
    this.#open = open
    this.#count = 0
  }

  /** To be called for each file, in the order of the walk: what is known of it already, if anything. */
  take(directory: Directory, name: string): ExaminedFile | undefined {
    const index = this.#count++
    if (index === WORTHWHILE) this.#start()
    if (!this.#port) return undefined
    Atomics.store(this.#state, VISITED, index)
    for (let reader = this.#current(); reader; reader = this.#current()) {
      const next = reader.index
      if (next === undefined) {
        this.#reader = undefined
        Atomics.add(this.#state, TAKEN, 1)
        Atomics.notify(this.#state, TAKEN)
      } else if (next < index) {
        reader.skip()
      } else {
        if (next > index) return undefined
        const file = reader.next()
        if (file.name === name && isSameFile(file.parent, directory.inode)) return file
        // The tree has changed: the counts do not agree any more.
        this.#stop()
        return undefined
      }
    }
    return undefined
  }

  /** Ends the thread, with all that it has open. */
  async close(): Promise<void> {
    this.#open = undefined
    this.#stop()
    this.#worker?.ref()
    await this.#ended
  }

  #start(): void {
    // One at a time: another tree may have begun before the last thread has ended.
    if (!this.#open || this.#worker) return
    try {
      closingOnError(this.#open(), root => this.#startAt(root))
    } catch {
      // Where there can be no thread, or no more descriptors, the walk does without.
    }
  }

  #startAt(root: number): void {
    const { port1, port2 } = new MessageChannel()
    this.#state = new Int32Array(new SharedArrayBuffer(STATES * 4))
    const workerData: ReadAheadData = { port: port2, state: this.#state, root }
    const thread = import.meta.url.endsWith('.ts') ? './read-ahead-thread.ts' : './read-ahead-thread.cjs'
    const worker = new Worker(new URL(thread, import.meta.url), {
      workerData,
      transferList: [port2],
      // As node would else open stdout of the process for it, and make a pipe there non-blocking.
      stdout: true,
      stderr: true,
      // It opens files by system calls that node does not see.
      trackUnmanagedFds: false,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    })
    port1.unref()
    worker.unref()
    this.#port = port1
    this.#worker = worker
    this.#ended = new Promise(resolve => {
      // What goes wrong there is found out here, too, and told.
      worker.on('error', () => undefined)
      worker.on('exit', () => {
        this.#worker = undefined
        port1.close()
        close(root)
        resolve()
      })
    })
  }

  #stop(): void {
    if (!this.#port) return
    Atomics.store(this.#state, IS_OVER, 1)
    Atomics.notify(this.#state, TAKEN)
    this.#port = undefined
    this.#reader = undefined
  }

  #current(): BatchReader | undefined {
    if (this.#reader) return this.#reader
    if (!this.#port || Atomics.load(this.#state, SENT) === Atomics.load(this.#state, TAKEN)) return undefined
    const received = receiveMessageOnPort(this.#port)
    this.#reader = received && new BatchReader(received.message as Batch)
    return this.#reader
  }
}
