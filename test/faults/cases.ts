import * as fs from 'node:fs'
import { join } from 'node:path'
import { compareTrees } from '../support/compare-trees.js'
import { KIB, MIB, noise, reflink, restore } from '../support/trees.js'
import type { Fault, FaultCommand, FaultOutcome } from './fault-process.js'

/** What an operation is made of, as far as a fault of it can be told from one of node itself. */
export const SYSCALLS = {
  create: [
    'openat',
    'statx',
    'lseek',
    'getdents64',
    'pread64',
    'readlinkat',
    'flistxattr',
    'fgetxattr',
    'fstatfs',
    'ioctl',
  ],
  extract: [
    'openat',
    'statx',
    'mkdirat',
    'mknodat',
    'symlinkat',
    'linkat',
    'renameat2',
    'unlinkat',
    'pwrite64',
    'pread64',
    'ftruncate',
    'fallocate',
    'ioctl',
    'fchown',
    'fchownat',
    'fchmod',
    'utimensat',
    'flistxattr',
    'fsetxattr',
    'fstatfs',
    'fdatasync',
    'sync_file_range',
    'getdents64',
    'lseek',
  ],
} as const satisfies Record<FaultCommand['operation'], readonly string[]>

export const ERRNOS = [
  'EIO',
  'ENOSPC',
  'EDQUOT',
  'EINTR',
  'EAGAIN',
  'EMFILE',
  'EACCES',
  'EROFS',
  'ESTALE',
  'ENOMEM',
] as const

/** A tree with one of everything: what it takes to archive and restore it are the calls that can fail. */
export function makeFaultTree(source: string): void {
  const at = (name: string) => join(source, name)
  fs.mkdirSync(at('directory/inner'), { recursive: true })
  fs.writeFileSync(at('directory/a'), noise(MIB + 300 * KIB + 5, 'a'))
  fs.writeFileSync(at('directory/inner/b'), noise(20 * KIB, 'b'))
  fs.writeFileSync(at('small'), 'small')
  fs.writeFileSync(at('empty'), '')
  reflink(at('directory/a'), at('clone'))
  fs.linkSync(at('small'), at('link'))
  fs.symlinkSync('small', at('symlink'))
  fs.writeFileSync(at('sparse'), noise(8 * KIB, 'sparse'))
  fs.truncateSync(at('sparse'), 3 * MIB)
  fs.chmodSync(at('directory/inner'), 0o700)
  fs.chownSync(at('small'), 1234, 1234)
  fs.utimesSync(at('empty'), 1, 2)
}

/** Which calls of so many are made to fail. */
export function someOf(count: number): number[] {
  return [...new Set([1, 2, Math.ceil(count / 2), count])].filter(when => when >= 1 && when <= count)
}

/** What is wrong with what came of a fault; undefined when nothing is. */
export async function faultOf(
  { operation, source, archive, target }: FaultCommand,
  { syscall }: Fault,
  result: FaultOutcome | undefined,
): Promise<string | undefined> {
  if (!result) return 'it hangs, or the process has ended'
  const { ok, told, leaked, message = '', isNamed } = result
  // A close that is only pretended leaves a descriptor; so does an unlink a file, which is then told.
  if (leaked !== 0) return `${leaked} descriptors are left`
  if (!ok && !(isNamed && message.length > 0)) return `it fails, and does not say of what: ${message}`
  const left = fs.readdirSync(target)
  if (operation === 'extract') {
    const aside = left.filter(name => name.startsWith('.reftar-'))
    const isTold = aside.every(name => told.some(text => text.includes(name)))
    if (aside.length > 0 && !isTold) return `${aside} is left, and nobody told`
    if (!ok) return left.length > aside.length ? `it fails, and there is ${left}` : undefined
    return difference(source, target, told, aside)
  }
  if (!ok) return undefined
  const restored = join(target, 'restored')
  fs.mkdirSync(restored)
  const { events } = await restore(fs.readFileSync(archive), restored)
  const known = events.flatMap(event => ('message' in event ? event.message : []))
  const found = difference(source, restored, [...told, ...known], [])
  return found && `${found} (after a fault of ${syscall})`
}

/** Every difference has to be told of the entry that it is one of. */
function difference(
  source: string,
  target: string,
  told: readonly string[],
  aside: readonly string[],
): string | undefined {
  const untold = compareTrees(source, target).filter(line => {
    const path = line.slice(0, line.indexOf(': '))
    if (aside.some(name => path.startsWith(name))) return false
    const isAbove = (text: string) => {
      const named = /^'([^']*)'/.exec(text)?.[1]
      if (named === undefined) return false
      return path === named || path.startsWith(`${named}/`) || named === '' || isOneFile(source, path, named)
    }
    return !told.some(isAbove)
  })
  return untold.length > 0 ? `differences that nobody told: ${untold.join('; ')}` : undefined
}

/** Hard links: what is told of one is told of the other. */
function isOneFile(directory: string, a: string, b: string): boolean {
  const [first, second] = [a, b].map(name => fs.lstatSync(join(directory, name), { throwIfNoEntry: false }))
  return first !== undefined && first.ino === second?.ino
}

/** An empty target, and no archive but one that is to be read. */
export function clean({ operation, archive, target }: FaultCommand): void {
  fs.rmSync(target, { recursive: true, force: true })
  fs.mkdirSync(target)
  if (operation === 'create') fs.rmSync(archive, { force: true })
}
