import { isSameFile, type Status } from '../sys/status.js'
import { type SharedExtent, type Storage, sharedExtents } from './shared-extents.js'

/** A range of an open file; `offset` in bytes. */
export interface OpenRange {
  readonly fd: number
  readonly status: Status
  readonly storage: Storage
  readonly offset: number
}

/** How many of `length` bytes of two ranges lie on the same storage, each where the other has it. @throws SYSTEM_CALL */
export function keptSharing(a: OpenRange, b: OpenRange, length: number): number {
  if (isSameFile(a.status, b.status) && a.offset === b.offset) return length
  if (a.storage !== b.storage) return 0
  const [rowsA, rowsB] = [rowsOf(a, length), rowsOf(b, length)]
  let kept = 0
  for (let i = 0, j = 0; i < rowsA.length && j < rowsB.length; ) {
    const [rowA, rowB] = [rowsA[i] as SharedExtent, rowsB[j] as SharedExtent]
    const [endA, endB] = [rowA.offset + rowA.length, rowB.offset + rowB.length]
    const isSame = rowA.space === rowB.space && rowA.position - rowA.offset === rowB.position - rowB.offset
    if (isSame) kept += Math.max(0, Math.min(endA, endB) - Math.max(rowA.offset, rowB.offset))
    if (endA <= endB) i++
    if (endB <= endA) j++
  }
  return kept
}

/** With offsets that count from the start of the range. */
function rowsOf({ fd, status, storage, offset }: OpenRange, length: number): SharedExtent[] {
  return sharedExtents(fd, status, storage, offset, offset + length).map(row => ({
    ...row,
    offset: row.offset - offset,
  }))
}
