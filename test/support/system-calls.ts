// Calls that node:fs does not have, on paths of any bytes, of which none follows a link. Uses nothing of src/, so
// that it can be the judge of it.
import * as fs from 'node:fs'
import { getSystemErrorName } from 'node:util'
import koffi from 'koffi'

const lib = koffi.load(null)
const llistxattr = lib.func('intptr_t llistxattr(const void *path, void *list, size_t size)')
const lgetxattr = lib.func('intptr_t lgetxattr(const void *path, const void *name, void *value, size_t size)')
const lsetxattr = lib.func(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
)
const lremovexattr = lib.func('int lremovexattr(const void *path, const void *name)')
const ioctl = lib.func('int ioctl(int fd, unsigned long request, ...)')
const fallocateCall = lib.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)')
const mknodCall = lib.func('int mknod(const void *path, unsigned int mode, uint64_t device)')
const getrlimit = lib.func('int getrlimit(int resource, void *limits)')
const setrlimit = lib.func('int setrlimit(int resource, const void *limits)')
const utimensat = lib.func('int utimensat(int directory, const void *path, const void *times, int flags)')

export const FS_NODUMP_FL = 0x40
export const FS_NOATIME_FL = 0x80
export const FS_NOCOW_FL = 0x80_0000
export const FS_PROJINHERIT_FL = 0x2000_0000

export const FALLOC_FL_KEEP_SIZE = 0x1
export const FALLOC_FL_PUNCH_HOLE = 0x2
export const FALLOC_FL_COLLAPSE_RANGE = 0x8
export const FALLOC_FL_ZERO_RANGE = 0x10
export const FALLOC_FL_INSERT_RANGE = 0x20

const FS_IOC_GETFLAGS = 0x80086601
const FS_IOC_SETFLAGS = 0x40086602
const FS_IOC_FSGETXATTR = 0x801c581f
const FS_IOC_FSSETXATTR = 0x401c5820
/** Of struct fsxattr. */
const PROJECT = 12
const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const UTIME_OMIT = 0x3fff_fffen
const RLIMIT_NOFILE = 7
const MOST_XATTR_BYTES = 65536
const NS = 1_000_000_000n

/** The names of the extended attributes, as the filesystem gives them. */
export function listXattrs(path: Buffer): Buffer[] {
  const list = Buffer.alloc(MOST_XATTR_BYTES)
  const length = check('llistxattr', llistxattr(cString(path), list, list.length))
  const names: Buffer[] = []
  for (let start = 0; start < length; ) {
    const end = list.indexOf(0, start)
    names.push(list.subarray(start, end))
    start = end + 1
  }
  return names
}

export function getXattr(path: Buffer, name: Buffer): Buffer {
  const value = Buffer.alloc(MOST_XATTR_BYTES)
  const length = check('lgetxattr', lgetxattr(cString(path), cString(name), value, value.length))
  return value.subarray(0, length)
}

export function setXattr(path: Buffer, name: Buffer, value: Buffer): void {
  check('lsetxattr', lsetxattr(cString(path), cString(name), value, value.length, 0))
}

export function removeXattr(path: Buffer, name: Buffer): void {
  check('lremovexattr', lremovexattr(cString(path), cString(name)))
}

/** The inode flags of an open file or directory. */
export function getInodeFlags(fd: number): number {
  const flags = Buffer.alloc(8)
  check('FS_IOC_GETFLAGS', ioctl(fd, FS_IOC_GETFLAGS, 'void *', flags))
  return flags.readUInt32LE(0)
}

export function setInodeFlags(fd: number, value: number): void {
  const flags = Buffer.alloc(8)
  flags.writeUInt32LE(value >>> 0, 0)
  check('FS_IOC_SETFLAGS', ioctl(fd, FS_IOC_SETFLAGS, 'void *', flags))
}

/** The quota project of an open file or directory. */
export function getProject(fd: number): number {
  return fsxattr(fd).readUInt32LE(PROJECT)
}

export function setProject(fd: number, project: number): void {
  const attributes = fsxattr(fd)
  attributes.writeUInt32LE(project, PROJECT)
  check('FS_IOC_FSSETXATTR', ioctl(fd, FS_IOC_FSSETXATTR, 'void *', attributes))
}

export function fallocate(fd: number, mode: number, offset: number, length: number): void {
  check('fallocate', fallocateCall(fd, mode, offset, length))
}

export function mknod(path: Buffer, mode: number, major = 0, minor = 0): void {
  const device = ((major & 0xfff) << 8) | (minor & 0xff) | ((minor & 0xf_ff00) << 12)
  check('mknod', mknodCall(cString(path), mode, device >>> 0))
}

/** In nanoseconds since 1970. */
export function setModified(path: Buffer, time: bigint): void {
  const nanoseconds = ((time % NS) + NS) % NS
  const times = Buffer.alloc(32)
  times.writeBigInt64LE(UTIME_OMIT, 8)
  times.writeBigInt64LE((time - nanoseconds) / NS, 16)
  times.writeBigInt64LE(nanoseconds, 24)
  check('utimensat', utimensat(AT_FDCWD, cString(path), times, AT_SYMLINK_NOFOLLOW))
}

export function withFile<T>(path: Buffer, flags: number, use: (fd: number) => T): T {
  const fd = fs.openSync(path, flags | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK)
  try {
    return use(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/** Does something while this process can open nothing more. */
export function withoutDescriptors<T>(work: () => T): T {
  const limits = Buffer.alloc(16)
  check('getrlimit', getrlimit(RLIMIT_NOFILE, limits))
  // The next one to be given.
  const next = fs.openSync('/dev/null', fs.constants.O_RDONLY)
  fs.closeSync(next)
  const none = Buffer.from(limits)
  none.writeBigUInt64LE(BigInt(next), 0)
  check('setrlimit', setrlimit(RLIMIT_NOFILE, none))
  try {
    return work()
  } finally {
    check('setrlimit', setrlimit(RLIMIT_NOFILE, limits))
  }
}

function fsxattr(fd: number): Buffer {
  const attributes = Buffer.alloc(28)
  check('FS_IOC_FSGETXATTR', ioctl(fd, FS_IOC_FSGETXATTR, 'void *', attributes))
  return attributes
}

function check(call: string, result: unknown): number {
  if (typeof result === 'number' && result >= 0) return result
  const errno = koffi.errno()
  const code = getSystemErrorName(-errno)
  throw Object.assign(new Error(`${call} failed: ${code}`), { code })
}

function cString(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(1)])
}
