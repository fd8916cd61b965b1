import fs from 'node:fs'
import { promisify } from 'node:util'
import type { Time } from '../record.js'
import { AT_SYMLINK_NOFOLLOW } from './directory.js'
import { EINVAL, ENXIO } from './errno.js'
import {
  check,
  cString,
  errno,
  fromNodeError,
  libcFunctionAsync,
  libcFunctions,
  systemError,
} from './koffi.js'

const libc = libcFunctions<{
  lseek(fd: number, offset: number, whence: number): number
  fchmodat(fd: number, path: Buffer, mode: number, flags: number): number
  fchownat(fd: number, path: Buffer, uid: number, gid: number, flags: number): number
  futimens(fd: number, times: Buffer): number
  utimensat(fd: number, path: Buffer, times: Buffer, flags: number): number
  fallocate(fd: number, mode: number, offset: number, length: number): number
  posixFadvise(fd: number, offset: number, length: number, advice: number): number
  fcntl(fd: number, command: number, type: string, value: number): number
}>({
  lseek: 'int64_t lseek(int fd, int64_t offset, int whence)',
  fchmodat: 'int fchmodat(int fd, const void *path, uint32_t mode, int flags)',
  fchownat: 'int fchownat(int fd, const void *path, uint32_t uid, uint32_t gid, int flags)',
  futimens: 'int futimens(int fd, const void *times)',
  utimensat: 'int utimensat(int fd, const void *path, const void *times, int flags)',
  fallocate: 'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
  posixFadvise: 'int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)',
  fcntl: 'int fcntl(int fd, int command, ...)',
})

const syncFileRange = libcFunctionAsync<[fd: number, offset: number, length: number, flags: number]>(
  'int sync_file_range(int fd, int64_t offset, int64_t length, uint32_t flags)',
)
const syncfs = libcFunctionAsync<[number]>('int syncfs(int fd)')

const SEEK_DATA = 3
const SEEK_HOLE = 4
const UTIME_OMIT = 0x3ffffffe
const UTIME_NOW = 0x3fffffff
const SYNC_FILE_RANGE_WRITE = 2
const POSIX_FADV_WILLNEED = 3
const FALLOC_FL_KEEP_SIZE = 1
const FALLOC_FL_PUNCH_HOLE = 2
const F_SETPIPE_SZ = 1031

/**
 * The next data at or after `offset`, or undefined when only a hole is left: lseek(2), SEEK_DATA. What cannot tell is
 * all data.
 *
 * @throws SYSTEM_CALL
 */
export function seekData(fd: number, offset: number): number | undefined {
  const result = libc().lseek(fd, offset, SEEK_DATA)
  if (result !== -1) return Number(result)
  const error = errno()
  if (error === ENXIO) return undefined
  if (error === EINVAL) return offset
  throw systemError('lseek', error)
}

/** The next hole at or after `offset`, which the end of the file counts as: lseek(2), SEEK_HOLE. @throws SYSTEM_CALL */
export function seekHole(fd: number, offset: number): number | undefined {
  const result = libc().lseek(fd, offset, SEEK_HOLE)
  if (result !== -1) return Number(result)
  const error = errno()
  if (error === ENXIO || error === EINVAL) return undefined
  throw systemError('lseek', error)
}

/** To read a regular file: a link is not followed, and nothing is waited for. */
export const OPEN_FILE = fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK

/** Up to this many bytes a synchronous read is faster than the way to another thread and back. */
export const SMALL_READ = 128 * 1024
/** As {@link SMALL_READ}, of a write. */
export const SMALL_WRITE = 128 * 1024
/** For more, XFS looks for pieces of free memory as large, and moves others out of their way: that takes longer than the write. */
const LARGEST_WRITE = 1024 * 1024

/** Memory that small reads have in common: for each its own would take longer than the read. */
const SLAB = 64 * 1024
let slab = Buffer.allocUnsafeSlow(SLAB)
let slabUsed = 0

/** Reads until `length` bytes are there or the file ends; the result may be shorter. @throws SYSTEM_CALL */
export function readAt(fd: number, offset: number, length: number): Uint8Array {
  if (length > SLAB / 8) {
    const bytes = Buffer.allocUnsafeSlow(length)
    return bytes.subarray(0, readInto(fd, offset, bytes))
  }
  if (slabUsed + length > SLAB) {
    slab = Buffer.allocUnsafeSlow(SLAB)
    slabUsed = 0
  }
  const bytes = slab.subarray(slabUsed, slabUsed + length)
  slabUsed += length
  const count = readInto(fd, offset, bytes)
  return count === length ? bytes : bytes.subarray(0, count)
}

/** As {@link readAt}, into memory that is there. Returns how many bytes it was. @throws SYSTEM_CALL */
export function readInto(fd: number, offset: number, into: Uint8Array): number {
  let done = 0
  while (done < into.byteLength) {
    const count = readOnce(fd, into, done, offset + done)
    if (count === 0) break
    done += count
  }
  return done
}

function readOnce(fd: number, into: Uint8Array, at: number, offset: number): number {
  try {
    return fs.readSync(fd, into, at, into.byteLength - at, offset)
  } catch (error) {
    throw fromNodeError(error)
  }
}

const fsRead = promisify(fs.read)
const fsWrite = promisify(fs.write)
const fsDatasync = promisify(fs.fdatasync)
const fsSync = promisify(fs.fsync)

/** As {@link readAt}, on another thread. @throws SYSTEM_CALL */
export async function readAtAsync(fd: number, offset: number, length: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(length)
  return bytes.subarray(0, await readIntoAsync(fd, offset, bytes))
}

