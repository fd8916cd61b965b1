import type { Time } from '../record.js'
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, EMPTY } from './directory.js'
import { ENOENT } from './errno.js'
import { check, cString, errno, libcFunctions, systemError } from './koffi.js'

/** What statx(2) says of a file. Sizes are in bytes. */
export interface Status {
  /** Type and permission bits. */
  readonly mode: number
  readonly dev: number
  /** A bigint, because some filesystems use all 64 bits. */
  readonly ino: bigint
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  /** Storage, in units of 512 bytes; 0 where all is hole, or the filesystem has no storage at all. */
  readonly blocks: number
  readonly modified: Time
  readonly changed: Time
  readonly device: { readonly major: number; readonly minor: number }
}

const S_IFMT = 0o170000
export const S_IFREG = 0o100000
export const S_IFDIR = 0o040000
export const S_IFLNK = 0o120000
export const S_IFIFO = 0o010000
export const S_IFCHR = 0o020000
export const S_IFBLK = 0o060000

const STATX_BASIC_STATS = 0x7ff
const libc = libcFunctions<{
  statx(fd: number, path: Buffer, flags: number, mask: number, buffer: Buffer): number
}>({
  statx: 'int statx(int fd, const void *path, int flags, uint32_t mask, void *buffer)',
})
const buffer = Buffer.alloc(256)

/** statx(2) of a name in a directory, not following it. @throws SYSTEM_CALL */
export function statAt(directory: number, name: Uint8Array): Status {
  return statx(directory, name, AT_SYMLINK_NOFOLLOW)
}

/** As {@link statAt}; undefined where there is nothing of that name, which is no error to be made and thrown. @throws SYSTEM_CALL */
export function findAt(directory: number, name: Uint8Array): Status | undefined {
  if (libc().statx(directory, cString(name), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, buffer) === 0)
    return decode()
  const error = errno()
  if (error === ENOENT) return undefined
  throw systemError('statx', error, name)
}

/** statx(2) of an open descriptor. @throws SYSTEM_CALL */
export function statFd(fd: number): Status {
  return statx(fd, EMPTY, AT_EMPTY_PATH)
}

export function typeOf(status: Status): number {
  return status.mode & S_IFMT
}

/** Which file it is, and what changes with its content. */
export type Identity = Pick<Status, 'dev' | 'ino' | 'size' | 'modified' | 'changed'>

/** Which file it is. */
export type Inode = Pick<Status, 'dev' | 'ino'>

/** Nothing but that, to be kept for long. */
export function inodeOf({ dev, ino }: Status): Inode {
  return { dev, ino }
}

/** The same file: device and inode number agree. */
export function isSameFile(a: Inode, b: Inode): boolean {
  return a.dev === b.dev && a.ino === b.ino
}

/** The one definition of *unchanged*: device, inode, size, modification and change time. */
export function isUnchanged(a: Identity, b: Identity): boolean {
  return (
    isSameFile(a, b) &&
    a.size === b.size &&
    sameTime(a.modified, b.modified) &&
    sameTime(a.changed, b.changed)
  )
}

export function sameTime(a: Time, b: Time): boolean {
  return a.seconds === b.seconds && a.nanoseconds === b.nanoseconds
}

function statx(directory: number, name: Uint8Array, flags: number): Status {
  check(libc().statx(directory, cString(name), flags, STATX_BASIC_STATS, buffer), 'statx', name)
  return decode()
}

function decode(): Status {
  return {
    nlink: buffer.readUInt32LE(16),
    uid: buffer.readUInt32LE(20),
    gid: buffer.readUInt32LE(24),
    mode: buffer.readUInt16LE(28),
    ino: buffer.readBigUInt64LE(32),
    size: buffer.readUInt32LE(44) * 0x100000000 + buffer.readUInt32LE(40),
    blocks: buffer.readUInt32LE(52) * 0x100000000 + buffer.readUInt32LE(48),
    changed: timeAt(96),
    modified: timeAt(112),
    device: { major: buffer.readUInt32LE(128), minor: buffer.readUInt32LE(132) },
    dev: buffer.readUInt32LE(136) * 0x100000000 + buffer.readUInt32LE(140),
  }
}

function timeAt(offset: number): Time {
  const seconds = buffer.readInt32LE(offset + 4) * 0x100000000 + buffer.readUInt32LE(offset)
  return { seconds, nanoseconds: buffer.readUInt32LE(offset + 8) }
}
