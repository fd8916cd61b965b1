/** Makes the filesystems that a benchmark works on, and takes them away again. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expandFilesystem } from '../fixtures/filesystems/expand.js'
import { checkReflink } from './corpora.js'
import { type MountedImage, mount, unmount } from './mount.js'
import { type Place, remove } from './place.js'

export const FILESYSTEMS = ['btrfs', 'xfs', 'here'] as const
export type FilesystemName = (typeof FILESYSTEMS)[number]

/** As a sparse file: what the corpora and their archives take, and what trees that were removed leave behind. */
const IMAGE_SIZE = 48 * 1024 ** 3

const run = promisify(execFile)

/** Opens a place in `directory` for `work`; it is taken away again however that ends. */
export async function withPlace<T>(
  filesystem: FilesystemName,
  directory: string,
  work: (place: Place) => Promise<T>,
): Promise<T> {
  const own = await mkdtemp(join(directory, 'reftar-bench-'))
  const mounted: MountedImage | undefined =
    filesystem === 'here'
      ? undefined
      : { image: join(own, 'image'), type: filesystem, mountPoint: join(own, 'mounted') }
  try {
    if (!mounted) {
      checkReflink(own)
      return await work({ filesystem: await typeOf(own), directory: own })
    }
    await makeImage(mounted)
    await mount(mounted)
    return await work({ filesystem, directory: mounted.mountPoint, mounted })
  } finally {
    if (mounted) {
      await unmount(mounted.mountPoint)
      await rm(own, { recursive: true })
    } else {
      for (const tree of ['target', 'snapshots']) remove(join(own, tree))
      remove(own)
    }
  }
}

/** As the system's own mkfs makes it; without one, from what comes along. */
async function makeImage({ image, type }: MountedImage): Promise<void> {
  await writeFile(image, '')
  await truncate(image, IMAGE_SIZE)
  try {
    await run(`mkfs.${type}`, ['-q', image])
  } catch {
    await rm(image)
    expandFilesystem(type === 'xfs' ? 'xfs-4k' : 'btrfs', image)
  }
}

async function typeOf(directory: string): Promise<string> {
  const { stdout } = await run('stat', ['--file-system', '--format=%T', directory])
  return stdout.trim()
}