/** As {@link readInto}, on another thread. @throws SYSTEM_CALL */
export async function readIntoAsync(fd: number, offset: number, into: Uint8Array): Promise<number> {
  let done = 0
  while (done < into.byteLength) {
    const { bytesRead } = await callAsync(fsRead(fd, into, done, into.byteLength - done, offset + done))
    if (bytesRead === 0) break
    done += bytesRead
  }
  return done
}

/** Writes all of `bytes`. @throws SYSTEM_CALL */
export function writeAt(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.byteLength; ) {
    done += call(() => fs.writeSync(fd, bytes, done, bytes.byteLength - done, offset + done))
  }
}

/** As {@link writeAt}, on another thread. @throws SYSTEM_CALL */
export async function writeAtAsync(fd: number, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const length = Math.min(bytes.byteLength - done, LARGEST_WRITE)
    const { bytesWritten } = await callAsync(fsWrite(fd, bytes, done, length, offset + done))
    done += bytesWritten
  }
}

/** fdatasync(2), on another thread. @throws SYSTEM_CALL */
export async function dataSync(fd: number): Promise<void> {
  await callAsync(fsDatasync(fd))
}

/** fsync(2), on another thread. @throws SYSTEM_CALL */
export async function sync(fd: number): Promise<void> {
  await callAsync(fsSync(fd))
}

/** ftruncate(2). @throws SYSTEM_CALL */
export function truncate(fd: number, size: number): void {
  call(() => fs.ftruncateSync(fd, size))
}

/** close(2). @throws SYSTEM_CALL */
export function close(fd: number): void {
  try {
    fs.closeSync(fd)
  } catch (error) {
    throw fromNodeError(error)
  }
}

/** Does something with a descriptor that was opened just now, and closes it if that fails. @throws what `use` throws */
export function closingOnError<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd)
  } catch (error) {
    close(fd)
    throw error
  }
}

/** fchmod(2): permission bits with setuid, setgid and sticky. @throws SYSTEM_CALL */
export function changeMode(fd: number, mode: number): void {
  call(() => fs.fchmodSync(fd, mode))
}

/** fchmodat(3), not following the name. @throws SYSTEM_CALL */
export function changeModeAt(directory: number, name: Uint8Array, mode: number): void {
  check(libc().fchmodat(directory, cString(name), mode, AT_SYMLINK_NOFOLLOW), 'fchmodat', name)
}

/** fchownat(2), not following the name. @throws SYSTEM_CALL */
export function changeOwnerAt(directory: number, name: Uint8Array, uid: number, gid: number): void {
  check(libc().fchownat(directory, cString(name), uid, gid, AT_SYMLINK_NOFOLLOW), 'fchownat', name)
}

/** fchown(2). @throws SYSTEM_CALL */
export function changeOwner(fd: number, uid: number, gid: number): void {
  call(() => fs.fchownSync(fd, uid, gid))
}

/** What becomes of the time of the last access. */
export type Access = 'kept' | 'now'

/** utimensat(2): the modification time of a name, not following it. @throws SYSTEM_CALL */
export function setModifiedAt(directory: number, name: Uint8Array, modified: Time, access: Access): void {
  const both = times(modified, access)
  check(libc().utimensat(directory, cString(name), both, AT_SYMLINK_NOFOLLOW), 'utimensat', name)
}

/** futimens(3): the modification time. @throws SYSTEM_CALL */
export function setModified(fd: number, modified: Time, access: Access): void {
  check(libc().futimens(fd, times(modified, access)), 'futimens')
}

/** fallocate(2): reserves a range without changing the size. @throws SYSTEM_CALL */
export function preallocate(fd: number, offset: number, length: number): void {
  check(libc().fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, length), 'fallocate')
}

/** fallocate(2): gives back what storage a range has, without changing the size. @throws SYSTEM_CALL */
export function punchHole(fd: number, offset: number, length: number): void {
  check(libc().fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length), 'fallocate')
}

/** Starts reading a range into the cache, without waiting: posix_fadvise(2). Only a hint, so errors are left for later. */
export function startReading(fd: number, offset: number, length: number): void {
  libc().posixFadvise(fd, offset, length, POSIX_FADV_WILLNEED)
}

/** Starts writing a range back, on another thread: sync_file_range(2). Only a hint, so errors are left for later. */
export async function startWriteback(fd: number, offset: number, length: number): Promise<void> {
  await syncFileRange(fd, offset, length, SYNC_FILE_RANGE_WRITE)
}

/** syncfs(2), on another thread: writes back the whole filesystem that holds `fd`. @throws SYSTEM_CALL */
export async function syncFilesystem(fd: number): Promise<void> {
  const { result, errno: error } = await syncfs(fd)
  if (result === -1) throw systemError('syncfs', error)
}

/** fcntl(2), F_SETPIPE_SZ. Only a hint: a descriptor that is no pipe, or a refusal, changes nothing. */
export function setPipeSize(fd: number, bytes: number): void {
  libc().fcntl(fd, F_SETPIPE_SZ, 'int', bytes)
}

const timesBuffer = Buffer.alloc(32) // struct timespec[2]: access, modification

/** Valid until the next call. */
function times(modified: Time, access: Access): Buffer {
  const { seconds, nanoseconds } = modified
  timesBuffer.writeUInt32LE(access === 'now' ? UTIME_NOW : UTIME_OMIT, 8)
  timesBuffer.writeInt32LE(Math.floor(seconds / 0x100000000), 20)
  timesBuffer.writeUInt32LE((seconds % 0x100000000) >>> 0, 16)
  timesBuffer.writeUInt32LE(nanoseconds, 24)
  return timesBuffer
}

function call<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw fromNodeError(error)
  }
}

async function callAsync<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw fromNodeError(error)
  }
}
