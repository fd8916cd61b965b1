import type { Device } from '../record.js'
import { check, cString, libcFunctions } from './koffi.js'

/** The calls that name something by a directory descriptor and one component. Names are raw bytes. */

export const AT_FDCWD = -100
export const AT_SYMLINK_NOFOLLOW = 0x100
export const AT_REMOVEDIR = 0x200
export const AT_EMPTY_PATH = 0x1000
const O_CLOEXEC = 0o2000000
const RENAME_NOREPLACE = 1
const RENAME_EXCHANGE = 2
/** To know what is there without opening it: open(2). */
export const O_PATH = 0o10000000
export const EMPTY = new Uint8Array(0)

const libc = libcFunctions<{
  openat(fd: number, path: Buffer, flags: number, mode: number): number
  mkdirat(fd: number, path: Buffer, mode: number): number
  symlinkat(target: Buffer, fd: number, path: Buffer): number
  linkat(from: number, path: Buffer, to: number, name: Buffer, flags: number): number
  unlinkat(fd: number, path: Buffer, flags: number): number
  renameat(from: number, path: Buffer, to: number, name: Buffer): number
  renameat2(from: number, path: Buffer, to: number, name: Buffer, flags: number): number
  readlinkat(fd: number, path: Buffer, buffer: Buffer, size: number): number
  mknodat(fd: number, path: Buffer, mode: number, device: number): number
  lseek(fd: number, offset: number, whence: number): number
  getdents64(fd: number, buffer: Buffer, size: number): number
}>({
  openat: 'int openat(int fd, const void *path, int flags, uint32_t mode)',
  mkdirat: 'int mkdirat(int fd, const void *path, uint32_t mode)',
  symlinkat: 'int symlinkat(const void *target, int fd, const void *path)',
  linkat: 'int linkat(int from, const void *path, int to, const void *name, int flags)',
  unlinkat: 'int unlinkat(int fd, const void *path, int flags)',
  renameat: 'int renameat(int from, const void *path, int to, const void *name)',
  renameat2: 'int renameat2(int from, const void *path, int to, const void *name, uint32_t flags)',
  readlinkat: 'intptr_t readlinkat(int fd, const void *path, void *buffer, size_t size)',
  mknodat: 'int mknodat(int fd, const void *path, uint32_t mode, uint64_t device)',
  lseek: 'int64_t lseek(int fd, int64_t offset, int whence)',
  getdents64: 'intptr_t getdents64(int fd, void *buffer, size_t size)',
})

/** openat(2), for this process only: programs that it runs do not inherit it. @throws SYSTEM_CALL */
export function openat(directory: number, name: Uint8Array, flags: number, mode = 0): number {
  return check(libc().openat(directory, cString(name), flags | O_CLOEXEC, mode), 'openat', name)
}

/** mkdirat(2). @throws SYSTEM_CALL */
export function mkdirat(directory: number, name: Uint8Array, mode: number): void {
  check(libc().mkdirat(directory, cString(name), mode), 'mkdirat', name)
}

/** symlinkat(2). @throws SYSTEM_CALL */
export function symlinkat(target: Uint8Array, directory: number, name: Uint8Array): void {
  check(libc().symlinkat(cString(target), directory, cString(name)), 'symlinkat', name)
}

/** linkat(2), not following `fromName`. @throws SYSTEM_CALL */
export function linkat(from: number, fromName: Uint8Array, to: number, name: Uint8Array): void {
  check(libc().linkat(from, cString(fromName), to, cString(name), 0), 'linkat', name)
}

/** unlinkat(2). @throws SYSTEM_CALL */
export function unlinkat(directory: number, name: Uint8Array, flags = 0): void {
  check(libc().unlinkat(directory, cString(name), flags), 'unlinkat', name)
}

/** renameat(2): whatever had the new name is replaced. @throws SYSTEM_CALL */
export function renameat(from: number, fromName: Uint8Array, to: number, name: Uint8Array): void {
  check(libc().renameat(from, cString(fromName), to, cString(name)), 'renameat', name)
}

/** renameat2(2) with RENAME_NOREPLACE. @throws SYSTEM_CALL */
export function renameNoReplace(from: number, fromName: Uint8Array, to: number, name: Uint8Array): void {
  check(libc().renameat2(from, cString(fromName), to, cString(name), RENAME_NOREPLACE), 'renameat2', name)
}

/** renameat2(2) with RENAME_EXCHANGE: the two names change places. @throws SYSTEM_CALL */
export function renameExchange(from: number, fromName: Uint8Array, to: number, name: Uint8Array): void {
  check(libc().renameat2(from, cString(fromName), to, cString(name), RENAME_EXCHANGE), 'renameat2', name)
}

/** mknodat(2). @throws SYSTEM_CALL */
export function mknodat(directory: number, name: Uint8Array, mode: number, device: number): void {
  check(libc().mknodat(directory, cString(name), mode, device), 'mknodat', name)
}

/** makedev(3): the number of a device for {@link mknodat}. */
export function makedev({ major, minor }: Device): number {
  const high = (BigInt(major) & 0xfffff000n) << 32n
  const low =
    ((BigInt(major) & 0xfffn) << 8n) | (BigInt(minor) & 0xffn) | ((BigInt(minor) & 0xffffff00n) << 12n)
  return Number(high | low)
}

const MAX_LINK_TARGET = 65536

/** readlinkat(2). @throws SYSTEM_CALL */
export function readlinkat(directory: number, name: Uint8Array): Uint8Array {
  const buffer = Buffer.allocUnsafe(MAX_LINK_TARGET)
  const length = check(
    libc().readlinkat(directory, cString(name), buffer, buffer.byteLength),
    'readlinkat',
    name,
  )
  return new Uint8Array(buffer.subarray(0, length))
}

const SEEK_SET = 0
const entriesBuffer = Buffer.alloc(64 * 1024)

/**
 * All names in an open directory but `.` and `..`, in the order of the disk: getdents64(2). As latin1 text, a character
 * for each byte: of a million names, that takes a tenth of the memory of arrays.
 *
 * @throws SYSTEM_CALL
 */
export function readDirectory(directory: number): string[] {
  return readEntries(directory).map(({ name }) => name)
}

/** A name, and the type of what it names as in the mode of a file: 0 where the filesystem does not tell. */
export interface DirectoryEntry {
  readonly name: string
  readonly type: number
}

/** As {@link readDirectory}, with types. @throws SYSTEM_CALL */
export function readEntries(directory: number): DirectoryEntry[] {
  const entries: DirectoryEntry[] = []
  // From the start, and afresh: btrfs shows only the names that were there at the last rewind.
  check(Number(libc().lseek(directory, 0, SEEK_SET)), 'lseek')
  for (;;) {
    const length = check(libc().getdents64(directory, entriesBuffer, entriesBuffer.byteLength), 'getdents64')
    if (length === 0) return entries
    for (let at = 0; at < length; at += entriesBuffer.readUInt16LE(at + 16)) {
      const start = at + 19 // struct linux_dirent64: ino, off, reclen, type, name
      const name = entriesBuffer.toString('latin1', start, entriesBuffer.indexOf(0, start))
      if (name !== '.' && name !== '..') entries.push({ name, type: entriesBuffer.readUInt8(at + 18) << 12 })
    }
  }
}
