import { setImmediate } from 'node:timers/promises'
import { ReftarError, withPath } from '../errors.js'
import { latin1Bytes } from '../format/latin1.js'
import type { EntryPath } from '../format/path.js'
import type { Origin } from '../record.js'
import { openat } from '../sys/directory.js'
import { close, closingOnError, dataSync, OPEN_FILE } from '../sys/file.js'
import { isSameFile, statFd } from '../sys/status.js'
import type { CloneLadder } from './clone-ladder.js'
import { type DirectoryTree, pathOf } from './directory-tree.js'
import type { RestoredFile } from './restored-file.js'
import type { RestoredFiles } from './restored-files.js'
import type { Writeback } from './writeback.js'

/** A file that is open for writing, and waits for its clones. */
export interface OpenTarget {
  readonly fd: number
  readonly file: RestoredFile
  /** In the archive. */
  readonly path: EntryPath
  /** Clones that are still in the queue. */
  waiting: number
  /** All its records have come: its size, in bytes. */
  ended: number | undefined
}

/** A file to clone from. */
interface Source {
  readonly fd: number
  /** In bytes. */
  readonly size: number
}

interface QueuedClone {
  /** The number of the restored file. */
  readonly source: number
  readonly sourceOffset: number
  readonly target: OpenTarget
  readonly targetOffset: number
  /** In bytes. */
  readonly length: number
  readonly origin: Origin
}

const MAX_CLONES = 4096
const MAX_TARGETS = 256
const MAX_BYTES = 4 * 1024 ** 3
/** With more dirty sources than this, one sync of the filesystem costs less than one for each. */
const MAX_FILE_SYNCS = 16
const MAX_SOURCES = 32
/** Clones between two turns of the event loop. */
const CLONES_PER_TURN = 256

/**
 * Holds clones back until there are many, because a clone of a file whose data is not yet on disk forces it out: one
 * sync for all of them is cheaper than one for each.
 */
export class CloneQueue {
  readonly #tree: DirectoryTree
  readonly #files: RestoredFiles
  readonly #writeback: Writeback
  readonly #ladder: CloneLadder
  readonly #finish: (target: OpenTarget) => void
  readonly #sources = new Map<number, Source>()
  #clones: QueuedClone[] = []
  readonly #targets = new Set<OpenTarget>()
  #bytes = 0

  /** @param finish - called for each target that has ended, after its last clone */
  constructor(
    tree: DirectoryTree,
    files: RestoredFiles,
    writeback: Writeback,
    ladder: CloneLadder,
    finish: (target: OpenTarget) => void,
  ) {
    this.#tree = tree
    this.#files = files
    this.#writeback = writeback
    this.#ladder = ladder
    this.#finish = finish
  }

  /** It is to be flushed before anything is added. */
  get isFull(): boolean {
    return this.#clones.length >= MAX_CLONES || this.#targets.size >= MAX_TARGETS || this.#bytes >= MAX_BYTES
  }

  add(clone: QueuedClone): void {
    this.#clones.push(clone)
    this.#targets.add(clone.target)
    this.#bytes += clone.length
    clone.target.waiting++
  }

  /** The records of a target have all come, `size` bytes: it is finished now, or after its clones. */
  end(target: OpenTarget, size: number): void {
    target.ended = size
    if (target.waiting === 0) this.#finish(target)
  }

  /** @throws CLONE_REFUSED, TARGET_CHANGED, SYSTEM_CALL */
  async flush(): Promise<void> {
    if (this.#clones.length === 0) return
    await this.#syncSources()
    const clones = this.#clones
    this.#clones = []
    this.#bytes = 0
    let turn = 0
    for (const clone of clones) {
      const { target } = clone
      const copying = this.#clone(clone)
      if (copying) await copying
      if (--target.waiting === 0) {
        this.#targets.delete(target)
        if (target.ended !== undefined) this.#finish(target)
      }
      if (++turn % CLONES_PER_TURN === 0) await setImmediate()
    }
  }

  /** Lets go of everything; targets that still wait are handed back. */
  close(): OpenTarget[] {
    for (const { fd } of this.#sources.values()) close(fd)
    this.#sources.clear()
    const waiting = [...this.#targets]
    this.#targets.clear()
    this.#clones = []
    return waiting
  }

  #clone(clone: QueuedClone): void | Promise<void> {
    const { source, sourceOffset, target, targetOffset, length, origin } = clone
    try {
      const file = this.#files.get(source)
      const { fd, size } = this.#open(source, file)
      const copying = this.#ladder.run({
        source: fd,
        sourceDevice: deviceOf(file),
        sourceOffset,
        sourceSize: size,
        target: target.fd,
        targetDevice: deviceOf(target.file),
        targetOffset,
        length,
        origin,
        isEnd: target.ended === targetOffset + length,
      })
      return copying?.catch(error => {
        throw withPath(error, target.path.bytes)
      })
    } catch (error) {
      throw withPath(error, target.path.bytes)
    }
  }

  async #syncSources(): Promise<void> {
    await this.#writeback.settle()
    const dirty = new Map<number, RestoredFile>()
    for (const { source, target, origin, length } of this.#clones) {
      const file = this.#files.get(source)
      if (!this.#writeback.isDirty(file)) continue
      const isPossible = this.#ladder.isPossible(deviceOf(file), deviceOf(target.file), origin, length)
      if (isPossible) dirty.set(source, file)
    }
    if (dirty.size > MAX_FILE_SYNCS) {
      const [first] = dirty
      if (first) await this.#writeback.all(this.#open(...first).fd)
      return
    }
    for (const [number, file] of dirty) {
      await dataSync(this.#open(number, file).fd)
      this.#files.synced(number)
    }
  }

  /** @throws TARGET_CHANGED when the file is not the one that this run made */
  #open(number: number, file: RestoredFile): Source {
    // It waits for clones itself.
    if (file.fd !== undefined) return { fd: file.fd, size: statFd(file.fd).size }
    const known = this.#sources.get(number)
    if (known) return known
    const name = latin1Bytes(file.name)
    const fd = openat(this.#tree.fd(file.directory), name, OPEN_FILE)
    const status = closingOnError(fd, statFd)
    if (!isSameFile(status, file)) {
      close(fd)
      const path = pathOf(file.directory, name)
      throw new ReftarError('TARGET_CHANGED', 'a restored file was replaced', { path })
    }
    if (this.#sources.size >= MAX_SOURCES) {
      const [oldest] = this.#sources
      if (oldest) {
        close(oldest[1].fd)
        this.#sources.delete(oldest[0])
      }
    }
    const source = { fd, size: status.size }
    this.#sources.set(number, source)
    return source
  }
}

/** That of its directory: it need not be looked at for it. */
function deviceOf({ directory }: RestoredFile): number {
  return directory.inode.dev
}
