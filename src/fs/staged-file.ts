import fs from 'node:fs'
import { dirname, join } from 'node:path'
import { ReftarError, withPath } from '../errors.js'
import { quotePath } from '../event.js'
import { latin1, latin1Bytes } from '../format/latin1.js'
import { close, sync } from '../sys/file.js'
import { fromNodeError } from '../sys/koffi.js'
import { IS_LEFT_OVER, isLeftover, privateName } from '../sys/private-name.js'
import { atExit } from './at-exit.js'

/** Which file it is, by the numbers of stat(2). */
export interface FileNumbers {
  readonly dev: bigint
  readonly ino: bigint
}

const NEW_FILE = 0o666
const PERMISSIONS = 0o777

/** A file that is written under another name in the same directory, and gets its own when it is complete. */
export class StagedFile {
  readonly #path: Uint8Array
  /** The files that are in the way of reading the tree that it lies in: itself, and what it replaces. */
  readonly files: FileNumbers[] = []
  #fd: number | undefined
  /** The name that it has for now; as latin1 text, like all paths here. */
  #staged = ''
  #name: string
  #forget: (() => void) | undefined

  constructor(path: Uint8Array) {
    this.#path = path
    this.#name = latin1(path)
    const found = fs.statSync(Buffer.from(path), { bigint: true, throwIfNoEntry: false })
    if (found) this.files.push(found)
  }

  /**
   * Creates it, empty and for writing.
   *
   * @throws INVALID_ARGUMENT for what is no regular file, SYSTEM_CALL
   */
  open(onNote: (message: string) => void): number {
    return this.#naming(() => {
      const found = fs.statSync(Buffer.from(this.#path), { throwIfNoEntry: false })
      if (found && !found.isFile()) {
        const kind = found.isDirectory() ? 'is a directory' : 'is not a regular file'
        throw new ReftarError('INVALID_ARGUMENT', `${quotePath(this.#path)} ${kind}, expected an archive`)
      }
      // A link stays, and leads to the new file.
      if (found) this.#name = fs.realpathSync(Buffer.from(this.#path), 'buffer').toString('latin1')
      const directory = dirname(this.#name)
      reportLeftovers(directory, onNote)
      const staged = join(directory, privateName('part-'))
      const mode = found ? found.mode & PERMISSIONS : NEW_FILE
      const fd = fs.openSync(bytesOf(staged), 'wx', mode)
      this.#fd = fd
      this.#staged = staged
      this.#forget = atExit(() => this.close())
      this.files.push(fs.fstatSync(fd, { bigint: true }))
      return fd
    })
  }

  /** Writes it back, so that it has all its content whatever happens. @throws SYSTEM_CALL */
  async sync(): Promise<void> {
    if (this.#fd !== undefined) await sync(this.#fd)
  }

  /** Gives it its name. @throws SYSTEM_CALL */
  publish(): void {
    this.#naming(() => {
      fs.renameSync(bytesOf(this.#staged), bytesOf(this.#name))
      this.#staged = ''
    })
  }

  /** Writes its name back. @throws SYSTEM_CALL */
  async syncName(): Promise<void> {
    const fd = this.#naming(() => fs.openSync(bytesOf(dirname(this.#name)), 'r'))
    try {
      await sync(fd)
    } finally {
      close(fd)
    }
  }

  /** Lets go of it, and removes it where it was not published. */
  close(): void {
    this.#forget?.()
    if (this.#staged !== '') fs.rmSync(bytesOf(this.#staged), { force: true })
    this.#staged = ''
    if (this.#fd !== undefined) close(this.#fd)
    this.#fd = undefined
  }

  #naming<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw withPath(fromNodeError(error), this.#path)
    }
  }
}

function bytesOf(path: string): Buffer {
  return Buffer.from(path, 'latin1')
}

function reportLeftovers(directory: string, onNote: (message: string) => void): void {
  for (const name of namesIn(directory).filter(isLeftover)) {
    onNote(`${quotePath(latin1Bytes(join(directory, name)))} ${IS_LEFT_OVER}`)
  }
}

/** None of a directory that may be written and not be read. */
function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(bytesOf(directory), 'latin1')
  } catch {
    return []
  }
}
