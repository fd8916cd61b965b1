import { fstatSync } from 'node:fs'
import type { Stream } from 'node:stream'
import { ReftarError } from '../errors.js'
import { pathBytes, quotePath } from '../event.js'
import { setPipeSize } from '../sys/file.js'

/** What names stdin, or stdout. */
const STANDARD = '-'

export function isStandard(file: string): boolean {
  return file === STANDARD
}

/** Opening a FIFO waits for its other end; an interruption must not. */
export function unlessAborted<T>(opening: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    opening.then(resolve, reject)
  })
}

export function terminal(use: string): ReftarError {
  const message = `an archive is not ${use} a terminal: name a file with -f, or use a pipe`
  return new ReftarError('INVALID_ARGUMENT', message)
}

const PIPE_SIZE = 1024 * 1024

/** Gives a pipe room for more at a time: both sides wait for each other less often. Others stay as they are. */
export function widenPipe(fd: number): void {
  if (fstatSync(fd).isFIFO()) setPipeSize(fd, PIPE_SIZE)
}

export function directory(file: string): ReftarError {
  return new ReftarError(
    'INVALID_ARGUMENT',
    `${quotePath(pathBytes(file))} is a directory, expected an archive`,
  )
}

/** The errors of a stream name its file; those of others, which end it, have names of their own. */
export function naming<T extends Stream>(stream: T, file: string): T {
  return stream.on('error', error => {
    if (!(error instanceof ReftarError)) Object.assign(error, { path: file })
  })
}
