import { quotePath } from '../event.js'
import type { Device, Entry, EntryType, Metadata, Owner, Time } from '../record.js'
import { readlinkat } from '../sys/directory.js'
import {
  changeMode,
  changeModeAt,
  changeOwner,
  changeOwnerAt,
  setModified,
  setModifiedAt,
} from '../sys/file.js'
import { groupId, groupName, userId, userName } from '../sys/owners.js'
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, type Status, typeOf } from '../sys/status.js'

/** Capture, apply and compare, side by side: what one stores the others set and expect. */

const TYPES = new Map<number, EntryType>([
  [S_IFREG, 'file'],
  [S_IFDIR, 'directory'],
  [S_IFLNK, 'symlink'],
  [S_IFCHR, 'characterDevice'],
  [S_IFBLK, 'blockDevice'],
  [S_IFIFO, 'fifo'],
])

const PERMISSIONS = 0o7777
const SET_ID = 0o6000

/** Undefined for a socket, which has no content and no life without its server. */
export function entryTypeOf(status: Status): EntryType | undefined {
  return TYPES.get(typeOf(status))
}

/** What is stored of a file, beside its content. @throws SYSTEM_CALL */
export function captureMetadata(directory: number, name: Uint8Array, status: Status): Metadata {
  const type = entryTypeOf(status)
  return {
    mode: status.mode & PERMISSIONS,
    owner: captureOwner(status),
    modified: status.modified,
    ...(type === 'symlink' && { linkTarget: readlinkat(directory, name) }),
    ...((type === 'characterDevice' || type === 'blockDevice') && { device: status.device }),
  }
}

function captureOwner({ uid, gid }: Status): Owner {
  const user = userName(uid)
  const group = groupName(gid)
  return { uid, gid, ...(user && { user }), ...(group && { group }) }
}

/** Sets owner, mode and times through an open descriptor, in the order that keeps them. @throws SYSTEM_CALL */
export function applyMetadata(fd: number, status: Status, metadata: Metadata): void {
  const owned = applyOwner(status, metadata, (uid, gid) => changeOwner(fd, uid, gid))
  applyMode(status, metadata, owned, mode => changeMode(fd, mode))
  if (metadata.modified) setModified(fd, metadata.modified)
}

/** As {@link applyMetadata}, of what cannot be opened: a symbolic link, a device, a FIFO. @throws SYSTEM_CALL */
export function applyMetadataAt(
  directory: number,
  name: Uint8Array,
  status: Status,
  metadata: Metadata,
): void {
  const owned = applyOwner(status, metadata, (uid, gid) => changeOwnerAt(directory, name, uid, gid))
  if (typeOf(status) !== S_IFLNK) {
    applyMode(status, metadata, owned, mode => changeModeAt(directory, name, mode))
  }
  if (metadata.modified) setModifiedAt(directory, name, metadata.modified)
}

function applyMode(status: Status, { mode }: Metadata, owned: boolean, change: (mode: number) => void): void {
  if (mode === undefined) return
  const wanted = owned ? mode : mode & ~SET_ID
  // A write or a new owner takes setuid and setgid away, so the mode that was seen before holds only without them.
  if (wanted & SET_ID || status.mode & SET_ID || (status.mode & PERMISSIONS) !== wanted) change(wanted)
}

/** Only root gives files away; what others extract is their own. Returns whether the owner is as it was stored. */
function applyOwner(
  status: Status,
  { owner }: Metadata,
  change: (uid: number, gid: number) => void,
): boolean {
  if (!owner) return true
  const { uid, gid } = ownerHere(owner)
  if (status.uid === uid && status.gid === gid) return true
  if (process.geteuid?.() !== 0) return false
  change(uid, gid)
  return true
}

/**
 * In which fields that were captured a file differs, in words.
 *
 * @param name - of the file in `directory`, or empty for the directory itself
 * @throws SYSTEM_CALL
 */
export function metadataDifferences(
  directory: number,
  name: Uint8Array,
  status: Status,
  { mode, owner, modified, linkTarget, device }: Metadata,
): string[] {
  const out: string[] = []
  const compare = (what: string, found: string, expected: string) => {
    if (found !== expected) out.push(`has ${what} ${found}, expected ${expected}`)
  }
  const octal = (bits: number) => bits.toString(8).padStart(4, '0')
  if (mode !== undefined && typeOf(status) !== S_IFLNK)
    compare('mode', octal(status.mode & PERMISSIONS), octal(mode))
  if (owner) {
    const { uid, gid } = ownerHere(owner)
    compare('owner', `${status.uid}:${status.gid}`, `${uid}:${gid}`)
  }
  if (modified) compare('time', timeText(status.modified), timeText(modified))
  if (linkTarget) compare('target', quotePath(readlinkat(directory, name)), quotePath(linkTarget))
  if (device) compare('device', deviceText(status.device), deviceText(device))
  return out
}

function timeText({ seconds, nanoseconds }: Time): string {
  return `${seconds}.${String(nanoseconds).padStart(9, '0')}`
}

function deviceText({ major, minor }: Device): string {
  return `${major},${minor}`
}

function ownerHere({ user, uid, group, gid }: Owner): { readonly uid: number; readonly gid: number } {
  return { uid: idFor(user, uid, userId), gid: idFor(group, gid, groupId) }
}

/** A name goes before a number, as long as this system knows it. */
function idFor(name: Uint8Array | undefined, id: number, look: (name: string) => number | undefined): number {
  return (name && look(new TextDecoder().decode(name))) ?? id
}

/** Whether a file of this mode can be opened for reading by its owner, who may not be root. */
export function needsLateMode({ metadata }: Entry, bits: number): boolean {
  return metadata.mode !== undefined && (metadata.mode & bits) !== bits && process.geteuid?.() !== 0
}
