import fs from 'node:fs'
import path from 'node:path'
import { Writable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { promisify } from 'node:util'
import { pathBytes, quotePath } from '../event.js'
import { IS_LEFT_OVER, isLeftover, privateName } from '../sys/private-name.js'
import { directory, isStandard, naming, terminal, unlessAborted } from './archive-file.js'

const PIPE_SIZE = 1024 * 1024
const BUFFERED = 4 * 1024 * 1024
/** Milliseconds until a full non-blocking pipe is tried again. */
const RETRY = 2

const open = promisify(fs.open)
const writev = promisify(fs.writev)

export interface ArchiveOutput {
  readonly stream: Writable
  /** Files that must not be archived into themselves. */
  readonly skip: readonly { readonly dev: bigint; readonly ino: bigint }[]
  /** Gives the complete archive its name. */
  commit(): void
  /** Removes what is not complete. */
  abandon(): void
}

export interface OutputRequest {
  /** Write an archive that gets a name to disk, before and after. */
  readonly fsync: boolean
  readonly onNote: (message: string) => void
}

/** @throws INVALID_ARGUMENT for a terminal or a directory, and the errors of open(2) */
export async function openOutput(
  file: string,
  signal: AbortSignal,
  { fsync, onNote }: OutputRequest,
): Promise<ArchiveOutput> {
  if (isStandard(file)) return directOutput(1)
  const found = fs.statSync(file, { bigint: true, throwIfNoEntry: false })
  if (found?.isDirectory()) throw directory(file)
  if (found && !found.isFile()) return directOutput(await unlessAborted(open(file, 'w'), signal))
  const place = found ? fs.realpathSync(file) : file
  reportLeftovers(path.dirname(place), onNote)
  return stagedOutput(place, found ? Number(found.mode) & 0o777 : 0o666, fsync, found)
}

/** Written as it is: a pipe, a device, or a file that the shell opened. */
async function directOutput(fd: number): Promise<ArchiveOutput> {
  if (isatty(fd)) throw terminal('written to')
  const status = fs.fstatSync(fd, { bigint: true })
  if (status.isFIFO()) {
    const { setPipeSize } = await import('../sys/file.js')
    setPipeSize(fd, PIPE_SIZE)
  }
  const stream = writeTo(fd)
  return {
    stream,
    skip: status.isFile() ? [status] : [],
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
      writeAll(fd, [bytes]).then(() => callback(), callback)
    },
    writev(chunks: { readonly chunk: Uint8Array }[], callback) {
      writeAll(
        fd,
        chunks.map(({ chunk }) => chunk),
      ).then(() => callback(), callback)
    },
  })
}

/** In as few calls as it takes: each is a way to another thread and back. */
async function writeAll(fd: number, parts: readonly Uint8Array[]): Promise<void> {
  for (let left = [...parts]; left.length > 0; ) {
    try {
      const { bytesWritten } = await writev(fd, left)
      left = withoutFirst(left, bytesWritten)
    } catch (error) {
      // Someone else made the pipe non-blocking, and its reader is slow.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      await setTimeout(RETRY)
    }
  }
}

/** What is left of parts after their first `count` bytes. */
function withoutFirst(parts: readonly Uint8Array[], count: number): Uint8Array[] {
  let skip = count
  const next = parts.findIndex(({ byteLength }) => {
    if (skip < byteLength) return true
    skip -= byteLength
    return false
  })
  if (next === -1) return []
  const [first, ...rest] = parts.slice(next)
  return first ? [first.subarray(skip), ...rest] : []
}

/** Written under another name in the same directory, so that the archive appears only when it is complete. */
function stagedOutput(file: string, mode: number, fsync: boolean, replaced?: fs.BigIntStats): ArchiveOutput {
  const place = path.dirname(file)
  const staged = path.join(place, privateName('part-'))
  const fd = openStaged(staged, file, mode)
  const skip = [fs.fstatSync(fd, { bigint: true }), ...(replaced ? [replaced] : [])]
  return {
    stream: naming(fs.createWriteStream('', { fd, flush: fsync }), file),
    skip,
    commit() {
      fs.renameSync(staged, file)
      if (fsync) syncDirectory(place)
    },
    abandon() {
      fs.rmSync(staged, { force: true })
    },
  }
}

/** An error names the file that was asked for. */
function openStaged(staged: string, file: string, mode: number): number {
  try {
    return fs.openSync(staged, 'wx', mode)
  } catch (error) {
    throw Object.assign(error as NodeJS.ErrnoException, { path: file })
  }
}

function syncDirectory(directory: string): void {
  const fd = fs.openSync(directory, 'r')
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

function reportLeftovers(directory: string, onNote: (message: string) => void): void {
  for (const name of namesIn(directory).filter(isLeftover)) {
    onNote(`${quotePath(pathBytes(path.join(directory, name)))} ${IS_LEFT_OVER}`)
  }
}

/** None of a directory that may be written and not be read. */
function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory, 'latin1')
  } catch {
    return []
  }
}
