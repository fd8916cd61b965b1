/** Images of filesystems, mounted through a loop device; needs root. */
import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'

export interface MountedImage {
  readonly image: string
  readonly type: 'btrfs' | 'xfs'
  readonly mountPoint: string
}

const UNMOUNT_TRIES = 50
const PAUSE = 200

const run = promisify(execFile)

/** Makes the mount point where there is none. */
export async function mount({ image, type, mountPoint }: MountedImage): Promise<void> {
  await mkdir(mountPoint, { recursive: true })
  // Without `nouuid`, XFS refuses a second image of the same make.
  const options = type === 'xfs' ? 'loop,nouuid' : 'loop'
  await run('mount', ['-t', type, '-o', options, image, mountPoint])
}

/** Tries again for a while, for something may still look into it. */
export async function unmount(mountPoint: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await run('umount', [mountPoint])
      return
    } catch (error) {
      if (!(await isMounted(mountPoint))) return
      if (tries === UNMOUNT_TRIES) throw error
      await setTimeout(PAUSE)
    }
  }
}

async function isMounted(directory: string): Promise<boolean> {
  return run('mountpoint', ['-q', directory]).then(
    () => true,
    () => false,
  )
}
