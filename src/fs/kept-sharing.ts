import { type Inode, isSameFile } from '../sys/status.js'
import { type SharedExtent, sharedExtents } from './shared-extents.js'
import type { Storage } from './storages.js'

/** A range of an open file; `offset` in bytes. */
export interface OpenRange {
  readonly fd: number
  readonly inode: Inode
  readonly storage: Storage
  readonly offset: number
}

/** How many of `length` bytes of two ranges lie on the same storage, each where the other has it. @throws SYSTEM_CALL */
export function keptSharing(a: OpenRange, b: OpenRange, length: number): number {
  if (isSameFile(a.inode, b.inode) && a.offset === b.offset) return length
  if (a.storage !== b.storage) return 0
  const [rowsA, rowsB] = [rowsOf(a, length), rowsOf(b, length)]
  let [rowA, rowB] = [next(rowsA), next(rowsB)]
  let kept = 0
  while (rowA && rowB) {
    const [endA, endB] = [rowA.offset + rowA.length, rowB.offset + rowB.length]
    const isSame = rowA.space === rowB.space && rowA.position - rowA.offset === rowB.position - rowB.offset
    if (isSame) kept += Math.max(0, Math.min(endA, endB) - Math.max(rowA.offset, rowB.offset))
    if (endA <= endB) rowA = next(rowsA)
    if (endB <= endA) rowB = next(rowsB)
  }
  return kept
}

/** With offsets that count from the start of the range. */
function* rowsOf({ fd, inode, storage, offset }: OpenRange, length: number): Generator<SharedExtent, void> {
  for (const row of sharedExtents(fd, inode, storage, offset, offset + length)) {
    yield { ...row, offset: row.offset - offset }
  }
}

function next(rows: Generator<SharedExtent, void>): SharedExtent | undefined {
  return rows.next().value ?? undefined
}
