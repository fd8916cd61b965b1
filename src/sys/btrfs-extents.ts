import { ioctl } from './ioctl.js'

/** An EXTENT_DATA item of a btrfs file tree; all in bytes. */
export interface BtrfsExtent {
  /** Where in the file it begins. */
  readonly logical: number
  /** How many bytes of the file it gives. */
  readonly length: number
  /** Where the extent begins on disk. */
  readonly diskStart: number
  /** Where in the extent, once decompressed, the bytes of the file begin. */
  readonly offset: number
}

const BTRFS_IOC_TREE_SEARCH_V2 = 0xc0709411
const EXTENT_DATA = 108
const INLINE = 0
const KEY = 104
const ITEM_HEADER = 32
const buffer = Buffer.alloc(KEY + 8 + 64 * 1024)

/**
 * The extents of a btrfs file from `offset` to `end`: what FIEMAP does not say of compressed ones, that is where
 * inside the extent the bytes lie. Needs CAP_SYS_ADMIN.
 *
 * @returns undefined where the tree may not be read
 */
export function btrfsExtents(
  fd: number,
  ino: bigint,
  offset: number,
  end: number,
): BtrfsExtent[] | undefined {
  const extents: BtrfsExtent[] = []
  // An extent that begins before the range may reach into it: the largest has 128 MiB, compressed 128 KiB.
  for (let from = Math.max(0, offset - 128 * 1024); from < end; ) {
    buffer.fill(0, 0, KEY + 8)
    buffer.writeBigUInt64LE(ino, 8)
    buffer.writeBigUInt64LE(ino, 16)
    buffer.writeBigUInt64LE(BigInt(from), 24)
    buffer.writeBigUInt64LE(BigInt(end - 1), 32)
    buffer.writeBigUInt64LE(0xffffffffffffffffn, 48) // max_transid
    buffer.writeUInt32LE(EXTENT_DATA, 56)
    buffer.writeUInt32LE(EXTENT_DATA, 60)
    buffer.writeUInt32LE(0xffffffff, 64) // nr_items
    buffer.writeBigUInt64LE(BigInt(buffer.byteLength - KEY - 8), KEY)
    if (ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, buffer)) return undefined
    const count = buffer.readUInt32LE(64)
    if (count === 0) break
    let at = KEY + 8
    for (let i = 0; i < count; i++) {
      const logical = Number(buffer.readBigUInt64LE(at + 16))
      const length = buffer.readUInt32LE(at + 28)
      const item = at + ITEM_HEADER
      if (buffer[item + 20] !== INLINE) {
        extents.push({
          logical,
          length: Number(buffer.readBigUInt64LE(item + 45)),
          diskStart: Number(buffer.readBigUInt64LE(item + 21)),
          offset: Number(buffer.readBigUInt64LE(item + 37)),
        })
      }
      from = logical + 1
      at = item + length
    }
  }
  return extents
}
