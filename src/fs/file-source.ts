import { ReftarError } from '../errors.js'
import type { Source, SourceFamily } from '../record.js'
import { openat } from '../sys/directory.js'
import { close, OPEN_FILE, readInto, readIntoAsync, SMALL_READ } from '../sys/file.js'
import { isUnchanged, statFd } from '../sys/status.js'
import { type DirectoryTree, pathOf } from './directory-tree.js'
import type { SeenFile, SeenFiles } from './seen-files.js'

/** Files that were archived, each of which can be read again while it is unchanged. */
export class FileSources implements SourceFamily {
  readonly tree: DirectoryTree
  readonly files: SeenFiles

  constructor(tree: DirectoryTree, files: SeenFiles) {
    this.tree = tree
    this.files = files
  }

  /** @param file - with its status from after it was written back and before it was read */
  add(file: SeenFile): FileSource {
    return this.source(this.files.add(file))
  }

  source(number: number): FileSource {
    return new FileSource(this, number)
  }
}

/** One of them. It holds no descriptor between two reads. */
class FileSource implements Source {
  readonly family: FileSources
  readonly number: number

  constructor(family: FileSources, number: number) {
    this.family = family
    this.number = number
  }

  get device(): number {
    return this.#file.status.dev
  }

  /** @throws SOURCE_CHANGED, SYSTEM_CALL */
  withFd<T>(use: (fd: number) => T): T {
    const file = this.#file
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
    const file = this.#file
    const fd = this.#open(file)
    if (into.byteLength > SMALL_READ) return readLater(file, fd, offset, into)
    try {
      prove(file, fd)
      check(file, fd, readInto(fd, offset, into), into)
    } finally {
      close(fd)
    }
  }

  get #file(): SeenFile {
    return this.family.files.get(this.number)
  }

  #open({ directory, name }: SeenFile): number {
    return this.family.tree.lend(directory, fd => openat(fd, name, OPEN_FILE))
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
