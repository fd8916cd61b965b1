import { createCipheriv, createHash } from 'node:crypto'
import { withPath } from '../errors.js'
import { joinPath } from '../format/path.js'
import { cloneRange } from '../sys/clone-range.js'
import { changeMode, truncate, writeAt } from '../sys/file.js'
import { systemError } from '../sys/koffi.js'
import type { AbilityName } from './abilities.js'
import { ATTRIBUTES, ODD_NAME, SPECIAL_FILES } from './features.js'
import { Folder } from './folder.js'

/** A file that was made. */
export interface SampleFile {
  /** Below the tree, as raw bytes. */
  readonly path: Uint8Array
  /** In bytes. */
  readonly size: number
  /** The SHA-256 of what was written to it. */
  readonly digest: Buffer
}

const KIB = 1024
const MIB = 1024 * KIB
/** With an end that fills no block; together with what is changed, more than one segment of an archive holds. */
const TEMPLATE = 4 * MIB + 1234
const CHANGE = 512 * KIB
const SPARSE = 16 * MIB
const NOTHING = Buffer.alloc(0)
const PUBLIC_FILE = 0o640
const PUBLIC_DIRECTORY = 0o751

/**
 * A tree of what archives keep, as far as a filesystem and a user can make it: clones of a template with changes, equal
 * files that share nothing, holes, links, attributes.
 */
export class Sample {
  readonly files: SampleFile[] = []
  /** Bytes that were cloned, and not written over afterwards. */
  sharedBytes = 0
  readonly #can: ReadonlySet<AbilityName>
  readonly #random = createCipheriv('aes-128-ctr', Buffer.alloc(16, 'reftar'), Buffer.alloc(16))

  constructor(can: ReadonlySet<AbilityName>) {
    this.#can = can
  }

  /** Fills an empty directory, a part at a time. @throws SYSTEM_CALL */
  *make(root: number): Generator<void, void, undefined> {
    yield this.#fill(root, 'images', folder => this.#images(folder))
    yield this.#fill(root, 'reports', folder => this.#reports(folder))
    yield this.#fill(root, 'oddities', folder => this.#oddities(folder))
  }

  #fill(root: number, name: string, fill: (folder: Folder) => void): void {
    const folder = new Folder(root, name)
    try {
      fill(folder)
      changeMode(folder.fd, PUBLIC_DIRECTORY)
    } finally {
      folder.close()
    }
  }

  #images(folder: Folder): void {
    const content = this.#bytes(TEMPLATE)
    const template = this.#add(folder, 'template', content)
    this.#clone(folder, 'web', template, content, 0, MIB)
    this.#clone(folder, 'db', template, content, 0, 2 * MIB)
    this.#clone(folder, 'moved', template, content, 64 * KIB, 3 * MIB)
  }

  /** A clone of all of a file, behind a hole, of which a part is written over. */
  #clone(
    folder: Folder,
    name: string,
    original: number,
    content: Uint8Array,
    hole: number,
    change: number,
  ): void {
    const changed = this.#bytes(CHANGE)
    const all = Buffer.concat([Buffer.alloc(hole), content])
    all.set(changed, change)
    this.#add(folder, name, all, fd => {
      if (this.#can.has('clone')) {
        const error = cloneRange(original, 0, 0, fd, hole)
        if (error !== 0) throw systemError('ioctl(FICLONERANGE)', error)
        this.sharedBytes += content.byteLength - changed.byteLength
      } else {
        writeAt(fd, content, hole)
      }
      writeAt(fd, changed, change)
    })
  }

  /** Equal, and stored twice. */
  #reports(folder: Folder): void {
    const content = this.#bytes(CHANGE)
    this.#add(folder, 'june', content)
    this.#add(folder, 'june (copy)', content)
  }

  #oddities(folder: Folder): void {
    const text = Buffer.from('a file of a few bytes\n')
    this.#add(folder, 'empty', Buffer.alloc(0))
    this.#add(folder, 'small', text)
    this.#add(folder, 'sparse', Buffer.concat([Buffer.alloc(SPARSE), text]), fd => {
      truncate(fd, SPARSE)
      writeAt(fd, text, SPARSE)
    })
    if (this.#can.has('anyNames')) this.#add(folder, ODD_NAME, text)
    for (const [ability, give] of Object.entries(ATTRIBUTES)) {
      if (!this.#can.has(ability as AbilityName)) continue
      this.#add(folder, ability, text, fd => {
        writeAt(fd, text, 0)
        changeMode(fd, PUBLIC_FILE)
        give(fd)
      })
    }
    for (const [ability, make] of Object.entries(SPECIAL_FILES)) {
      if (this.#can.has(ability as AbilityName)) make(folder.fd, Buffer.from(ability), Buffer.from('small'))
    }
  }

  /** Returns its descriptor, which stays open as long as the folder. */
  #add(
    folder: Folder,
    name: string | Buffer,
    content: Uint8Array,
    write: (fd: number) => void = fd => writeAt(fd, content, 0),
  ): number {
    const path = joinPath([Buffer.from(folder.name), Buffer.from(name)])
    this.files.push({ path, size: content.byteLength, digest: createHash('sha256').update(content).digest() })
    try {
      const fd = folder.file(NOTHING, Buffer.from(name))
      write(fd)
      return fd
    } catch (error) {
      throw withPath(error, path)
    }
  }

  /** Random, and the same in every run. */
  #bytes(length: number): Buffer {
    return this.#random.update(Buffer.alloc(length))
  }
}
