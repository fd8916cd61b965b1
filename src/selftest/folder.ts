import { constants } from 'node:fs'
import { mkdirat, openat } from '../sys/directory.js'
import { close, writeAt } from '../sys/file.js'

const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
const PRIVATE_FILE = 0o600
const PRIVATE_DIRECTORY = 0o700

/** A new directory, and the files that are made in it: all stay open until it is closed. */
export class Folder {
  readonly name: string
  readonly fd: number
  readonly #open: number[] = []
  #names = 0

  /** @throws SYSTEM_CALL */
  constructor(parent: number, name: string) {
    mkdirat(parent, Buffer.from(name), PRIVATE_DIRECTORY)
    this.name = name
    this.fd = openat(parent, Buffer.from(name), DIRECTORY)
    this.#open.push(this.fd)
  }

  /** A name that nothing here has. */
  freeName(): Buffer {
    return Buffer.from(`${++this.#names}`)
  }

  /** A new file, open for reading and writing. @throws SYSTEM_CALL */
  file(bytes: Uint8Array, name: Uint8Array = this.freeName()): number {
    const fd = openat(this.fd, name, NEW_FILE, PRIVATE_FILE)
    this.#open.push(fd)
    writeAt(fd, bytes, 0)
    return fd
  }

  close(): void {
    for (const fd of this.#open) close(fd)
  }
}
