import ignore, { type Ignore } from 'ignore'
import picomatch from 'picomatch'
import { ReftarError } from '../errors.js'
import { openat } from '../sys/directory.js'
import { close, OPEN_FILE, readAt } from '../sys/file.js'
import { S_IFREG, statFd, typeOf } from '../sys/status.js'

export interface ExclusionOptions {
  /** Globs of stored paths, as picomatch has them; one without a leading slash matches below any directory. */
  readonly patterns: readonly string[]
  /** Leave out what the `.gitignore` files of the tree name. */
  readonly vcsIgnores: boolean
  /** Leave out what is in directories with a CACHEDIR.TAG, but the tag. */
  readonly caches: boolean
}

/** What holds in a directory and below it: the ignore files on the way there, the innermost first. */
export interface IgnoreFiles {
  readonly rules: Ignore
  /** How much of a path leads to the directory of the file. */
  readonly prefixLength: number
  readonly outer: IgnoreFiles | undefined
}

const GITIGNORE = Buffer.from('.gitignore')
const CACHEDIR_TAG = Buffer.from('CACHEDIR.TAG')
/** The Cache Directory Tagging Specification, https://bford.info/cachedir/ */
const SIGNATURE = Buffer.from('Signature: 8a477f597d28d172789f06886806bc55')
/** An ignore file longer than this is none. In bytes. */
const LONGEST = 1024 * 1024

/** Decides which names of a tree are left out because someone asked for it. */
export class Exclusion {
  readonly #options: ExclusionOptions
  readonly #matches: ((path: string) => boolean) | undefined

  /** @throws INVALID_ARGUMENT for an empty pattern */
  constructor(options: ExclusionOptions) {
    const { patterns } = options
    this.#options = options
    if (patterns.includes(''))
      throw new ReftarError('INVALID_ARGUMENT', 'a pattern to exclude is empty, expected a glob')
    this.#matches = patterns.length > 0 ? picomatch(patterns.map(anchored), { dot: true }) : undefined
  }

  /** Whether anything can be left out at all. */
  get isActive(): boolean {
    return this.#matches !== undefined || this.#options.vcsIgnores
  }

  /** @param path - as it is stored */
  excludes(path: Uint8Array, isDirectory: boolean, files: IgnoreFiles | undefined): boolean {
    const text = textOf(path)
    if (this.#matches?.(text)) return true
    for (let at = files; at; at = at.outer) {
      const { ignored, unignored } = at.rules.test(text.slice(at.prefixLength) + (isDirectory ? '/' : ''))
      if (ignored) return true
      if (unignored) return false
    }
    return false
  }

  /** The ignore files that hold in a directory. @param path - of the directory, as it is stored */
  ignoreFiles(fd: number, path: Uint8Array, outer: IgnoreFiles | undefined): IgnoreFiles | undefined {
    if (!this.#options.vcsIgnores) return undefined
    const content = readSmall(fd, GITIGNORE, LONGEST)
    if (!content) return outer
    const rules = ignore({ allowRelativePaths: true, ignorecase: false }).add(content.toString())
    return { rules, prefixLength: path.byteLength === 0 ? 0 : textOf(path).length + 1, outer }
  }

  /** Of all names in a directory, those that are not left out as a cache. */
  withoutCache(fd: number, names: Uint8Array[]): { readonly names: Uint8Array[]; readonly isCache: boolean } {
    if (!this.#options.caches) return { names, isCache: false }
    const head = readSmall(fd, CACHEDIR_TAG, SIGNATURE.byteLength)
    if (!head?.equals(SIGNATURE)) return { names, isCache: false }
    return { names: names.filter(name => CACHEDIR_TAG.equals(name)), isCache: true }
  }
}

/** A leading slash stands for the top of the stored paths; else a pattern may begin in any directory. */
function anchored(pattern: string): string {
  const glob = pattern.replace(/\/+$/, '')
  return glob.startsWith('/') ? glob.slice(1) : `{${glob},**/${glob}}`
}

/** The first bytes of a regular file in a directory; undefined where there is none that can be read. */
function readSmall(directory: number, name: Uint8Array, length: number): Buffer | undefined {
  try {
    const fd = openat(directory, name, OPEN_FILE)
    try {
      return typeOf(statFd(fd)) === S_IFREG ? Buffer.from(readAt(fd, 0, length)) : undefined
    } finally {
      close(fd)
    }
  } catch (error) {
    if (error instanceof ReftarError && error.errno !== undefined) return undefined
    throw error
  }
}

/** UTF-8 where it is, else each byte as a character: no two names become one. */
function textOf(path: Uint8Array): string {
  const bytes = Buffer.from(path.buffer, path.byteOffset, path.byteLength)
  const text = bytes.toString()
  return text.includes('\ufffd') ? bytes.toString('latin1') : text
}
