import { preallocate, punchHole, truncate } from '../sys/file.js'
import { filesystemOf, XFS } from '../sys/filesystem.js'

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

/**
 * XFS reserves storage behind what is written, and would keep it where more is written beyond: fs/xfs/xfs_iomap.c, speculative
 * preallocation. This gives back what lies in a hole, from `start` to the `end` that the file has. @throws SYSTEM_CALL
 */
export function giveBack(fd: number, start: number, end: number): void {
  const { type, blockSize } = filesystemOf(fd)
  if (type === XFS) punchHole(fd, start, Math.ceil(end / blockSize) * blockSize - start)
}
