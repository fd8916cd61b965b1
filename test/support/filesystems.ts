// Real filesystems for tests. As root, fixture images are mounted once for a whole test run and shared by
// its parallel processes; test/support/unmount.ts takes them away again. Without root, REFTAR_TEST_DIRS
// names directories to use, as in `btrfs=/mnt/a,xfs=/mnt/b`.
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import koffi from 'koffi'
import type { Test } from 'tap'
import { expandFilesystem, type FilesystemImage } from '../../fixtures/filesystems/expand.js'

export type FilesystemName = 'btrfs' | 'btrfs-zstd' | 'xfs' | 'xfs-1k' | 'xfs-16k' | 'ext4' | 'tmpfs'

/** What a test may hand over: any tap test, the top one included. */
export type SkippableTest = Pick<Test, 'pass'> & { teardown(handler: () => void): unknown }

type Filesystem = { image?: FilesystemImage; options?: string; magic: number; blockSize?: number }

const filesystems: Readonly<Record<FilesystemName, Filesystem>> = {
  btrfs: { image: 'btrfs', magic: 0x9123683e },
  'btrfs-zstd': { image: 'btrfs-zstd', options: 'compress-force=zstd', magic: 0x9123683e },
  xfs: { image: 'xfs-4k', magic: 0x58465342, blockSize: 4096 },
  'xfs-1k': { image: 'xfs-1k', magic: 0x58465342, blockSize: 1024 },
  'xfs-16k': { image: 'xfs-16k', magic: 0x58465342, blockSize: 16384 },
  // Else a kernel thread would write the inode tables while tests run.
  ext4: { image: 'ext4', options: 'noinit_itable', magic: 0xef53 },
  tmpfs: { magic: 0x01021994 },
}

const names = Object.keys(filesystems) as FilesystemName[]

const lib = koffi.load(null)
const flock = lib.func('int flock(int fd, int operation)')
const LOCK_EX = 2

/** Why mounting failed in this process before, so that each test need not try again. */
const failures = new Map<FilesystemName, string>()

/**
 * A fresh, empty directory on the named filesystem, removed after the test. Where there is none, the test
 * gets a skipped assertion and this gives undefined; with CI set in the environment it throws instead.
 */
export function testDirectory(t: SkippableTest, name: FilesystemName): string | undefined {
  const place = filesystemRoot(name)
  if ('reason' in place) {
    const { CI } = process.env
    if (CI) throw new Error(`nothing may be skipped in CI, but ${name}: ${place.reason}`)
    t.pass(name, { skip: place.reason })
    return undefined
  }
  // The pid tells test/support/unmount.ts who is at work here.
  const directory = join(place.root, `test-${process.pid}-${randomBytes(6).toString('hex')}`)
  fs.mkdirSync(directory, { mode: 0o755 })
  t.teardown(() => removeTree(directory))
  return directory
}

/**
 * Unmounts and deletes what testDirectory() mounted. Filesystems on which a live process has a test
 * directory stay; the result names them.
 */
export function unmountTestFilesystems(): string[] {
  const base = baseDirectory()
  if (process.getuid?.() !== 0 || !fs.existsSync(base)) return []
  return withLock(base, () => {
    const inUse: string[] = []
    for (const name of names) {
      const { mountPoint, imageFile } = paths(base, name)
      const users = isMounted(mountPoint) ? liveUsers(mountPoint) : []
      if (users.length > 0) {
        inUse.push(`${mountPoint} is in use by process ${users.join(', ')}`)
        continue
      }
      while (isMounted(mountPoint)) execFileSync('umount', [mountPoint], { stdio: 'pipe' })
      fs.rmSync(imageFile, { force: true })
      if (fs.existsSync(mountPoint)) fs.rmdirSync(mountPoint)
    }
    if (inUse.length === 0) {
      fs.rmSync(join(base, 'lock'))
      fs.rmdirSync(base)
    }
    return inUse
  })
}

function filesystemRoot(name: FilesystemName): { root: string } | { reason: string } {
  const named = namedDirectories().get(name)
  if (named !== undefined) {
    checkFilesystem(name, named)
    return { root: named }
  }
  if (process.getuid?.() !== 0) return { reason: 'needs root to mount a loop image, or REFTAR_TEST_DIRS' }
  const failure = failures.get(name)
  if (failure !== undefined) return { reason: failure }
  try {
    return { root: mounted(name) }
  } catch (error) {
    const reason = `cannot mount it: ${error instanceof Error ? error.message.trim() : error}`
    failures.set(name, reason)
    return { reason }
  }
}

function namedDirectories(): Map<string, string> {
  const directories = new Map<string, string>()
  const { REFTAR_TEST_DIRS = '' } = process.env
  for (const item of REFTAR_TEST_DIRS.split(',')) {
    if (item.trim() === '') continue
    const [name = '', ...directory] = item.trim().split('=')
    if (!Object.hasOwn(filesystems, name) || directory.length === 0) {
      throw new Error(`REFTAR_TEST_DIRS: "${item}" is not one of ${names.join(', ')} with "=directory"`)
    }
    directories.set(name, directory.join('='))
  }
  return directories
}

