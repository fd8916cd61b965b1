import { type Inode, statFd } from '../sys/status.js'
import type { Directory } from './directory-tree.js'

/** A file that this run made: where it is, and which inode. */
export class RestoredFile implements Inode {
  directory: Directory
  /** As latin1 text, for there may be many. */
  name: string
  /** By which its data is found again, once it has any. */
  number: number | undefined
  /** Its descriptor, until it is finished. */
  fd: number | undefined
  /** When data was last written to it, as Writeback counts. */
  written = 0
  #dev = 0
  #ino: bigint | undefined

  constructor(directory: Directory, name: string, fd?: number) {
    this.directory = directory
    this.name = name
    this.fd = fd
  }

  /** @throws SYSTEM_CALL */
  get dev(): number {
    this.#look()
    return this.#dev
  }

  /** @throws SYSTEM_CALL */
  get ino(): bigint {
    return this.#look()
  }

  /** What was seen of it. */
  identify({ dev, ino }: Inode): void {
    this.#dev = dev
    this.#ino = ino
  }

  /** Rarely needed before it is finished: the look at what is finished tells it, too. */
  #look(): bigint {
    if (this.#ino !== undefined) return this.#ino
    const status = statFd(this.fd as number)
    this.identify(status)
    return status.ino
  }
}
