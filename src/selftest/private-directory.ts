import { withPath } from '../errors.js'
import { joinPath } from '../format/path.js'
import { type Directory, DirectoryTree } from '../fs/directory-tree.js'
import { removeTree } from '../fs/remove-tree.js'
import { AT_REMOVEDIR, mkdirat, unlinkat } from '../sys/directory.js'
import { privateName } from '../sys/private-name.js'

const PRIVATE = 0o700

/** A new directory inside of another, for this run alone, which goes with all that is in it. */
export class PrivateDirectory {
  /** As raw bytes. */
  readonly path: Uint8Array
  readonly #tree = new DirectoryTree('TARGET_CHANGED')
  readonly #parent: Directory
  readonly #directory: Directory

  /** @throws SYSTEM_CALL when it cannot be made */
  constructor(parent: Uint8Array) {
    const name = Buffer.from(privateName())
    this.path = joinPath([parent, name])
    this.#parent = this.#tree.root(parent)
    try {
      mkdirat(this.#tree.fd(this.#parent), name, PRIVATE)
    } catch (error) {
      this.#tree.close()
      throw withPath(error, parent)
    }
    try {
      this.#directory = this.#tree.child(this.#parent, name)
    } catch (error) {
      unlinkat(this.#tree.fd(this.#parent), name, AT_REMOVEDIR)
      this.#tree.close()
      throw error
    }
  }

  get fd(): number {
    return this.#tree.fd(this.#directory)
  }

  /** Removes it, without following any link. @throws SYSTEM_CALL, TARGET_CHANGED */
  remove(): void {
    try {
      removeTree(this.#tree, this.#parent, this.#directory)
    } finally {
      this.#tree.close()
    }
  }
}
