import fs from 'node:fs'
import { Readable } from 'node:stream'
import { isatty } from 'node:tty'
import { pathBytes, quotePath } from '../event.js'
import type { Source } from '../record.js'
import { lentArchive } from '../stream/archive-source.js'
import { directory, isStandard, naming, terminal, unlessAborted, widenPipe } from './archive-file.js'

const READ = 1024 * 1024
/** What is given up at once where a disk does not give it. */
const BLOCK = 4096

/** Told of bytes of an archive file that cannot be read. */
export type OnUnreadable = (path: Uint8Array, message: string) => void

/** The bytes of an archive. */
export interface Input {
  readonly stream: Readable
  /** How many there are, where that is known. */
  readonly size: number | undefined
}

/**
 * Opens an archive.
 *
 * @param onUnreadable - of a file, zeros stand for what cannot be read, and this is told; without it, that is an error
 * @throws INVALID_ARGUMENT for a terminal or a directory, and the errors of open(2)
 */
export async function openInput(
  file: string,
  signal: AbortSignal,
  onUnreadable?: OnUnreadable,
): Promise<Input> {
  if (isStandard(file)) {
    if (isatty(0)) throw terminal('read from')
    return { stream: process.stdin, size: sizeOfRest(0) }
  }
  const handle = await open(file, signal)
  const size = sizeOfRest(handle.fd)
  if (!onUnreadable || size === undefined) return { stream: streamOf(handle, file), size }
  const tell = (from: number, to: number) => {
    const path = pathBytes(file)
    onUnreadable(path, `${quotePath(path)}: ${to - from} bytes at ${from} cannot be read (EIO)`)
  }
  return { stream: Readable.from(readDamaged(handle, size, tell), { objectMode: false }), size }
}

/** The bytes of an archive, and what they can be cloned from. */
export interface LentInput extends Input {
  readonly source: Source | undefined
  /** To be called in the end. */
  close(): Promise<void>
}

/** As {@link openInput}, of an archive that is restored below a directory. */
export async function openLentInput(file: string, target: string, signal: AbortSignal): Promise<LentInput> {
  if (isStandard(file)) {
    const input = await openInput(file, signal)
    widenPipe(0)
    return unlent(input)
  }
  const handle = await open(file, signal)
  try {
    const size = sizeOfRest(handle.fd)
    const source = await lentArchive(handle.fd, file, target)
    if (!source) return unlent({ stream: streamOf(handle, file), size })
    return { stream: streamOf(handle, file, false), size, source, close: () => handle.close() }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Of bytes that cannot be cloned. */
export function unlent(input: Input): LentInput {
  return { ...input, source: undefined, close: async () => undefined }
}

/** How many bytes of a regular file are left to read; undefined for anything else. */
function sizeOfRest(fd: number): number | undefined {
  const status = fs.fstatSync(fd)
  if (!status.isFile()) return undefined
  // Whoever has opened it for this process may have read of it.
  const [, position] = /^pos:\s*(\d+)$/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? []
  return Math.max(0, status.size - Number(position))
}

/** @throws INVALID_ARGUMENT for a directory, and the errors of open(2) */
async function open(file: string, signal: AbortSignal): Promise<fs.promises.FileHandle> {
  const handle = await unlessAborted(fs.promises.open(file), signal)
  if ((await handle.stat()).isDirectory()) throw directory(file)
  return handle
}

function streamOf(handle: fs.promises.FileHandle, file: string, autoClose = true): Readable {
  return naming(handle.createReadStream({ highWaterMark: READ, autoClose }), file)
}

/** No block of zeros passes for one with another CRC32. */
async function* readDamaged(
  handle: fs.promises.FileHandle,
  size: number,
  tell: (from: number, to: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let lostFrom: number | undefined
  try {
    for (let at = 0, length = READ; at < size; ) {
      const bytes = await readPart(handle, at, length)
      // A disk may give nothing of a long read, and yet its beginning.
      if (!bytes && length > BLOCK) {
        length = BLOCK
        continue
      }
      length = READ
      if (bytes?.byteLength === 0) return
      if (!bytes) lostFrom ??= at
      else if (lostFrom !== undefined) {
        tell(lostFrom, at)
        lostFrom = undefined
      }
      const part = bytes ?? Buffer.alloc(Math.min(BLOCK - (at % BLOCK), size - at))
      yield part
      at += part.byteLength
    }
    if (lostFrom !== undefined) tell(lostFrom, size)
  } finally {
    await handle.close()
  }
}

/** Undefined where it cannot be read. */
async function readPart(
  handle: fs.promises.FileHandle,
  at: number,
  length: number,
): Promise<Uint8Array | undefined> {
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(length), 0, length, at)
    return buffer.subarray(0, bytesRead)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EIO') return undefined
    throw error
  }
}
