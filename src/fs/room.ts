import { constants } from 'node:fs'
import { caught } from '../errors.js'
import { FS_COMPR_FL } from '../format/inode-flags.js'
import { cloneRange } from '../sys/clone-range.js'
import { AT_FDCWD, openat } from '../sys/directory.js'
import { close } from '../sys/file.js'
import { BTRFS, EXT4, filesystemOf, spaceOf, TMPFS, XFS } from '../sys/filesystem.js'
import { getInodeFlags } from '../sys/inode-attributes.js'
import { mountsAt } from '../sys/mounts.js'
import { NEVER_CAN } from './clone-errors.js'

/** What a directory has room for. */
export interface Room {
  /** In bytes. */
  readonly free: number
  /** As far as that can be found out without writing anything. */
  readonly canClone: boolean
  /** Files for which that is asked take fewer bytes than they have. */
  readonly canCompress: boolean
}

/** Of the others it is not known what a file takes: they compress, find duplicates, or are somewhere else. */
const KNOWN: readonly number[] = [BTRFS, XFS, EXT4, TMPFS]
const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY
const PRIVATE = 0o600
const CURRENT = Buffer.from('.')
const COMPRESSES = /(^|,)compress(-force)?=/

/**
 * What is to be had in a directory and below it; undefined where that is not known: of other filesystems, of those that
 * compress what they store, and where others are mounted below.
 *
 * @throws SYSTEM_CALL when it cannot be opened
 */
export function roomIn(directory: Uint8Array): Room | undefined {
  const fd = openat(AT_FDCWD, directory, OPEN_DIRECTORY)
  try {
    const { type } = filesystemOf(fd)
    const { size, free, available } = spaceOf(fd)
    if (!KNOWN.includes(type) || size === 0 || !isPlain(fd)) return undefined
    // What btrfs calls available leaves out what it can still take back from its own tables.
    const isAll = type === BTRFS || process.geteuid?.() === 0
    return {
      free: isAll ? free : available,
      canClone: (type === BTRFS || type === XFS) && mayClone(fd),
      canCompress: type === BTRFS,
    }
  } finally {
    close(fd)
  }
}

/** It is of one filesystem, which stores files as they are. */
function isPlain(fd: number): boolean {
  const { own, below } = mountsAt(fd)
  if (!own || below.some(({ device }) => device !== own.device)) return false
  return !COMPRESSES.test(own.options) && ((getInodeFlags(fd) ?? 0) & FS_COMPR_FL) === 0
}

/** An XFS may be made without. */
function mayClone(directory: number): boolean {
  try {
    const fd = openat(directory, CURRENT, O_TMPFILE | constants.O_RDWR, PRIVATE)
    try {
      return !NEVER_CAN.has(cloneRange(fd, 0, 0, fd, 0))
    } finally {
      close(fd)
    }
  } catch (error) {
    caught(error)
    return true
  }
}
