import * as fs from 'node:fs'
import koffi from 'koffi'

const lib = koffi.load(null)
const mmap = lib.func(
  'void *mmap(void *at, size_t length, int protection, int flags, int fd, int64_t offset)',
)
const munmap = lib.func('int munmap(void *at, size_t length)')
const PROT_READ_WRITE = 3
const MAP_SHARED = 1

/** A file mapped into memory: a store into it is a change that no system call makes. */
export function mapped(file: string): { store(offset: number, byte: number): void; close(): void } {
  const fd = fs.openSync(file, 'r+')
  const { size } = fs.fstatSync(fd)
  const at: unknown = mmap(null, size, PROT_READ_WRITE, MAP_SHARED, fd, 0)
  fs.closeSync(fd)
  return {
    store: (offset, byte) => koffi.encode(at, offset, 'uint8_t', byte),
    close: () => void munmap(at, size),
  }
}
