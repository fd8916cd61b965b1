import fs from 'node:fs'
import { Writable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { promisify } from 'node:util'
import { directory, isStandard, terminal, unlessAborted, widenPipe } from './archive-file.js'

const BUFFERED = 4 * 1024 * 1024
/** Milliseconds until a full non-blocking pipe is tried again. */
const RETRY = 2

const open = promisify(fs.open)
const writev = promisify(fs.writev)

export interface DirectOutput {
  readonly stream: Writable
  /** Files that must not be archived into themselves. */
  readonly skip: readonly { readonly dev: bigint; readonly ino: bigint }[]
}

/**
 * What is written as it is: stdout, a pipe or a device. Undefined for a file, or what is to be one.
 *
 * @throws INVALID_ARGUMENT for a terminal or a directory, and the errors of open(2)
 */
export async function openDirectly(file: string, signal: AbortSignal): Promise<DirectOutput | undefined> {
  if (isStandard(file)) return directOutput(1)
  const found = fs.statSync(file, { throwIfNoEntry: false })
  if (found?.isDirectory()) throw directory(file)
  if (!found || found.isFile()) return undefined
  return directOutput(await unlessAborted(open(file, 'w'), signal))
}

/** A pipe, a device, or a file that the shell opened. */
function directOutput(fd: number): DirectOutput {
  if (isatty(fd)) throw terminal('written to')
  const status = fs.fstatSync(fd, { bigint: true })
  widenPipe(fd)
  const stream = writeTo(fd)
  return { stream, skip: status.isFile() ? [status] : [] }
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
