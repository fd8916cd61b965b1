import { type Common, type Path, pathBytes, quotePath } from '../event.js'
import { type ComparisonSummary, TreeComparison } from '../fs/tree-comparison.js'
import type { ArchiveRecord } from '../record.js'
import { type Sink, sink } from './stage.js'

export type { ComparisonSummary }

/**
 * Compares records with the tree below a directory, and changes nothing: content, metadata that was captured, holes,
 * names that are in only one of them, and whether what shared storage at the source shares it here. Every difference
 * is told as a problem.
 *
 * @throws through the stream SYSTEM_CALL and SOURCE_CHANGED, and BAD_STRUCTURE or DANGLING_REFERENCE for records that no
 *   parser has checked
 */
export function treeComparer(directory: Path, options: Common = {}): Sink<ComparisonSummary> {
  const { onEvent = () => undefined, signal } = options
  const summary: ComparisonSummary = {
    entries: 0,
    files: 0,
    logicalBytes: 0,
    comparedBytes: 0,
    sharedBytes: 0,
    keptBytes: 0,
    differences: 0,
  }
  let comparison: TreeComparison | undefined

  return sink<ArchiveRecord, ComparisonSummary>(
    summary,
    {
      async open() {
        comparison = new TreeComparison({
          directory: pathBytes(directory),
          summary,
          onEntry: (path, size) => onEvent({ type: 'entry', path, size }),
          onDifference: (code, path, message) =>
            onEvent({ type: 'problem', code, path, message: `${quotePath(path)}: ${message}` }),
        })
      },
      write: record => comparison?.write(record),
      final: async () => comparison?.finish(),
      close: () => comparison?.close(),
    },
    signal,
  )
}
