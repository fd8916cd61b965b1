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
  buffer.writeBigInt64LE(BigInt(source), 0)
  buffer.writeBigUInt64LE(BigInt(sourceOffset), 8)
  buffer.writeBigUInt64LE(BigInt(length), 16)
  buffer.writeBigUInt64LE(BigInt(targetOffset), 24)
  return ioctl(target, FICLONERANGE, buffer)
}
