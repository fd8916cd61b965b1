import { preallocate, punchHole, truncate } from '../sys/file.js'
import { filesystemOf, XFS } from '../sys/filesystem.js'
import { hasSizeLimit } from '../sys/size-limit.js'

/** A file that has all its content; in bytes. */
interface WholeFile {
  readonly fd: number
  readonly size: number
  readonly endsInGap: boolean
}

/** Reserves storage beyond the end of a file. @throws SYSTEM_CALL */
export function reserveBeyond({ fd, size, endsInGap }: WholeFile, length: number): void {
  const { blockSize } = filesystemOf(fd)
  const start = Math.floor(size / blockSize) * blockSize
  if (!endsInGap || start === size) {
    preallocate(fd, size, length)
    return
  }
  truncate(fd, start)
  try {
    preallocate(fd, start, size - start + length)
  } finally {
    truncate(fd, size)
  }
}

/** More than anybody reserves, or writes after a gap, in bytes. */
const FAR = 2 ** 40

/**
 * XFS reserves storage behind the end of what is written, and would keep it where more is written beyond: fs/xfs/xfs_iomap.c,
 * speculative preallocation. This gives back what lies behind `size`, where all that is written ends. @throws SYSTEM_CALL
 */
export function giveBack(fd: number, size: number): void {
  if (filesystemOf(fd).type === XFS) punchHole(fd, size, FAR)
}

/**
 * Has a file on XFS end far behind `size`: within a file nothing is reserved, and each time that it grows, what was written is
 * waited for. Returns whether it does: elsewhere that is of no use, and under a limit it cannot be. @throws SYSTEM_CALL
 */
export function endAhead(fd: number, size: number): boolean {
  if (filesystemOf(fd).type !== XFS || hasSizeLimit()) return false
  truncate(fd, size + FAR)
  return true
}
