import ignore, { type Ignore } from 'ignore'
import picomatch from 'picomatch'
import { ReftarError } from '../errors.js'
import { latin1, latin1Bytes } from '../format/latin1.js'
import { openat } from '../sys/directory.js'
import { close, OPEN_FILE, readAt } from '../sys/file.js'
import { S_IFREG, statAt, typeOf } from '../sys/status.js'

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
  /** How much of a path, as text, leads to the directory of the file. */
  readonly prefixLength: number
  readonly outer: IgnoreFiles | undefined
}

type Matches = (path: string, isDirectory: boolean) => boolean

const GITIGNORE = Buffer.from('.gitignore')
export const CACHEDIR_TAG = Buffer.from('CACHEDIR.TAG')
/** The Cache Directory Tagging Specification, https://bford.info/cachedir/ */
const SIGNATURE = Buffer.from('Signature: 8a477f597d28d172789f06886806bc55')
/** An ignore file longer than this is none. In bytes. */
const LONGEST = 1024 * 1024

/** Decides which names of a tree are left out because someone asked for it. */
export class Exclusion {
  readonly #options: ExclusionOptions
  readonly #patterns: readonly Matches[]

  /** @throws INVALID_ARGUMENT for what is no pattern */
  constructor(options: ExclusionOptions) {
    this.#options = options
    this.#patterns = options.patterns.map(matcherOf)
  }

  /** Whether anything can be left out by its name. */
  get isActive(): boolean {
    return this.#patterns.length > 0 || this.#options.vcsIgnores
  }

  /** @param path - as it is stored */
  excludes(path: Uint8Array, isDirectory: boolean, files: IgnoreFiles | undefined): boolean {
    const text = textOf(path)
    if (this.#patterns.some(matches => matches(text, isDirectory))) return true
    for (let at = files; at; at = at.outer) {
      const verdict = verdictOf(at, text, isDirectory)
      if (verdict !== undefined) return verdict
    }
    return false
  }

  /**
   * The ignore files that hold in a directory.
   *
   * @param path - of the directory, as it is stored
   */
  ignoreFiles(fd: number, path: Uint8Array, outer: IgnoreFiles | undefined): IgnoreFiles | undefined {
    if (!this.#options.vcsIgnores) return undefined
    const text = textOf(path)
    const above = withoutOverruled(outer, text)
    const content = readSmall(fd, GITIGNORE, LONGEST)
    if (!content) return above
    const rules = ignore({ allowRelativePaths: true, ignorecase: false }).add(content.toString())
    return { rules, prefixLength: text === '' ? 0 : text.length + 1, outer: above }
  }

  /** Whether what is in a directory is left out as a cache, but its tag. */
  isCache(fd: number): boolean {
    return (
      this.#options.caches && readSmall(fd, CACHEDIR_TAG, SIGNATURE.byteLength)?.equals(SIGNATURE) === true
    )
  }
}

function verdictOf(
  { rules, prefixLength }: IgnoreFiles,
  text: string,
  isDirectory: boolean,
): boolean | undefined {
  const { ignored, unignored } = rules.test(text.slice(prefixLength) + (isDirectory ? '/' : ''))
  return ignored || unignored ? ignored : undefined
}

/**
 * An outer file that would leave out a directory which an inner one wants again says nothing about what is in it: it
 * would leave that out with its directory.
 */
function withoutOverruled(files: IgnoreFiles | undefined, directory: string): IgnoreFiles | undefined {
  if (!files) return undefined
  const outer = withoutOverruled(files.outer, directory)
  if (directory.length > files.prefixLength && verdictOf(files, directory, true) === true) return outer
  return outer === files.outer ? files : { ...files, outer }
}

/** @throws INVALID_ARGUMENT */
function matcherOf(pattern: string): Matches {
  const isAnchored = /^\.?\//.test(pattern)
  const onlyDirectories = pattern.endsWith('/')
  const glob = pattern.replace(/^(\.?\/)+/, '').replace(/\/+$/, '')
  if (glob === '') {
    const found = pattern === '' ? 'empty' : `'${pattern}'`
    const message = `a pattern to exclude is ${found}, expected one that names something`
    throw new ReftarError('INVALID_ARGUMENT', message)
  }
  const matches = /[*?[\]{}\\]/.test(glob) ? globMatcher(glob, isAnchored) : literalMatcher(glob, isAnchored)
  return (path, isDirectory) => (isDirectory || !onlyDirectories) && matches(path)
}

function literalMatcher(name: string, isAnchored: boolean): (path: string) => boolean {
  return path => path === name || (!isAnchored && path.endsWith(`/${name}`))
}

function globMatcher(glob: string, isAnchored: boolean): (path: string) => boolean {
  const braces = (glob.match(/[{}]/g) ?? []).length
  const escaped = glob
    // Of a bare glob, these are names like any others.
    .replace(/[()|"!+@]/g, '\\$&')
    .replace(braces % 2 === 0 ? /$^/ : /[{}]/g, '\\$&')
    // What is in a directory, and not the directory itself.
    .replace(/\/\*\*$/, '/**/*')
  try {
    const options = { dot: true, flags: 's', nonegate: true, noextglob: true }
    return picomatch(isAnchored ? escaped : [escaped, `**/${escaped}`], options)
  } catch (error) {
    const message = `a pattern to exclude is of no use: ${(error as Error).message}`
    throw new ReftarError('INVALID_ARGUMENT', message, { cause: error })
  }
}

/** The first bytes of a regular file in a directory; undefined where there is none that can be read. */
function readSmall(directory: number, name: Uint8Array, length: number): Buffer | undefined {
  try {
    // Whatever else has that name is not to be opened.
    if (typeOf(statAt(directory, name)) !== S_IFREG) return undefined
    const fd = openat(directory, name, OPEN_FILE)
    try {
      return Buffer.from(readAt(fd, 0, length))
    } finally {
      close(fd)
    }
  } catch (error) {
    if (error instanceof ReftarError && error.errno !== undefined) return undefined
    throw error
  }
}

const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A path as text. In a name that is not UTF-8, each other byte becomes a character that no text has. */
function textOf(path: Uint8Array): string {
  try {
    return UTF_8.decode(path)
  } catch {
    const names = latin1(path).split('/')
    return names.map(nameText).join('/')
  }
}

function nameText(name: string): string {
  try {
    return UTF_8.decode(latin1Bytes(name))
  } catch {
    return name.replace(/[\x80-\xff]/g, byte => String.fromCharCode(0xdc00 + byte.charCodeAt(0)))
  }
}
