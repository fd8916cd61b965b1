import { E2BIG, ENODATA, EOPNOTSUPP, ERANGE } from './errno.js'
import { cString, errno, libcFunctions, systemError } from './koffi.js'

/**
 * Extended attributes, xattr(7), of an open file; of one that is open with O_PATH only, which f*xattr(2) refuses, by
 * the path that {@link pathOfFd} gives.
 */
export type XattrTarget = number | Buffer

const libc = libcFunctions<{
  flistxattr(fd: number, list: Buffer, size: number): number
  listxattr(path: Buffer, list: Buffer, size: number): number
  fgetxattr(fd: number, name: Buffer, value: Buffer, size: number): number
  getxattr(path: Buffer, name: Buffer, value: Buffer, size: number): number
  fsetxattr(fd: number, name: Buffer, value: Buffer, size: number, flags: number): number
  setxattr(path: Buffer, name: Buffer, value: Buffer, size: number, flags: number): number
  fremovexattr(fd: number, name: Buffer): number
  removexattr(path: Buffer, name: Buffer): number
}>({
  flistxattr: 'intptr_t flistxattr(int fd, void *list, size_t size)',
  listxattr: 'intptr_t listxattr(const void *path, void *list, size_t size)',
  fgetxattr: 'intptr_t fgetxattr(int fd, const void *name, void *value, size_t size)',
  getxattr: 'intptr_t getxattr(const void *path, const void *name, void *value, size_t size)',
  fsetxattr: 'int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)',
  setxattr: 'int setxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
  fremovexattr: 'int fremovexattr(int fd, const void *name)',
  removexattr: 'int removexattr(const void *path, const void *name)',
})

/** XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h, in bytes. */
const MOST = 65536
/** What the names of most files fit in. */
const FEW = 1024
const buffer = Buffer.alloc(MOST)

/** The way to a file that is open with O_PATH: itself, even where it is a symbolic link, proc_pid_fd(5). */
export function pathOfFd(fd: number): Buffer {
  return cString(Buffer.from(`/proc/self/fd/${fd}`))
}

/** All names, in the order of the filesystem; undefined where it has no such attributes. @throws SYSTEM_CALL */
export function listXattrs(target: XattrTarget): Uint8Array[] | undefined {
  const { flistxattr, listxattr } = libc()
  const list = (size: number) =>
    typeof target === 'number' ? flistxattr(target, buffer, size) : listxattr(target, buffer, size)
  // The kernel takes as much memory as it is offered.
  let length = list(FEW)
  if (length === -1 && errno() === ERANGE) length = list(MOST)
  if (length === -1) {
    const error = errno()
    if (error === EOPNOTSUPP) return undefined
    throw systemError('listxattr', error)
  }
  if (length === 0) return []
  const names: Uint8Array[] = []
  for (let start = 0; start < length; ) {
    const end = buffer.indexOf(0, start)
    names.push(new Uint8Array(buffer.subarray(start, end)))
    start = end + 1
  }
  return names
}

/** The value of an attribute; undefined where there is none of that name. @throws SYSTEM_CALL */
export function getXattr(target: XattrTarget, name: Uint8Array): Uint8Array | undefined {
  const { fgetxattr, getxattr } = libc()
  const key = cString(name)
  const length =
    typeof target === 'number' ? fgetxattr(target, key, buffer, MOST) : getxattr(target, key, buffer, MOST)
  if (length !== -1) return new Uint8Array(buffer.subarray(0, length))
  const error = errno()
  if (error === ENODATA) return undefined
  throw systemError('getxattr', error === ERANGE ? E2BIG : error)
}

/** Makes or replaces an attribute. @throws SYSTEM_CALL */
export function setXattr(target: XattrTarget, name: Uint8Array, value: Uint8Array): void {
  const { fsetxattr, setxattr } = libc()
  const [key, size] = [cString(name), value.byteLength]
  const bytes = Buffer.from(value.buffer, value.byteOffset, size)
  const result =
    typeof target === 'number'
      ? fsetxattr(target, key, bytes, size, 0)
      : setxattr(target, key, bytes, size, 0)
  if (result === -1) throw systemError('setxattr', errno())
}

/** Takes an attribute away, if there is one of that name. @throws SYSTEM_CALL */
export function removeXattr(target: XattrTarget, name: Uint8Array): void {
  const { fremovexattr, removexattr } = libc()
  const key = cString(name)
  const result = typeof target === 'number' ? fremovexattr(target, key) : removexattr(target, key)
  if (result !== -1) return
  const error = errno()
  if (error !== ENODATA) throw systemError('removexattr', error)
}
