/** Where a benchmark works: what can be done to the filesystem around it. */
import { execFile, spawnSync } from 'node:child_process'
import { closeSync, constants, openSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import koffi from 'koffi'
import { regularFiles } from './corpora/files.js'
import { type MountedImage, mount, unmount } from './mount.js'

export interface Place {
  /** For people: the kind of filesystem. */
  readonly filesystem: string
  readonly directory: string
  /** What is mounted there, where it was made for the benchmark. */
  readonly mounted?: MountedImage
}

const POSIX_FADV_DONTNEED = 4
/** The root of every subvolume of btrfs. */
const SUBVOLUME_INODE = 256
const PAUSE = 100
const TRIES = 50

const posixFadvise = koffi
  .load(null)
  .func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)')

const run = promisify(execFile)

/** How {@link evict} empties the cache. */
export function evictionOf({ mounted }: Place): string {
  return mounted ? 'remounted, and the image evicted by posix_fadvise' : 'evicted by posix_fadvise'
}

export async function sync({ directory }: Place): Promise<void> {
  await run('sync', ['--file-system', directory])
}

/** Makes whatever reads a tree next read it from the disk. */
export async function evict(place: Place, tree: string): Promise<void> {
  await sync(place)
  const { mounted } = place
  if (!mounted) return regularFiles(tree).forEach(evictFile)
  await unmount(mounted.mountPoint)
  evictFile(mounted.image)
  await mount(mounted)
}

function evictFile(file: string): void {
  const fd = openSync(file, constants.O_RDONLY)
  posixFadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
  closeSync(fd)
}

/** What the filesystem counts as used, in bytes, once it has come to rest: it frees what was removed in the background. */
export async function usedBytes(place: Place): Promise<number> {
  let last = -1
  for (let tries = 0; tries < TRIES; tries++) {
    await sync(place)
    const { blocks, bfree, bsize } = statfsSync(place.directory)
    const used = (blocks - bfree) * bsize
    if (used === last) break
    last = used
    await setTimeout(PAUSE)
  }
  return last
}

/** Removes a tree, and subvolumes in it. */
export function remove(tree: string): void {
  try {
    rmSync(tree, { recursive: true, force: true })
  } catch {
    for (const name of readdirSync(tree)) {
      const subvolume = join(tree, name)
      if (statSync(subvolume).ino !== SUBVOLUME_INODE) continue
      // A received one stays read-only, and only root may delete it; any other can be made writable.
      spawnSync('btrfs', ['property', 'set', '-t', 'subvol', subvolume, 'ro', 'false'])
      spawnSync('btrfs', ['subvolume', 'delete', subvolume])
    }
    spawnSync('btrfs', ['subvolume', 'sync', tree])
    rmSync(tree, { recursive: true, force: true })
  }
}
