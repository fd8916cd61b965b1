import { ReftarError } from '../errors.js'
import { type Common, type Path, pathBytes, quotePath } from '../event.js'
import type { Reflink } from '../fs/clone-ladder.js'
import { TreeWriter, type WriteSummary } from '../fs/tree-writer.js'
import type { ArchiveRecord } from '../record.js'
import { type Sink, sink } from './stage.js'

export type { Reflink, WriteSummary }

export interface WriteOptions extends Common {
  /**
   * How references become sharing. `auto`, the default, clones what was shared at the source and what was found
   * equal, where it can; `exact` clones only what was shared; `always` fails where it cannot clone; `never` copies.
   */
  readonly reflink?: Reflink
}

const REFLINKS: readonly Reflink[] = ['auto', 'exact', 'always', 'never']

/**
 * Restores records below an existing directory. Everything is made in private staging directories, and gets its name
 * only when all records have come; a stream that dies before leaves nothing behind. Existing directories are merged,
 * other existing names are refused.
 *
 * @throws INVALID_ARGUMENT at once for an unknown way to reflink; through the stream TARGET_EXISTS, TARGET_CHANGED,
 *   CLONE_REFUSED, SYSTEM_CALL, and BAD_STRUCTURE or DANGLING_REFERENCE for records that no parser has checked
 */
export function reflinkWriter(directory: Path, options: WriteOptions = {}): Sink<WriteSummary> {
  const { reflink = 'auto', onEvent = () => undefined, signal } = options
  if (!REFLINKS.includes(reflink)) {
    throw new ReftarError(
      'INVALID_ARGUMENT',
      `reflink is ${String(reflink)}, expected one of ${REFLINKS.join(', ')}`,
    )
  }
  const summary: WriteSummary = {
    entries: 0,
    files: 0,
    logicalBytes: 0,
    writtenBytes: 0,
    clonedBytes: 0,
    copiedBytes: 0,
    copyReasons: {},
    holeBytes: 0,
    missingBytes: 0,
    problems: 0,
  }
  let writer: TreeWriter | undefined

  return sink<ArchiveRecord, WriteSummary>(
    summary,
    {
      async open() {
        writer = new TreeWriter({
          directory: pathBytes(directory),
          reflink,
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
      final: async () => writer?.publish(),
      close: () => writer?.close(),
    },
    signal,
  )
}
