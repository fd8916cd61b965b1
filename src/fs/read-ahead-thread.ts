import { workerData } from 'node:worker_threads'
import { ReftarError } from '../errors.js'
import { latin1, latin1Bytes } from '../format/latin1.js'
import { openat, readEntries } from '../sys/directory.js'
import { close, closingOnError, OPEN_FILE, readInto, startReading } from '../sys/file.js'
import { isUnchanged, S_IFDIR, S_IFREG, statFd, typeOf } from '../sys/status.js'
import { byName } from './directory-entries.js'
import { type Directory, DirectoryTree } from './directory-tree.js'
import { BatchWriter, type ExaminedFile, LARGEST_CONTENT, type Look } from './examined-files.js'
import { fileMap } from './file-map.js'
import { FirstFiles, type WalkedFile } from './first-files.js'
import { captureExtras } from './metadata.js'
import { PagedStore } from './paged-store.js'
import { IS_OVER, type ReadAheadData, SENT, TAKEN, VISITED } from './read-ahead-state.js'
import { isSettled } from './settle.js'
import { type SharedExtent, sharedPart } from './shared-extents.js'
import { type Storage, Storages } from './storages.js'

/** Files that who walks is about to come by are left to it, and then as many as make it worth to go on behind them. */
const MARGIN = 32
const LEAP = 128
/** A read that takes longer than this found nothing in the cache; in nanoseconds. */
const SLOW_READ = 100_000
/** After one, so many files are had read by the kernel while others are opened, and so many are open at a time. */
const COLD_FILES = 64
const MOST_OPEN = 32
/** How many batches may wait, and how many files may lie between this walk and the other. */
const LEAD = 16
const FURTHEST = 8192
/** With more shared extents than this, or more earlier files that lie there, a file is left to who walks. */
const MOST_EXTENTS = 64
const MOST_LOOKS = 4
/** Milliseconds until it is looked again whether the other walk has come closer. */
const PATIENCE = 5

/** A file that was mapped. */
interface BegunFile extends WalkedFile, Mapped {
  readonly fd: number
  readonly began: number
  /** It may share with them, and is not read; without any, it is. */
  readonly earlier: readonly WalkedFile[]
}

interface Mapped {
  /** When it was opened, in bytes. */
  readonly size: number
  readonly extras: ExaminedFile['extras']
  readonly shared: readonly SharedExtent[]
  readonly storage: Storage
}

/** Walks the tree of another thread ahead of it, in the same order, and sends what it finds out about small files. */
class ReadAheadWalk {
  readonly #port: ReadAheadData['port']
  readonly #state: Int32Array
  readonly #tree = new DirectoryTree('SOURCE_CHANGED')
  readonly #storages = new Storages()
  readonly #pages = new PagedStore()
  readonly #firstFiles = new FirstFiles(this.#pages)
  readonly #batch = new BatchWriter()
  readonly #begun: BegunFile[] = []
  #index = 0
  /** Files before it are left to who walks. */
  #resumeAt = 0
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
      this.#pages.close()
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
    const visited = Atomics.load(this.#state, VISITED)
    if (index <= visited + MARGIN) this.#resumeAt = visited + LEAP
    return index < this.#resumeAt
  }

  /** Maps a file, and has the kernel read it while the next ones are mapped. */
  #open(index: number, directory: Directory, text: string): BegunFile | undefined {
    const began = now()
    const name = latin1Bytes(text)
    const fd = openat(this.#tree.fd(directory), name, OPEN_FILE)
    return closingOnError(fd, () => {
      const map = this.#map(fd)
      const file = map && this.#begin({ index, name, directory, began, fd, ...map })
      if (!file) close(fd)
      return file
    })
  }

