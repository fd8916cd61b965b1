import fs from 'node:fs'
import path from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { ReftarError } from '../errors.js'

/** Where the archive of a command is. */

const STANDARD = '-'
const READ = 1024 * 1024
const PIPE_SIZE = 1024 * 1024

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
  if (process.stdin.isTTY) {
    throw new ReftarError('INVALID_ARGUMENT', 'an archive is not read from a terminal: name a file with -f, or use a pipe')
  }
  return process.stdin
}

/** @throws INVALID_ARGUMENT for a terminal, and the errors of open(2) */
export async function openOutput(file: string): Promise<ArchiveOutput> {
  return isStandard(file) ? standardOutput() : stagedOutput(file)
}

async function standardOutput(): Promise<ArchiveOutput> {
  if (process.stdout.isTTY) {
    throw new ReftarError('INVALID_ARGUMENT', 'an archive is not written to a terminal: name a file with -f, or use a pipe')
  }
  const fd = 1
  const status = fs.fstatSync(fd, { bigint: true })
  if (status.isFIFO()) {
    const { setPipeSize } = await import('../sys/file.js')
    setPipeSize(fd, PIPE_SIZE)
  }
  const stream = fs.createWriteStream('', { fd, fs: { ...fs, close: leaveOpen } })
  return { stream, exclude: status.isFile() ? [status] : [], commit: () => undefined, abandon: () => undefined }
}

/** Standard output is not ours to close: the next file to be opened would take its number. */
function leaveOpen(_fd: number, callback?: (error: null) => void): void {
  callback?.(null)
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
