/** Where the demo works: where it is called, if files can share storage there, else in a filesystem of its own. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expandFilesystem, type FilesystemImage } from '../../fixtures/filesystems/expand.js'
import { cloneRange } from '../../test/support/fiemap.js'
import { type MountedImage, mount, unmount } from '../mount.js'

export interface Place {
  readonly directory: string
  /** For people. */
  readonly description: string
  /** Takes all of it away. */
  close(): Promise<void>
}

interface Mount {
  readonly directory: string
  readonly filesystem: string
}

/** Filesystems to try. */
const IMAGES: readonly { name: FilesystemImage; type: MountedImage['type'] }[] = [
  { name: 'xfs-4k', type: 'xfs' },
  { name: 'btrfs', type: 'btrfs' },
]

export async function openPlace(): Promise<Place> {
  const { directory, where } = await workDirectory()
  const remove = () => rm(directory, { recursive: true, force: true })
  let mounted: Mount | undefined
  const close = async () => {
    if (mounted) await unmount(mounted.directory)
    await remove()
  }
  try {
    if (await canReflink(directory)) {
      return { directory, description: `Working in ${directory}, where files can share storage.`, close }
    }
    const cannot = `Files cannot share storage in ${where}`
    if (process.geteuid?.() !== 0) {
      const description = `${cannot}, and only root can mount a filesystem where they can: plain copies it is.`
      return { directory, description, close }
    }
    mounted = await mountImage(directory)
    if (!mounted) {
      const description = `${cannot}, and no filesystem where they can could be mounted: plain copies it is.`
      return { directory, description, close }
    }
    const description = `${cannot}, so the demo mounts ${mounted.filesystem} from an image of its own.`
    return { directory: mounted.directory, description, close }
  } catch (error) {
    await close()
    throw error
  }
}

async function workDirectory(): Promise<{ directory: string; where: string }> {
  try {
    return { directory: await mkdtemp(join(process.cwd(), 'reftar-demo-')), where: 'this directory' }
  } catch {
    return { directory: await mkdtemp(join(tmpdir(), 'reftar-demo-')), where: tmpdir() }
  }
}

async function canReflink(directory: string): Promise<boolean> {
  const [from, to] = [join(directory, 'from'), join(directory, 'to')]
  try {
    await writeFile(from, Buffer.alloc(64 * 1024, 1))
    await writeFile(to, '')
    cloneRange(from, 0, 0, to, 0)
    return true
  } catch {
    return false
  } finally {
    await Promise.all([from, to].map(file => rm(file, { force: true })))
  }
}

async function mountImage(directory: string): Promise<Mount | undefined> {
  for (const { name, type } of IMAGES) {
    const image = join(directory, `${name}.img`)
    const mountPoint = join(directory, name)
    try {
      expandFilesystem(name, image)
      await mount({ image, type, mountPoint })
      // What is mounted keeps its image, which so goes when it is unmounted, whatever happens to this process.
      await rm(image)
      return { directory: mountPoint, filesystem: type === 'xfs' ? 'XFS' : type }
    } catch {
      if (existsSync(mountPoint)) await unmount(mountPoint)
      await rm(image, { force: true })
    }
  }
  return undefined
}
