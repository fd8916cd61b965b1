import { quotePath } from '../event.js'
import type { Device, EntryType, Metadata, Time } from '../record.js'
import { readlinkat } from '../sys/directory.js'
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, type Status, typeOf } from '../sys/status.js'
import { pathOfFd, type XattrTarget } from '../sys/xattr.js'
import { captureXattrs, type OnFailure, xattrDifferences } from './extended-attributes.js'
import { attributeDifferences, captureAttributes } from './inode-attributes.js'
import { captureOwner, ownerHere } from './owners.js'

const TYPES = new Map<number, EntryType>([
  [S_IFREG, 'file'],
  [S_IFDIR, 'directory'],
  [S_IFLNK, 'symlink'],
  [S_IFCHR, 'characterDevice'],
  [S_IFBLK, 'blockDevice'],
  [S_IFIFO, 'fifo'],
])

export const PERMISSIONS = 0o7777

const NO_NAME = new Uint8Array(0)

/** Undefined for a socket, which has no content and no life without its server. */
export function entryTypeOf(status: Status): EntryType | undefined {
  return TYPES.get(typeOf(status))
}

/** How its extended attributes are reached: whatever is neither file nor directory is open with O_PATH only. */
export function xattrTargetOf(fd: number, status: Status): XattrTarget {
  return hasContent(status) ? fd : pathOfFd(fd)
}

/** A file or a directory: the types that are opened, and that have inode flags. */
export function hasContent(status: Status): boolean {
  return typeOf(status) === S_IFREG || typeOf(status) === S_IFDIR
}

/** What stat(2) tells, of an entry that cannot be opened. */
export function plainMetadata(status: Status, numericOwner: boolean): Metadata {
  return {
    mode: status.mode & PERMISSIONS,
    owner: captureOwner(status, numericOwner),
    modified: status.modified,
  }
}

/** What stat(2) does not tell of an open entry. */
export type Extras = Omit<Metadata, 'mode' | 'owner' | 'modified'>

/** All of it. Objects of few shapes, as these are, are read faster than those that a spread makes. */
export function fullMetadata(status: Status, extras: Extras, numericOwner: boolean): Metadata {
  return Object.assign(plainMetadata(status, numericOwner), extras)
}

/**
 * All that is stored of an open entry, beside its content and what its status tells.
 *
 * @param filesystem - f_type of statfs(2)
 * @throws SYSTEM_CALL
 */
export function captureExtras(fd: number, status: Status, filesystem: number, onFailure: OnFailure): Extras {
  const type = typeOf(status)
  const extras: { -readonly [K in keyof Extras]: Extras[K] } = hasContent(status)
    ? captureAttributes(fd, filesystem)
    : {}
  const xattrs = captureXattrs(xattrTargetOf(fd, status), onFailure)
  if (xattrs) extras.xattrs = xattrs
  if (type === S_IFLNK) extras.linkTarget = readlinkat(fd, NO_NAME)
  if (type === S_IFCHR || type === S_IFBLK) extras.device = status.device
  return extras
}

/** In which fields that were captured an open entry differs, in words. @throws SYSTEM_CALL */
export function metadataDifferences(fd: number, status: Status, metadata: Metadata): string[] {
  const { mode, owner, modified, linkTarget, device, xattrs } = metadata
  const out: string[] = []
  const compare = (what: string, found: string, expected: string) => {
    if (found !== expected) out.push(`has ${what} ${found}, expected ${expected}`)
  }
  const octal = (bits: number) => bits.toString(8).padStart(4, '0')
  if (mode !== undefined && typeOf(status) !== S_IFLNK)
    compare('mode', octal(status.mode & PERMISSIONS), octal(mode))
  if (owner) {
    const { uid, gid } = ownerHere(owner, false)
    compare('owner', `${status.uid}:${status.gid}`, `${uid}:${gid}`)
  }
  if (modified) compare('time', timeText(status.modified), timeText(modified))
  if (linkTarget) compare('target', quotePath(readlinkat(fd, NO_NAME)), quotePath(linkTarget))
  if (device) compare('device', deviceText(status.device), deviceText(device))
  if (xattrs) out.push(...xattrDifferences(xattrTargetOf(fd, status), xattrs))
  if (hasContent(status)) out.push(...attributeDifferences(fd, metadata))
  return out
}

export function timeText({ seconds, nanoseconds }: Time): string {
  return `${seconds}.${String(nanoseconds).padStart(9, '0')}`
}

function deviceText({ major, minor }: Device): string {
  return `${major},${minor}`
}