/** A wrong directory would let tests pass that tested nothing. */
function checkFilesystem(name: FilesystemName, directory: string): void {
  const { magic, blockSize } = filesystems[name]
  const { type, bsize } = fs.statfsSync(directory)
  if (type !== magic || (blockSize !== undefined && bsize !== blockSize)) {
    throw new Error(
      `${directory} is no ${name}: statfs type 0x${type.toString(16)}, block size ${bsize}; ` +
        `wanted 0x${magic.toString(16)}${blockSize === undefined ? '' : `, ${blockSize}`}`,
    )
  }
}

function mounted(name: FilesystemName): string {
  const base = baseDirectory()
  try {
    fs.mkdirSync(base, { mode: 0o755 })
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
  const { mountPoint, imageFile } = paths(base, name)
  if (!isAlive(mountPoint)) withLock(base, () => mount(name, mountPoint, imageFile))
  checkFilesystem(name, mountPoint)
  return mountPoint
}

function mount(name: FilesystemName, mountPoint: string, imageFile: string): void {
  if (isAlive(mountPoint)) return
  // What is mounted but not alive (a filesystem that shut down) goes away.
  while (isMounted(mountPoint)) execFileSync('umount', [mountPoint], { stdio: 'pipe' })
  fs.mkdirSync(mountPoint, { recursive: true, mode: 0o755 })
  const { image, options } = filesystems[name]
  if (image === undefined) {
    execFileSync('mount', ['-t', name, '-o', 'mode=0755', name, mountPoint], { stdio: 'pipe' })
    return
  }
  fs.rmSync(imageFile, { force: true })
  expandFilesystem(image, imageFile)
  const type = image.replace(/-.*/, '')
  const all = options === undefined ? 'loop' : `loop,${options}`
  execFileSync('mount', ['-t', type, '-o', all, imageFile, mountPoint], { stdio: 'pipe' })
}

function isMounted(mountPoint: string): boolean {
  const lines = fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  // The kernel writes a blank as \040.
  const escaped = mountPoint.replace(/[ \t\n\\]/g, c => `\\${c.charCodeAt(0).toString(8).padStart(3, '0')}`)
  return lines.some(line => line.split(' ')[4] === escaped)
}

function isAlive(mountPoint: string): boolean {
  if (!isMounted(mountPoint)) return false
  const probe = join(mountPoint, `probe-${process.pid}`)
  try {
    fs.mkdirSync(probe)
    fs.rmdirSync(probe)
    return true
  } catch {
    return false
  }
}

function paths(base: string, name: FilesystemName): { mountPoint: string; imageFile: string } {
  return { mountPoint: join(base, name), imageFile: join(base, `${name}.img`) }
}

function baseDirectory(): string {
  const base = join(fs.realpathSync(tmpdir()), `reftar-test-fs-${process.getuid?.()}`)
  const stat = fs.lstatSync(base, { throwIfNoEntry: false })
  // The name can be guessed and its parent is open to all, so take no one else's.
  if (stat !== undefined && !(stat.isDirectory() && stat.uid === process.getuid?.())) {
    throw new Error(`${base} is not a directory of this user`)
  }
  return base
}

/** The lock goes with its process, however that ends; and as it may be deleted while one waits, look again. */
function withLock<T>(base: string, action: () => T): T {
  const lockFile = join(base, 'lock')
  for (;;) {
    fs.mkdirSync(base, { recursive: true, mode: 0o755 })
    const fd = openLock(lockFile)
    if (fd === undefined) continue
    try {
      if (flock(fd, LOCK_EX) !== 0) {
        if (koffi.errno() === 4) continue
        throw new Error(`flock ${lockFile}: errno ${koffi.errno()}`)
      }
      const now = fs.lstatSync(lockFile, { throwIfNoEntry: false })
      if (now === undefined || now.ino !== fs.fstatSync(fd).ino) continue
      return action()
    } finally {
      fs.closeSync(fd)
    }
  }
}

function openLock(lockFile: string): number | undefined {
  try {
    return fs.openSync(lockFile, 'a', 0o600)
  } catch (error) {
    // The base directory was deleted in between.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

function liveUsers(mountPoint: string): number[] {
  const users = new Set<number>()
  for (const entry of fs.readdirSync(mountPoint)) {
    const pid = Number(/^test-(\d+)-/.exec(entry)?.[1])
    if (Number.isInteger(pid) && pid !== process.pid && fs.existsSync(`/proc/${pid}`)) users.add(pid)
  }
  return [...users]
}

function removeTree(directory: string): void {
  try {
    fs.rmSync(directory, { recursive: true, force: true })
  } catch {
    // rm also removes trees deeper than the longest path.
    execFileSync('rm', ['-rf', '--', directory], { stdio: 'pipe' })
  }
}
