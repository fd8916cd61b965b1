import { ioctl } from './ioctl.js'

const FICLONERANGE = 0x4020940d
const buffer = Buffer.alloc(32) // struct file_clone_range

/**
 * ioctl_ficlonerange(2). A `length` of 0 means: to the end of the source.
 *
 * @returns 0, or the error number
 */
export function cloneRange(
  source: number,
  sourceOffset: number,
  length: number,
  target: number,
  targetOffset: number,
): number {
  write(source, 0)
  write(sourceOffset, 8)
  write(length, 16)
  write(targetOffset, 24)
  return ioctl(target, FICLONERANGE, buffer)
}

/** 64 bits, without a bigint for each. */
function write(value: number, at: number): void {
  buffer.writeUInt32LE(value % 0x100000000, at)
  buffer.writeUInt32LE(Math.floor(value / 0x100000000), at + 4)
}
