import { type Common, type Path, pathBytes, pathList, quotePath } from '../event.js'
import { treeRecords } from '../fs/tree-records.js'
import { emptyTreeSummary, type TreeSummary } from '../fs/tree-request.js'
import type { ArchiveRecord } from '../record.js'
import { type Origin, origin } from './stage.js'

export type { TreeSummary }

/** What {@link treeSource} takes. */
export interface TreeOptions extends Common {
  /** Where relative paths begin; the working directory by default. */
  readonly directory?: Path
  /** Put out references for storage that files share; true by default. */
  readonly shared?: boolean
  /** Read and compare shared storage instead of trusting its addresses. */
  readonly paranoid?: boolean
  /** Store the numbers of owners without their names. */
  readonly numericOwner?: boolean
  /** Leave out what is on other filesystems than the paths that were given. */
  readonly oneFileSystem?: boolean
  /**
   * Read a clone of each file, made in the same directory without a name: a file that is written to meanwhile is
   * stored as it was at one moment. Where there can be no clone, files are read as they are.
   */
  readonly snapshot?: boolean
  /**
   * Globs of stored paths to leave out, and all below them; as of picomatch: `*` stops at a slash, `**` does not. A
   * pattern may match from any directory on, unless it begins with a slash.
   */
  readonly exclude?: readonly string[]
  /** Leave out what the `.gitignore` files of the tree name. */
  readonly excludeVcsIgnores?: boolean
  /** Leave out what is in directories with a CACHEDIR.TAG, but the tag. */
  readonly excludeCaches?: boolean
  /** Files to leave out, by device and inode as stat(2) has them: the archive itself, when it may lie in its own tree. */
  readonly skip?: readonly { readonly dev: bigint; readonly ino: bigint }[]
}

/**
 * The records of files and directories, with what shares storage among them. Each path is stored as it is given:
 * its parents as implied directories, without a leading slash; `.` stands for the directory itself. All paths
 * together make one tree, in the byte order of names.
 *
 * What cannot be archived is told as a problem, and the rest goes on.
 *
 * @throws INVALID_ARGUMENT at once for no list of paths, no path, an empty one, one with `..`, two of the same name, and an
 *   empty pattern; through the stream SYSTEM_CALL when a path that was given does not exist
 */
export function treeSource(
  paths: Iterable<Path>,
  options: TreeOptions = {},
): Origin<ArchiveRecord, TreeSummary> {
  const list = pathList(paths)
  const {
    directory = '.',
    onEvent = () => undefined,
    shared = true,
    paranoid = false,
    numericOwner = false,
    oneFileSystem = false,
    snapshot = false,
    exclude = [],
    excludeVcsIgnores = false,
    excludeCaches = false,
    skip = [],
    signal,
  } = options
  const summary = emptyTreeSummary()
  const records = treeRecords(list, {
    directory: pathBytes(directory),
    shared,
    paranoid,
    numericOwner,
    oneFileSystem,
    snapshot,
    exclusion: { patterns: exclude, vcsIgnores: excludeVcsIgnores, caches: excludeCaches },
    isSkipped: ({ dev, ino }) => skip.some(file => file.ino === ino && deviceOf(file.dev) === dev),
    summary,
    onEntry: (path, size) => onEvent({ type: 'entry', path, size }),
    onNote: message => onEvent({ type: 'note', message }),
    onProblem(code, path, message) {
      summary.problems++
      onEvent({ type: 'problem', code, path, message: `${quotePath(path)}: ${message}` })
    },
  })
  return origin(summary, records, signal)
}

/** From the packed number of stat(2) to the pair of statx(2), as in makedev(3) of glibc. */
function deviceOf(dev: bigint): number {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n)
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n)
  return Number(major) * 0x100000000 + Number(minor)
}
