// A filesystem that a test has for itself: to fill it, to damage it, to cut it off, and to mount it again.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import koffi from 'koffi'
import { expandFilesystem } from '../../fixtures/filesystems/expand.js'

const lib = koffi.load(null)
const ioctl = lib.func('int ioctl(int fd, unsigned long request, ...)')

const FS_IOC_SHUTDOWN = 0x8004587d
/** XFS_FSOP_GOING_FLAGS_LOGFLUSH and XFS_FSOP_GOING_FLAGS_NOLOGFLUSH: what becomes of a log that is in memory only. */
const LOG = { written: 1, lost: 2 } as const
/** Of btrfs, in bytes. */
const SMALL = 256 * 1024 * 1024
/** How often a filesystem is asked to go that a process has let go of just now. */
const TRIES = 50

export const needsRoot = {
  skip: process.getuid?.() === 0 ? false : 'needs root to mount filesystems',
} as const

export interface OwnFilesystem {
  readonly mountPoint: string
  /** A file. */
  readonly image: string
  mount(): void
  unmount(): void
  /** What is not on disk by now never will be; of a log, either all or nothing that is in memory still comes there. */
  shutDown(log: keyof typeof LOG): void
}

/**
 * An empty filesystem, mounted until the test ends; of tmpfs it is gone when it is unmounted.
 *
 * @param options - of mount(8)
 */
export function ownFilesystem(
  t: { teardown(handler: () => void): unknown },
  type: 'btrfs' | 'xfs' | 'tmpfs',
  options = '',
): OwnFilesystem {
  const base = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'reftar-own-')))
  const mountPoint = join(base, 'mounted')
  const image = join(base, 'image')
  fs.mkdirSync(mountPoint)
  let isMounted = false
  const own: OwnFilesystem = {
    mountPoint,
    image,
    mount() {
      // The fixture may be mounted already, and one UUID is mounted once; btrfs has one of its own.
      const always = { btrfs: 'loop', xfs: 'loop,nouuid', tmpfs: 'mode=0755' }[type]
      const all = options === '' ? always : `${always},${options}`
      execFileSync('mount', ['-t', type, '-o', all, type === 'tmpfs' ? 'none' : image, mountPoint], {
        stdio: 'pipe',
      })
      isMounted = true
    },
    unmount() {
      unmount(mountPoint)
      isMounted = false
    },
    shutDown(log) {
      const fd = fs.openSync(mountPoint, 'r')
      const how = Buffer.alloc(4)
      how.writeUInt32LE(LOG[log])
      const result = ioctl(fd, FS_IOC_SHUTDOWN, 'void *', how)
      fs.closeSync(fd)
      if (result !== 0) throw new Error(`FS_IOC_SHUTDOWN: errno ${koffi.errno()}`)
    },
  }
  t.teardown(() => {
    if (isMounted) own.unmount()
    fs.rmSync(base, { recursive: true })
  })
  if (type === 'xfs') expandFilesystem('xfs-4k', image)
  if (type === 'btrfs') {
    fs.writeFileSync(image, '')
    fs.truncateSync(image, SMALL)
    execFileSync('mkfs.btrfs', ['-q', '--mixed', image], { stdio: 'pipe' })
  }
  own.mount()
  return own
}

function unmount(mountPoint: string): void {
  for (let tries = 1; ; tries++) {
    try {
      execFileSync('umount', [mountPoint], { stdio: 'pipe' })
      return
    } catch (error) {
      if (tries === TRIES) throw error
      execFileSync('sleep', ['0.05'])
    }
  }
}
