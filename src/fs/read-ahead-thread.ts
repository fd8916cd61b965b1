import { workerData } from 'node:worker_threads'
import { ReftarError } from '../errors.js'
import { latin1Bytes } from '../format/latin1.js'
import { openat, readEntries } from '../sys/directory.js'
import { close, OPEN_FILE, readAt } from '../sys/file.js'
import { isUnchanged, S_IFDIR, S_IFREG, statFd, typeOf } from '../sys/status.js'
import { byName } from './directory-entries.js'
import { type Directory, DirectoryTree } from './directory-tree.js'
import { BatchWriter, type ExaminedFile } from './examined-files.js'
import { captureExtras } from './metadata.js'
import { IS_OVER, type ReadAheadData, SENT, TAKEN, VISITED } from './read-ahead-state.js'
import { isSettled } from './settle.js'
import { fileMap, Storages } from './shared-extents.js'

/** A larger file is left to who walks. In bytes. */
const LARGEST = 64 * 1024
/** Files that who walks is about to come by are left to it. */
const MARGIN = 32
/** How many batches may wait, and how many files may lie between this walk and the other. */
const LEAD = 8
const FURTHEST = 8192
/** Milliseconds until it is looked again whether the other walk has come closer. */
const PATIENCE = 5

/** Walks the tree of another thread ahead of it, in the same order, and sends what it finds out about small files. */
class ReadAheadWalk {
  readonly #port: ReadAheadData['port']
  readonly #state: Int32Array
  readonly #tree = new DirectoryTree('SOURCE_CHANGED')
  readonly #storages = new Storages()
  readonly #batch = new BatchWriter()
  #index = 0

  constructor({ port, state }: ReadAheadData) {
    this.#port = port
    this.#state = state
  }

  run(root: number): void {
    try {
      this.#walk(this.#tree.root(Buffer.from(`/proc/self/fd/${root}`)))
      if (!this.#batch.isEmpty) this.#send()
    } finally {
      this.#tree.close()
    }
  }

  #walk(root: Directory): void {
    const stack = [this.#frame(root)]
    for (let frame = stack.at(-1); frame && !this.#isOver; frame = stack.at(-1)) {
      const entry = frame.entries[frame.at++]
      if (!entry) {
        stack.pop()
        this.#tree.leave(frame.directory)
      } else if (entry.type === S_IFREG) {
        this.#file(frame.directory, entry.name)
      } else if (entry.type === S_IFDIR) {
        const child = this.#enter(frame.directory, entry.name)
        if (child) stack.push(child)
      }
    }
  }

  #frame(directory: Directory) {
    return { directory, entries: readEntries(this.#tree.fd(directory)).sort(byName), at: 0 }
  }

  #enter(parent: Directory, name: string) {
    return ifPossible(() => this.#frame(this.#tree.child(parent, latin1Bytes(name))))
  }

  #file(directory: Directory, name: string): void {
    const index = this.#index++
    this.#wait()
    if (index <= Atomics.load(this.#state, VISITED) + MARGIN) return
    const file = ifPossible(() => this.#examine(index, directory, name))
    if (file) this.#batch.add(file)
    if (this.#batch.isFull) this.#send()
  }

  /** In the order that makes it true: mapped, asked for its status, read, and asked again. */
  #examine(index: number, directory: Directory, name: string): ExaminedFile | undefined {
    const began = now()
    const fd = openat(this.#tree.fd(directory), latin1Bytes(name), OPEN_FILE)
    try {
      const opened = statFd(fd)
      const { size, nlink } = opened
      if (typeOf(opened) !== S_IFREG || nlink !== 1 || size === 0 || size > LARGEST) return undefined
      if (!isSettled(opened, Date.now())) return undefined
      const storage = this.#storages.of(fd, opened)
      let isWhole = storage.proves && !storage.hasRealtime
      const extras = captureExtras(fd, opened, storage.type, () => {
        isWhole = false
      })
      if (!isWhole || (extras.xattrs && extras.xattrs.length > 0)) return undefined
      const map = fileMap(fd, opened, storage)
      if (!map.isFull || map.reservedBeyond !== undefined) return undefined
      const { shared } = map
      if (shared.some(({ space }) => space !== storage.id)) return undefined
      const status = statFd(fd)
      const content = shared.length > 0 ? undefined : readAt(fd, 0, size)
      if (status.size !== size || !isUnchanged(statFd(fd), status)) return undefined
      if (content && content.byteLength !== size) return undefined
      const parent = directory.inode
      return { index, name, parent, began, ended: now(), status, extras, shared, content }
    } finally {
      close(fd)
    }
  }

  get #isOver(): boolean {
    return Atomics.load(this.#state, IS_OVER) !== 0
  }

  #send(): void {
    const batch = this.#batch.take()
    const { inodes, numbers, shared, contents } = batch
    const moved = [inodes, numbers, shared, contents].map(({ buffer }) => buffer as ArrayBuffer)
    this.#port.postMessage(batch, moved)
    Atomics.add(this.#state, SENT, 1)
  }

  #wait(): void {
    while (!this.#isOver) {
      const taken = Atomics.load(this.#state, TAKEN)
      const isFar = this.#index - Atomics.load(this.#state, VISITED) > FURTHEST
      if (!isFar && Atomics.load(this.#state, SENT) - taken < LEAD) return
      Atomics.wait(this.#state, TAKEN, taken, PATIENCE)
    }
  }
}

/** What cannot be done here, who walks will try and tell. */
function ifPossible<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof ReftarError) return undefined
    throw error
  }
}

function now(): number {
  return Number(process.hrtime.bigint())
}

const data = workerData as ReadAheadData
new ReadAheadWalk(data).run(data.root)
