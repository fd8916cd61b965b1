import { constants } from 'node:fs'
import { ReftarError, withPath } from '../errors.js'
import { quotePath } from '../event.js'
import type { Source } from '../record.js'
import { type Steps, wait } from '../steps.js'
import { AT_FDCWD, openat } from '../sys/directory.js'
import { close, closingOnError, readAtAsync, readIntoAsync } from '../sys/file.js'
import { S_IFDIR, S_IFREG, statFd, typeOf } from '../sys/status.js'
import { ProvenFile } from './proven-file.js'

const OPEN = constants.O_RDONLY | constants.O_NONBLOCK
/** Bytes of one read. */
const READ = 1024 * 1024

/** An archive file, from its start to its end. */
export class ArchiveReader {
  readonly #path: Uint8Array
  /** What its bytes can be cloned from, once the first of them were read; undefined where they cannot. */
  source: ProvenFile | undefined

  constructor(path: Uint8Array) {
    this.#path = path
  }

  /** @throws INVALID_ARGUMENT for what is no regular file, SYSTEM_CALL */
  *bytes(): Steps<Uint8Array> {
    try {
      const fd = openat(AT_FDCWD, this.#path, OPEN)
      try {
        this.#checkType(fd)
        this.source = yield* wait(ProvenFile.of(fd, this.#path))
        yield* readAhead(at => readAtAsync(fd, at, READ))
      } finally {
        this.source?.release()
        close(fd)
      }
    } catch (error) {
      throw withPath(error, this.#path)
    }
  }

  #checkType(fd: number): void {
    const type = typeOf(statFd(fd))
    if (type === S_IFREG) return
    const kind = type === S_IFDIR ? 'is a directory' : 'is not a regular file'
    throw new ReftarError('INVALID_ARGUMENT', `${quotePath(this.#path)} ${kind}, expected an archive`)
  }
}

/** A regular file, to be read anywhere and closed; undefined for anything else. @throws SYSTEM_CALL */
export function openSource(path: Uint8Array): (Source & { size: number; close(): void }) | undefined {
  const fd = openat(AT_FDCWD, path, OPEN)
  const status = closingOnError(fd, statFd)
  if (typeOf(status) !== S_IFREG) {
    close(fd)
    return undefined
  }
  return {
    size: status.size,
    async read(offset, into) {
      await readIntoAsync(fd, offset, into)
    },
    close: () => close(fd),
  }
}

/** All bytes of a source of a known size. @throws what the source throws */
export function sourceBytes(source: Source, size: number): Steps<Uint8Array> {
  return readAhead(async at => {
    const bytes = Buffer.allocUnsafeSlow(Math.max(0, Math.min(READ, size - at)))
    if (bytes.byteLength > 0) await source.read(at, bytes)
    return bytes
  })
}

/** One read after the other, with the next one under way; nothing more comes after an empty one. */
function* readAhead(read: (at: number) => Promise<Uint8Array>): Steps<Uint8Array> {
  let next = read(0)
  try {
    for (let at = 0; ; ) {
      const bytes = yield* wait(next)
      if (bytes.byteLength === 0) return
      at += bytes.byteLength
      next = read(at)
      next.catch(() => undefined)
      yield bytes
    }
  } finally {
    // A descriptor that is read from must not be closed.
    yield* wait(next.catch(() => undefined))
  }
}
