import { workerData } from 'node:worker_threads'
import { ReftarError } from '../errors.js'
import { latin1Bytes } from '../format/latin1.js'
import { openat, readEntries } from '../sys/directory.js'
import { close, closingOnError, OPEN_FILE, readInto, startReading } from '../sys/file.js'
import { isUnchanged, S_IFDIR, S_IFREG, statFd, typeOf } from '../sys/status.js'
import { byName } from './directory-entries.js'
import { type Directory, DirectoryTree } from './directory-tree.js'
import { BatchWriter, type ExaminedFile, LARGEST_CONTENT } from './examined-files.js'
import { fileMap } from './file-map.js'
import { captureExtras } from './metadata.js'
import { IS_OVER, type ReadAheadData, SENT, TAKEN, VISITED } from './read-ahead-state.js'
import { isSettled } from './settle.js'
import { Storages } from './storages.js'

/** Files that who walks is about to come by are left to it. */
const MARGIN = 32
/** A read that takes longer than this found nothing in the cache; in nanoseconds. */
const SLOW_READ = 100_000
/** After one, so many files are had read by the kernel while others are opened, and so many are open at a time. */
const COLD_FILES = 64
const MOST_OPEN = 32
/** How many batches may wait, and how many files may lie between this walk and the other. */
const LEAD = 8
const FURTHEST = 8192
/** Milliseconds until it is looked again whether the other walk has come closer. */
const PATIENCE = 5

/** A file that was mapped, and that the kernel reads. */
interface BegunFile extends Pick<ExaminedFile, 'index' | 'name' | 'parent' | 'began' | 'extras' | 'shared'> {
  readonly fd: number
  /** When it was opened, in bytes. */
  readonly size: number
}

/** Walks the tree of another thread ahead of it, in the same order, and sends what it finds out about small files. */
class ReadAheadWalk {
  readonly #port: ReadAheadData['port']
  readonly #state: Int32Array
  readonly #tree = new DirectoryTree('SOURCE_CHANGED')
  readonly #storages = new Storages()
  readonly #batch = new BatchWriter()
  readonly #begun: BegunFile[] = []
  #index = 0
  /** For how many files nothing is expected to be in the cache. */
  #cold = 0

  constructor({ port, state }: ReadAheadData) {
    this.#port = port
    this.#state = state
  }

  run(root: number): void {
    try {
      this.#walk(this.#tree.root(Buffer.from(`/proc/self/fd/${root}`)))
      while (this.#begun.length > 0 && !this.#isOver) this.#finish()
      if (!this.#batch.isEmpty) this.#send()
    } finally {
      for (const { fd } of this.#begun) close(fd)
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
    if (this.#isTooLate(index)) return
    const file = ifPossible(() => this.#open(index, directory, name))
    if (file) this.#begun.push(file)
    while (this.#begun.length > (this.#cold > 0 ? MOST_OPEN : 0)) this.#finish()
  }

  #isTooLate(index: number): boolean {
    return index <= Atomics.load(this.#state, VISITED) + MARGIN
  }

  /** Maps a file, and has the kernel read it while the next ones are mapped. */
  #open(index: number, directory: Directory, name: string): BegunFile | undefined {
    const began = now()
    const fd = openat(this.#tree.fd(directory), latin1Bytes(name), OPEN_FILE)
    return closingOnError(fd, () => {
      const file = this.#map(fd)
      if (file) return { index, name, parent: directory.inode, began, fd, ...file }
      close(fd)
      return undefined
    })
  }

  #map(fd: number): Pick<BegunFile, 'size' | 'extras' | 'shared'> | undefined {
    const opened = statFd(fd)
    const { size, nlink } = opened
    if (typeOf(opened) !== S_IFREG || nlink !== 1 || size === 0 || !isSettled(opened, Date.now()))
      return undefined
    const storage = this.#storages.of(fd, opened)
    let isWhole = storage.proves && !storage.hasRealtime && size <= LARGEST_CONTENT
    if (!isWhole) return undefined
    const extras = captureExtras(fd, opened, storage.type, () => {
      isWhole = false
    })
    if (!isWhole || (extras.xattrs && extras.xattrs.length > 0)) return undefined
    const { isFull, reservedBeyond, shared } = fileMap(fd, opened, storage)
    if (!isFull || reservedBeyond !== undefined) return undefined
    if (shared.some(({ space }) => space !== storage.id)) return undefined
    if (shared.length === 0 && this.#cold > 0) startReading(fd, 0, size)
    if (this.#cold > 0) this.#cold--
    return { size, extras, shared }
  }

  #finish(): void {
    const file = this.#begun.shift() as BegunFile
    try {
      const examined = this.#isTooLate(file.index) ? undefined : ifPossible(() => this.#examine(file))
      if (examined) this.#batch.add(examined)
    } finally {
      close(file.fd)
    }
    if (this.#batch.isFull) this.#send()
  }

  /** In the order that makes it true: it was mapped before its status is asked, is read, and is asked again. */
  #examine({ fd, size, index, name, parent, began, extras, shared }: BegunFile): ExaminedFile | undefined {
    const status = statFd(fd)
    const content = shared.length > 0 ? undefined : this.#read(fd, size)
    if (status.size !== size || !isUnchanged(statFd(fd), status)) return undefined
    if (content && content.byteLength !== size) return undefined
    return { index, name, parent, began, ended: now(), status, extras, shared, content }
  }

  #read(fd: number, size: number): Uint8Array {
    const began = now()
    const content = this.#batch.room(size)
    const length = readInto(fd, 0, content)
    if (now() - began > SLOW_READ) this.#cold = COLD_FILES
    return content.subarray(0, length)
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
