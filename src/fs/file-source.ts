import { ReftarError } from '../errors.js'
import type { Source } from '../record.js'
import { openat } from '../sys/directory.js'
import { close, OPEN_FILE, readInto, readIntoAsync, SMALL_READ } from '../sys/file.js'
import { isUnchanged, statFd } from '../sys/status.js'
import { type DirectoryTree, pathOf } from './directory-tree.js'
import type { SeenFile, SeenFiles } from './seen-files.js'

/** A file that was archived, to be read again while it is unchanged. It holds no descriptor between two reads. */
export class FileSource implements Source {
  readonly #tree: DirectoryTree
  readonly #files: SeenFiles
  readonly #number: number

  /** @param number - in `files`, with its status from after it was written back and before it was read */
  constructor(tree: DirectoryTree, files: SeenFiles, number: number) {
    this.#tree = tree
    this.#files = files
    this.#number = number
  }

  get device(): number {
    return this.#files.get(this.#number).status.dev
  }

  /** @throws SOURCE_CHANGED, SYSTEM_CALL */
  withFd<T>(use: (fd: number) => T): T {
    const file = this.#files.get(this.#number)
    const fd = this.#open(file)
    try {
      prove(file, fd)
      const result = use(fd)
      prove(file, fd)
      return result
    } finally {
      close(fd)
    }
  }

  /** @throws SOURCE_CHANGED, SYSTEM_CALL */
  read(offset: number, into: Uint8Array): void | Promise<void> {
    const file = this.#files.get(this.#number)
    const fd = this.#open(file)
    if (into.byteLength > SMALL_READ) return readLater(file, fd, offset, into)
    try {
      prove(file, fd)
      check(file, fd, readInto(fd, offset, into), into)
    } finally {
      close(fd)
    }
  }

  #open({ directory, name }: SeenFile): number {
    return this.#tree.lend(directory, fd => openat(fd, name, OPEN_FILE))
  }
}

async function readLater(file: SeenFile, fd: number, offset: number, into: Uint8Array): Promise<void> {
  try {
    prove(file, fd)
    check(file, fd, await readIntoAsync(fd, offset, into), into)
  } finally {
    close(fd)
  }
}

function check(file: SeenFile, fd: number, count: number, into: Uint8Array): void {
  prove(file, fd)
  if (count !== into.byteLength) throw changed(file)
}

function prove(file: SeenFile, fd: number): void {
  if (!isUnchanged(statFd(fd), file.status)) throw changed(file)
}

function changed({ directory, name }: SeenFile): ReftarError {
  const path = pathOf(directory, name)
  return new ReftarError('SOURCE_CHANGED', 'the file is not the one that was archived', { path })
}
