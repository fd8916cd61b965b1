// Sets and reads what node has no calls for: extended attributes, inode flags, quota projects, reserved storage, times
// of any age, subvolumes. Uses nothing of src/, so that it can be the judge of it.
import * as fs from 'node:fs'
import { dirname } from 'node:path'
import koffi from 'koffi'

export const FS_COMPR_FL = 0x4
export const FS_SYNC_FL = 0x8
export const FS_IMMUTABLE_FL = 0x10
export const FS_APPEND_FL = 0x20
export const FS_NODUMP_FL = 0x40
export const FS_NOATIME_FL = 0x80
export const FS_NOCOMP_FL = 0x400
export const FS_DIRSYNC_FL = 0x10000
export const FS_TOPDIR_FL = 0x20000
export const FS_NOCOW_FL = 0x800000
export const FS_PROJINHERIT_FL = 0x20000000

/** What chattr(1) can set: the other flags are facts of the filesystem. */
const SETTABLE = 0x2083c4fc

/** Names with their values in hexadecimal; a name is read as latin1. */
export type Xattrs = Record<string, string>

const lib = koffi.load(null)
const ioctl = lib.func('int ioctl(int fd, unsigned long request, ...)')
const lsetxattr = lib.func(
  'int lsetxattr(const char *path, const void *name, const void *value, size_t size, int flags)',
)
const lgetxattr = lib.func('intptr_t lgetxattr(const char *path, const void *name, void *value, size_t size)')
const llistxattr = lib.func('intptr_t llistxattr(const char *path, void *list, size_t size)')
const fallocate = lib.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)')
const utimensat = lib.func('int utimensat(int fd, const char *path, const void *times, int flags)')

const FS_IOC_GETFLAGS = 0x80086601
const FS_IOC_SETFLAGS = 0x40086602
const FS_IOC_FSGETXATTR = 0x801c581f
const FS_IOC_FSSETXATTR = 0x401c5820
const BTRFS_IOC_SUBVOL_CREATE = 0x5000940e
const PROJECT = 12 // struct fsxattr: xflags, extsize, nextents, projid
const FALLOC_FL_KEEP_SIZE = 1
const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const MOST = 65536

export function setXattr(path: string, name: string, value: string | Uint8Array): void {
  const bytes = Buffer.from(value)
  check('lsetxattr', path, lsetxattr(path, cString(name), bytes, bytes.byteLength, 0))
}

/** Of the name itself, never of what a link leads to. The ACLs that XFS shows in another form too are left out. */
export function xattrs(path: string): Xattrs {
  const list = Buffer.alloc(MOST)
  const length = check('llistxattr', path, llistxattr(path, list, MOST))
  const names = list.toString('latin1', 0, length).split('\0').slice(0, -1).sort()
  const values = Buffer.alloc(MOST)
  const found: Xattrs = {}
  for (const name of names.filter(name => !/^trusted\.SGI_ACL_(FILE|DEFAULT)$/.test(name) || !isXfs(path))) {
    const size = check('lgetxattr', path, lgetxattr(path, cString(name), values, MOST))
    found[name] = values.toString('hex', 0, size)
  }
  return found
}

export function flags(path: string): number {
  const buffer = Buffer.alloc(8)
  withFd(path, fd => check('FS_IOC_GETFLAGS', path, ioctl(fd, FS_IOC_GETFLAGS, 'void *', buffer)))
  return buffer.readUInt32LE(0) & SETTABLE
}

/** These flags, and no others of those that can be set. */
export function setFlags(path: string | Buffer, wanted: number): void {
  const buffer = Buffer.alloc(8)
  withFd(path, fd => {
    check('FS_IOC_GETFLAGS', path, ioctl(fd, FS_IOC_GETFLAGS, 'void *', buffer))
    buffer.writeUInt32LE(((buffer.readUInt32LE(0) & ~SETTABLE) | wanted) >>> 0, 0)
    check('FS_IOC_SETFLAGS', path, ioctl(fd, FS_IOC_SETFLAGS, 'void *', buffer))
  })
}

export function project(path: string): number {
  return withFd(path, fd => projectAttributes(path, fd).readUInt32LE(PROJECT))
}

export function setProject(path: string, id: number): void {
  withFd(path, fd => {
    const buffer = projectAttributes(path, fd)
    buffer.writeUInt32LE(id, PROJECT)
    check('FS_IOC_FSSETXATTR', path, ioctl(fd, FS_IOC_FSSETXATTR, 'void *', buffer))
  })
}

/** Reserves storage without changing the size. */
export function reserve(path: string, offset: number, length: number): void {
  const fd = fs.openSync(path, 'r+')
  check('fallocate', path, fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, length))
  fs.closeSync(fd)
}

/** The modification and the access time of the name itself. */
export function setTime(path: string, seconds: bigint, nanoseconds: bigint): void {
  const times = Buffer.alloc(32)
  for (const at of [0, 16]) {
    times.writeBigInt64LE(seconds, at)
    times.writeBigInt64LE(nanoseconds, at + 8)
  }
  check('utimensat', path, utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW))
}

/** A subvolume of btrfs; it can be removed as a directory. */
export function makeSubvolume(directory: string, name: string): void {
  const request = Buffer.alloc(4096) // struct btrfs_ioctl_vol_args: fd, name
  request.write(name, 8)
  withFd(directory, fd => check('subvolume', name, ioctl(fd, BTRFS_IOC_SUBVOL_CREATE, 'void *', request)))
}

export interface AclEntry {
  readonly tag: 'owner' | 'user' | 'group' | 'named group' | 'mask' | 'other'
  readonly id?: number
  readonly bits: number
}

const TAGS = { owner: 1, user: 2, group: 4, 'named group': 8, mask: 16, other: 32 } as const

/** The value of an attribute that holds a POSIX ACL: linux/posix_acl_xattr.h. */
export function acl(entries: readonly AclEntry[]): Buffer {
  const value = Buffer.alloc(4 + 8 * entries.length)
  value.writeUInt32LE(2, 0)
  for (const [i, { tag, bits, id = 0xffff_ffff }] of entries.entries()) {
    value.writeUInt16LE(TAGS[tag], 4 + 8 * i)
    value.writeUInt16LE(bits, 6 + 8 * i)
    value.writeUInt32LE(id, 8 + 8 * i)
  }
  return value
}

/** The value of security.capability that lets a program bind to low ports: linux/capability.h, version 2. */
export function capability(): Buffer {
  const value = Buffer.alloc(20)
  value.writeUInt32LE(0x0200_0001, 0)
  value.writeUInt32LE(1 << 10, 4)
  return value
}

function projectAttributes(path: string, fd: number): Buffer {
  const buffer = Buffer.alloc(28)
  check('FS_IOC_FSGETXATTR', path, ioctl(fd, FS_IOC_FSGETXATTR, 'void *', buffer))
  return buffer
}

function isXfs(path: string): boolean {
  return fs.statfsSync(dirname(path)).type === 0x58465342
}

function withFd<T>(path: string | Buffer, use: (fd: number) => T): T {
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK | fs.constants.O_NOFOLLOW)
  try {
    return use(fd)
  } finally {
    fs.closeSync(fd)
  }
}

function cString(latin1: string): Buffer {
  return Buffer.from(`${latin1}\0`, 'latin1')
}

function check(what: string, path: string | Buffer, result: unknown): number {
  if (Number(result) === -1) throw new Error(`${what} ${path}: errno ${koffi.errno()}`)
  return Number(result)
}
