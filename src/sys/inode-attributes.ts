import { ENOTTY, EOPNOTSUPP } from './errno.js'
import { ioctl } from './ioctl.js'
import { systemError } from './koffi.js'

/** What ioctl_iflags(2) and FS_IOC_FSGETXATTR say of an open file or directory: flags, and the quota project. */

const FS_IOC_GETFLAGS = 0x80086601
const FS_IOC_SETFLAGS = 0x40086602
const FS_IOC_FSGETXATTR = 0x801c581f
const FS_IOC_FSSETXATTR = 0x401c5820

const FS_XFLAG_REALTIME = 0x1
const FS_XFLAG_PREALLOC = 0x2
const FS_XFLAG_IMMUTABLE = 0x8
const FS_XFLAG_APPEND = 0x10
const FS_IMMUTABLE_FL = 0x10
const FS_APPEND_FL = 0x20

/** Each flag of FS_IOC_FSGETXATTR, and the one of FS_IOC_GETFLAGS that is the same: fileattr_fill_xflags() of the kernel. */
const SAME_FLAGS = [
  [FS_XFLAG_IMMUTABLE, FS_IMMUTABLE_FL],
  [FS_XFLAG_APPEND, FS_APPEND_FL],
  [0x20, 0x8], // sync
  [0x40, 0x80], // noatime
  [0x80, 0x40], // nodump
  [0x8000, 0x2000000], // dax
  [0x200, 0x20000000], // projinherit
] as const

const flagsBuffer = Buffer.alloc(8)
const xattrBuffer = Buffer.alloc(28) // struct fsxattr: xflags, extsize, nextents, projid, cowextsize, padding
const PROJECT_OFFSET = 12

/** Inode flags, undefined where the filesystem has none. @throws SYSTEM_CALL */
export function getInodeFlags(fd: number): number | undefined {
  flagsBuffer.fill(0)
  const error = ioctl(fd, FS_IOC_GETFLAGS, flagsBuffer)
  if (error === 0) return flagsBuffer.readUInt32LE(0)
  if (error === ENOTTY || error === EOPNOTSUPP) return undefined
  throw systemError('ioctl(FS_IOC_GETFLAGS)', error)
}

/** Some filesystems take flags that they do not keep: only reading them back tells. @throws SYSTEM_CALL */
export function setInodeFlags(fd: number, flags: number): void {
  flagsBuffer.fill(0)
  flagsBuffer.writeUInt32LE(flags, 0)
  const error = ioctl(fd, FS_IOC_SETFLAGS, flagsBuffer)
  if (error !== 0) throw systemError('ioctl(FS_IOC_SETFLAGS)', error)
}

/** The number of the quota project; undefined where the filesystem has none. @throws SYSTEM_CALL */
export function getProject(fd: number): number | undefined {
  return readAttributes(fd) ? xattrBuffer.readUInt32LE(PROJECT_OFFSET) : undefined
}

/** Flags and project of a file on XFS, which tells them all in one call. @throws SYSTEM_CALL */
export function getXfsAttributes(fd: number): { readonly flags?: number; readonly project?: number } {
  if (!readAttributes(fd)) return {}
  const xflags = xattrBuffer.readUInt32LE(0)
  let flags = 0
  if (xflags !== 0) for (const [xflag, flag] of SAME_FLAGS) if (xflags & xflag) flags |= flag
  return { flags, project: xattrBuffer.readUInt32LE(PROJECT_OFFSET) }
}

/** @throws SYSTEM_CALL */
export function setProject(fd: number, project: number): void {
  changeAttributes(fd, () => xattrBuffer.writeUInt32LE(project, PROJECT_OFFSET))
}

/**
 * Forbids changes. This way, and unlike {@link setInodeFlags}, btrfs keeps how a file is compressed.
 *
 * @throws SYSTEM_CALL
 */
export function forbidChanges(fd: number, flags: number): void {
  const immutable = flags & FS_IMMUTABLE_FL ? FS_XFLAG_IMMUTABLE : 0
  const append = flags & FS_APPEND_FL ? FS_XFLAG_APPEND : 0
  changeAttributes(fd, () =>
    xattrBuffer.writeUInt32LE((xattrBuffer.readUInt32LE(0) | immutable | append) >>> 0, 0),
  )
}

function changeAttributes(fd: number, change: () => unknown): void {
  const error = ioctl(fd, FS_IOC_FSGETXATTR, xattrBuffer)
  if (error !== 0) throw systemError('ioctl(FS_IOC_FSGETXATTR)', error)
  change()
  const refused = ioctl(fd, FS_IOC_FSSETXATTR, xattrBuffer)
  if (refused !== 0) throw systemError('ioctl(FS_IOC_FSSETXATTR)', refused)
}

/** Whether an XFS file lies on the realtime device, whose addresses are another space. @throws SYSTEM_CALL */
export function isRealtime(fd: number): boolean {
  return hasXflag(fd, FS_XFLAG_REALTIME)
}

/** Whether someone has asked XFS to reserve storage for a file: it reserves some on its own, too. @throws SYSTEM_CALL */
export function isPreallocated(fd: number): boolean {
  return hasXflag(fd, FS_XFLAG_PREALLOC)
}

function hasXflag(fd: number, flag: number): boolean {
  return readAttributes(fd) && (xattrBuffer.readUInt32LE(0) & flag) !== 0
}

function readAttributes(fd: number): boolean {
  const error = ioctl(fd, FS_IOC_FSGETXATTR, xattrBuffer)
  if (error === 0) return true
  if (error === ENOTTY || error === EOPNOTSUPP) return false
  throw systemError('ioctl(FS_IOC_FSGETXATTR)', error)
}
