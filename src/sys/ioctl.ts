import { ENOTTY } from './errno.js'
import { errno, libcFunctions } from './koffi.js'

const libc = libcFunctions<{ ioctl(fd: number, request: number, type: string, value: Buffer): number }>({
  ioctl: 'int ioctl(int fd, unsigned long request, ...)',
})

/** Where the kernel numbers its ioctls the generic way (asm-generic/ioctl.h); mips, ppc and sparc do not. */
const GENERIC = ['x64', 'ia32', 'arm64', 'arm', 'riscv64', 's390x', 'loong64'].includes(process.arch)

/** ioctl(2) with a buffer. Returns 0 or the error number. */
export function ioctl(fd: number, request: number, buffer: Buffer): number {
  if (!GENERIC) return ENOTTY
  return libc().ioctl(fd, request, 'void *', buffer) === -1 ? errno() : 0
}
