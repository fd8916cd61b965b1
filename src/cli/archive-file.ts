import fs from 'node:fs'
import path from 'node:path'
import { type Readable, Writable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { promisify } from 'node:util'
import { ReftarError } from '../errors.js'

/** Where the archive of a command is. */

const STANDARD = '-'
const READ = 1024 * 1024
const PIPE_SIZE = 1024 * 1024
const BUFFERED = 4 * 1024 * 1024
/** Milliseconds until a full non-blocking pipe is tried again. */
const RETRY = 2

const write = promisify(fs.write)

export interface ArchiveOutput {
  readonly stream: Writable
  /** Files that must not be archived into themselves. */
  readonly exclude: readonly { readonly dev: bigint; readonly ino: bigint }[]
  /** Gives the complete archive its name. */
  commit(): void
  /** Removes what is not complete. */
  abandon(): void
}

export function isStandard(file: string): boolean {
  return file === STANDARD
}

/** @throws INVALID_ARGUMENT for a terminal, and the errors of open(2) */
export async function openInput(file: string): Promise<Readable> {
  if (!isStandard(file)) {
    const handle = await fs.promises.open(file)
    return handle.createReadStream({ highWaterMark: READ })
  }
  if (isatty(0)) {
    throw new ReftarError(
      'INVALID_ARGUMENT',
      'an archive is not read from a terminal: name a file with -f, or use a pipe',
    )
  }
  return process.stdin
}

/** @throws INVALID_ARGUMENT for a terminal, and the errors of open(2) */
export async function openOutput(file: string): Promise<ArchiveOutput> {
  return isStandard(file) ? standardOutput() : stagedOutput(file)
}

async function standardOutput(): Promise<ArchiveOutput> {
  const fd = 1
  if (isatty(fd)) {
    throw new ReftarError(
      'INVALID_ARGUMENT',
      'an archive is not written to a terminal: name a file with -f, or use a pipe',
    )
  }
  const status = fs.fstatSync(fd, { bigint: true })
  if (status.isFIFO()) {
    const { setPipeSize } = await import('../sys/file.js')
    setPipeSize(fd, PIPE_SIZE)
  }
  const stream = writeTo(fd)
  return {
    stream,
    exclude: status.isFile() ? [status] : [],
    commit: () => undefined,
    abandon: () => undefined,
  }
}

/**
 * A stream to a descriptor that is not ours to close. `process.stdout` would make a pipe non-blocking for everyone who
 * holds it, and write to it on the main thread.
 */
function writeTo(fd: number): Writable {
  return new Writable({
    highWaterMark: BUFFERED,
    write(bytes: Uint8Array, _encoding, callback) {
      writeAll(fd, bytes).then(() => callback(), callback)
    },
  })
}

async function writeAll(fd: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    try {
      const { bytesWritten } = await write(fd, bytes, done, bytes.byteLength - done)
      done += bytesWritten
    } catch (error) {
      // Someone else made the pipe non-blocking, and its reader is slow.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      await setTimeout(RETRY)
    }
  }
}

/** Written under another name in the same directory, so that the archive appears only when it is complete. */
function stagedOutput(file: string): ArchiveOutput {
  const staged = path.join(path.dirname(file), `.${path.basename(file)}.${process.pid}.reftar-part`)
  const fd = fs.openSync(staged, 'wx', 0o600)
  const replaced = fs.statSync(file, { bigint: true, throwIfNoEntry: false })
  const exclude = [fs.fstatSync(fd, { bigint: true }), ...(replaced?.isFile() ? [replaced] : [])]
  return {
    stream: fs.createWriteStream('', { fd }),
    exclude,
    commit() {
      fs.renameSync(staged, file)
    },
    abandon() {
      fs.rmSync(staged, { force: true })
    },
  }
}
