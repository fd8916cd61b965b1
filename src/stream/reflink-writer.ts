import { ReftarError } from '../errors.js'
import { type Common, type Path, pathBytes, quotePath } from '../event.js'
import { emptyCloneSummary, type Reflink } from '../fs/clone-ladder.js'
import type { Existing } from '../fs/staging.js'
import { TreeWriter } from '../fs/tree-writer.js'
import type { WriteSummary } from '../fs/write-request.js'
import type { ArchiveRecord } from '../record.js'
import { type Sink, sink } from './stage.js'

export type { Existing, Reflink, WriteSummary }

/** What {@link reflinkWriter} takes. */
export interface WriteOptions extends Common {
  /**
   * How references become sharing. `auto`, the default, clones what was shared at the source and what was found
   * equal, where it can; `exact` clones only what was shared; `always` fails where it cannot clone; `never` copies.
   */
  readonly reflink?: Reflink
  /**
   * Clone data too, where it says that it comes `from` a file on the same filesystem, in place of writing it; true by
   * default. With `reflink` as `exact` or `never`, data is always written.
   */
  readonly zeroCopy?: boolean
  /**
   * What becomes of names that exist in the target, except directories, which are merged. `refuse`, the default, fails;
   * `keep` leaves them as they are, and tells each as a problem; `overwrite` replaces them, and sets the metadata of
   * directories that exist.
   */
  readonly existing?: Existing
  /** After an error, publish the entries that are whole; false by default. */
  readonly keepPartial?: boolean
  /** Give entries to the owners that they had; true for root. */
  readonly sameOwner?: boolean
  /** Give entries their exact modes, not what the umask leaves of them; true by default. */
  readonly samePermissions?: boolean
  /** Owners are their numbers, whatever their names are here; false by default. */
  readonly numericOwner?: boolean
  /** Make device nodes; true for root. */
  readonly devices?: boolean
  /** Write everything back before it gets its names, and after: it then survives a power loss. False by default. */
  readonly fsync?: boolean
}

const REFLINKS: readonly Reflink[] = ['auto', 'exact', 'always', 'never']
const EXISTINGS: readonly Existing[] = ['refuse', 'keep', 'overwrite']

/**
 * Restores records below an existing directory. Everything is made in private staging directories, and gets its name
 * only when all records have come; a stream that dies before leaves nothing behind, unless `keepPartial` is asked for.
 *
 * @throws INVALID_ARGUMENT at once for an unknown choice, and no path; through the stream TARGET_EXISTS, TARGET_CHANGED,
 *   CLONE_REFUSED, SYSTEM_CALL, and BAD_STRUCTURE or DANGLING_REFERENCE for records that no parser has checked
 */
export function reflinkWriter(directory: Path, options: WriteOptions = {}): Sink<WriteSummary> {
  return recordSink(directory, options, () => undefined)
}

/** As a reflinkWriter, for records that may have ended because of a `failure`: then only a part is there to be kept. */
export function recordSink(
  directory: Path,
  options: WriteOptions,
  failure: () => unknown,
): Sink<WriteSummary> {
  const isRoot = process.geteuid?.() === 0
  const {
    reflink = 'auto',
    zeroCopy = true,
    existing = 'refuse',
    keepPartial = false,
    sameOwner = isRoot,
    samePermissions = true,
    numericOwner = false,
    devices = isRoot,
    fsync = false,
    onEvent = () => undefined,
    signal,
  } = options
  checkChoice('reflink', reflink, REFLINKS)
  checkChoice('existing', existing, EXISTINGS)
  const target = pathBytes(directory)
  const summary: WriteSummary = {
    entries: 0,
    files: 0,
    logicalBytes: 0,
    writtenBytes: 0,
    zeroCopyBytes: 0,
    ...emptyCloneSummary(),
    holeBytes: 0,
    missingBytes: 0,
    problems: 0,
  }
  let writer: TreeWriter | undefined
  let isPublished = false

  return sink<ArchiveRecord, WriteSummary>(
    summary,
    {
      async open() {
        writer = new TreeWriter({
          directory: target,
          reflink,
          zeroCopy: zeroCopy && (reflink === 'auto' || reflink === 'always'),
          existing,
          policy: { sameOwner, samePermissions, numericOwner },
          devices,
          fsync,
          summary,
          onEntry: (path, size) => onEvent({ type: 'entry', path, size }),
          onNote: message => onEvent({ type: 'note', message }),
          onProblem(code, path, message) {
            summary.problems++
            onEvent({ type: 'problem', code, path, message: `${quotePath(path)}: ${message}` })
          },
        })
      },
      write: record => writer?.write(record),
      async final() {
        const error = failure()
        if (error === undefined) await writer?.publish()
        else await writer?.publishPart()
        isPublished = true
        if (error !== undefined) throw error
      },
      async close() {
        try {
          if (keepPartial && !isPublished) await writer?.publishPart()
        } catch (error) {
          onEvent({ type: 'note', message: `nothing could be kept: ${(error as Error).message}` })
        } finally {
          await writer?.close()
        }
      },
    },
    signal,
  )
}

/** @throws INVALID_ARGUMENT */
function checkChoice<T extends string>(what: string, found: T, choices: readonly T[]): void {
  if (choices.includes(found)) return
  const message = `${what} is ${String(found)}, expected one of ${choices.join(', ')}`
  throw new ReftarError('INVALID_ARGUMENT', message)
}
