import { ioctl } from './ioctl.js'
import { check, libcFunctions } from './koffi.js'

/** What kind of filesystem holds an open file, and how it numbers its storage. */
export interface Filesystem {
  /** f_type of statfs(2). */
  readonly type: number
  /** f_bsize of statfs(2), in bytes: the unit of clones. */
  readonly blockSize: number
}

/** What there is of a filesystem, in bytes. */
export interface Space {
  readonly size: number
  readonly free: number
  /** Of that, for those who are not root. */
  readonly available: number
}

export const TMPFS = 0x01021994
export const BTRFS = 0x9123683e
export const XFS = 0x58465342
export const EXT4 = 0xef53
export const F2FS = 0xf2f52010
export const FUSE = 0x65735546

const libc = libcFunctions<{ fstatfs(fd: number, buffer: Buffer): number }>({
  fstatfs: 'int fstatfs(int fd, void *buffer)',
})
const statfsBuffer = Buffer.alloc(120)

/** fstatfs(2). @throws SYSTEM_CALL */
export function filesystemOf(fd: number): Filesystem {
  check(libc().fstatfs(fd, statfsBuffer), 'fstatfs')
  return { type: statfsBuffer.readUInt32LE(0), blockSize: Number(statfsBuffer.readBigInt64LE(8)) }
}

/** fstatfs(2). @throws SYSTEM_CALL */
export function spaceOf(fd: number): Space {
  const { blockSize } = filesystemOf(fd)
  const bytesAt = (at: number) => Number(statfsBuffer.readBigUInt64LE(at)) * blockSize
  return { size: bytesAt(16), free: bytesAt(24), available: bytesAt(32) }
}

const XFS_IOC_FSGEOMETRY_V1 = 0x80705864
const RTBLOCKS_OFFSET = 40

/** Whether an XFS has a realtime device, or does not tell. */
export function mayHaveRealtime(fd: number): boolean {
  const buffer = Buffer.alloc(112) // struct xfs_fsop_geom_v1
  return ioctl(fd, XFS_IOC_FSGEOMETRY_V1, buffer) !== 0 || buffer.readBigUInt64LE(RTBLOCKS_OFFSET) > 0n
}

const BTRFS_IOC_FS_INFO = 0x8400941f

/** The one identity that all subvolumes of a btrfs share, in hexadecimal; undefined elsewhere. */
export function btrfsId(fd: number): string | undefined {
  const buffer = Buffer.alloc(1024) // struct btrfs_ioctl_fs_info_args
  if (ioctl(fd, BTRFS_IOC_FS_INFO, buffer)) return undefined
  return buffer.toString('hex', 16, 32)
}
