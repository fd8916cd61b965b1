import { ioctl } from './ioctl.js'
import { systemError } from './koffi.js'

/** One row of FIEMAP (linux/fiemap.h); offsets and lengths in bytes. */
export interface FiemapRow {
  readonly logical: number
  readonly physical: number
  readonly length: number
  readonly flags: number
}

export const FIEMAP_EXTENT_LAST = 0x1
export const FIEMAP_EXTENT_UNKNOWN = 0x2
export const FIEMAP_EXTENT_DELALLOC = 0x4
export const FIEMAP_EXTENT_ENCODED = 0x8
export const FIEMAP_EXTENT_NOT_ALIGNED = 0x100
export const FIEMAP_EXTENT_INLINE = 0x200
export const FIEMAP_EXTENT_UNWRITTEN = 0x800
export const FIEMAP_EXTENT_SHARED = 0x2000

const FS_IOC_FIEMAP = 0xc020660b
const FIEMAP_FLAG_SYNC = 1
const HEADER = 32
const ROW = 56
const ROWS = 256
const buffer = Buffer.alloc(HEADER + ROWS * ROW)

/**
 * The rows that touch `length` bytes from `offset`, after the file was written back: FS_IOC_FIEMAP with
 * FIEMAP_FLAG_SYNC. Only for regular files: others answer with nonsense or a kernel warning.
 *
 * @param enough - when there are as many rows, the rest is left out
 * @throws SYSTEM_CALL, EOPNOTSUPP where the filesystem has no such map
 */
export function fiemap(
  fd: number,
  offset: number,
  length: number,
  enough = Number.POSITIVE_INFINITY,
): FiemapRow[] {
  const rows: FiemapRow[] = []
  const end = offset + length
  for (let at = offset; at < end; ) {
    buffer.fill(0, 0, HEADER)
    writeU64(0, at)
    writeU64(8, end - at)
    buffer.writeUInt32LE(FIEMAP_FLAG_SYNC, 16)
    buffer.writeUInt32LE(ROWS, 24)
    const error = ioctl(fd, FS_IOC_FIEMAP, buffer)
    if (error) throw systemError('ioctl(FS_IOC_FIEMAP)', error)
    const count = buffer.readUInt32LE(20)
    for (let i = 0; i < count; i++) rows.push(readRow(HEADER + i * ROW))
    const last = rows.at(-1)
    if (count < ROWS || !last || last.flags & FIEMAP_EXTENT_LAST || rows.length >= enough) break
    at = last.logical + last.length
  }
  return rows
}

function readRow(at: number): FiemapRow {
  return {
    logical: readU64(at),
    physical: readU64(at + 8),
    length: readU64(at + 16),
    flags: buffer.readUInt32LE(at + 40),
  }
}

function readU64(at: number): number {
  return buffer.readUInt32LE(at + 4) * 0x100000000 + buffer.readUInt32LE(at)
}

function writeU64(at: number, value: number): void {
  buffer.writeUInt32LE(value % 0x100000000, at)
  buffer.writeUInt32LE(Math.floor(value / 0x100000000), at + 4)
}