  /** Has the kernel read a file, unless it may share with an earlier one. */
  #begin(file: Omit<BegunFile, 'earlier'>): BegunFile | undefined {
    const { fd, size, shared } = file
    const earlier = shared.length > 0 ? this.#firstFiles.before(file, shared) : []
    const isFirst = earlier.length === 0
    if (isFirst ? !isReadable(file) : earlier.length > MOST_LOOKS) return undefined
    if (isFirst && this.#cold > 0) startReading(fd, 0, size)
    if (this.#cold > 0) this.#cold--
    return { ...file, earlier }
  }

  #map(fd: number): Mapped | undefined {
    const opened = statFd(fd)
    const { size, nlink } = opened
    if (typeOf(opened) !== S_IFREG || nlink !== 1 || size === 0 || !isSettled(opened, Date.now()))
      return undefined
    const storage = this.#storages.of(fd, opened)
    let isWhole = storage.proves && !storage.hasRealtime
    if (!isWhole) return undefined
    const extras = captureExtras(fd, opened, storage.type, () => {
      isWhole = false
    })
    if (!isWhole || (extras.xattrs && extras.xattrs.length > 0)) return undefined
    const { isFull, end, reservedBeyond, shared } = fileMap(fd, opened, storage)
    if (!isFull || end < size || reservedBeyond !== undefined) return undefined
    if (shared.length > MOST_EXTENTS || !isOn(storage, shared)) return undefined
    if (shared.length === 0 && size > LARGEST_CONTENT) return undefined
    return { size, extras, shared, storage }
  }

  #finish(): void {
    const file = this.#begun.shift() as BegunFile
    try {
      const examined = this.#isTooLate(file.index) ? undefined : ifPossible(() => this.#examine(file))
      if (examined) this.#batch.add(examined)
    } finally {
      close(file.fd)
    }
    if (this.#batch.isFull || this.#isWanted) this.#send()
  }

  /** Whether who walks is about to come by the first file of the batch. */
  get #isWanted(): boolean {
    const { first } = this.#batch
    return first !== undefined && first <= Atomics.load(this.#state, VISITED) + MARGIN
  }

  /** In the order that makes it true: it was mapped before its status is asked, is read, and is asked again. */
  #examine(file: BegunFile): ExaminedFile | undefined {
    const { fd, size, index, directory, began, extras, shared, earlier } = file
    const status = statFd(fd)
    const looks = this.#looks(earlier, file.storage)
    const content = earlier.length === 0 ? this.#read(fd, size) : undefined
    if (status.size !== size || !isUnchanged(statFd(fd), status)) return undefined
    if (content && content.byteLength !== size) return undefined
    const [name, parent] = [latin1(file.name), directory.inode]
    return { index, name, parent, began, ended: now(), status, extras, shared, looks, content }
  }

  /** At files that who walks has come by, where they may prove that it can refer to them. */
  #looks(files: readonly WalkedFile[], storage: Storage): Look[] {
    const visited = Atomics.load(this.#state, VISITED)
    const looks = files.map(file =>
      file.index < visited ? ifPossible(() => this.#look(file, storage)) : undefined,
    )
    return looks.filter(look => look !== undefined)
  }

  #look({ directory, name }: WalkedFile, storage: Storage): Look | undefined {
    const fd = openat(this.#tree.fd(directory), name, OPEN_FILE)
    try {
      // Whatever took its name may not be a file at all, and only files have a map.
      const opened = statFd(fd)
      if (typeOf(opened) !== S_IFREG) return undefined
      if (this.#storages.of(fd, opened).id !== storage.id) return undefined
      const { extents: shared } = sharedPart(fd, opened, storage, 0, opened.size)
      if (shared.length > MOST_EXTENTS) return undefined
      const status = statFd(fd)
      return isUnchanged(status, opened) && isOn(storage, shared) ? { status, shared } : undefined
    } finally {
      close(fd)
    }
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
    const { inodes, numbers, shared, lookInodes, looks, contents } = batch
    const moved = [inodes, numbers, shared, lookInodes, looks, contents].map(
      ({ buffer }) => buffer as ArrayBuffer,
    )
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

/** Whether its content can be sent: it is small, and all of it shared or nothing. */
function isReadable({ size, shared: [first, ...others] }: Mapped): boolean {
  return size <= LARGEST_CONTENT && (!first || (others.length === 0 && first.length === size))
}

/** Whether its positions are those of the storage itself, and not of what is compressed. */
function isOn(storage: Storage, shared: readonly SharedExtent[]): boolean {
  return shared.every(({ space }) => space === storage.id)
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
