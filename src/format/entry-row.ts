import { ReftarError } from '../errors.js'
import type { Entry, EntryType, Metadata, Owner, Time } from '../record.js'
import type { ByteReader, ByteWriter } from './bytes.js'
import { MAX_FIELDS, MAX_LINK_TARGET, MAX_OWNER_NAME } from './constants.js'
import { INODE_FLAGS } from './inode-flags.js'
import { decodeXattrs, encodeXattrs, xattrsFault, xattrsSize } from './xattrs.js'

/** FORMAT.md, "Entry row". */

export const ENTRY_TAG = 1
const FLAG_LINKED = 1

const TYPES: readonly EntryType[] = [
  'file',
  'directory',
  'symlink',
  'hardlink',
  'characterDevice',
  'blockDevice',
  'fifo',
]

const CRITICAL = 0x80
const MODE = CRITICAL | 1
const OWNER = CRITICAL | 2
const MODIFIED = CRITICAL | 3
const LINK_TARGET = CRITICAL | 4
const LINK_TO = CRITICAL | 5
const DEVICE = CRITICAL | 6
const XATTRS = CRITICAL | 7
const FLAGS = CRITICAL | 8
const PROJECT = CRITICAL | 9
const RESERVED = CRITICAL | 10

const MAX_ID = 0xfffffffe // (uid_t) -1 means "leave as it is" to chown(2)
const MAX_NANOSECONDS = 999_999_999

/** The owner names of one segment: an entry says which one by its place, counted from 1. */
export interface OwnerNames {
  /** The place of a name, which is added when it is new; 0 for none. */
  place(name: Uint8Array | undefined): number
}

export function encodeEntryRow(out: ByteWriter, entry: Entry, names: OwnerNames): void {
  out
    .u8(ENTRY_TAG)
    .u8(TYPES.indexOf(entry.type) + 1)
    .u16(entry.linked ? FLAG_LINKED : 0)
    .u16(entry.name.byteLength)
  const lengthAt = out.length
  out.u32(0).u64(entry.parent).append(entry.name)
  const fieldsAt = out.length
  encodeFields(out, entry.metadata, names)
  out.setU32(lengthAt, out.length - fieldsAt)
}

function encodeFields(out: ByteWriter, metadata: Metadata, names: OwnerNames): void {
  const { mode, owner, modified, linkTarget, linkTo, device, xattrs, flags, project, reserved } = metadata
  const begin = (tag: number, length: number) => out.u8(tag).u24(length)
  if (mode !== undefined) begin(MODE, 2).u16(mode)
  if (owner) {
    begin(OWNER, 12).u32(owner.uid).u32(owner.gid)
    out.u16(names.place(owner.user)).u16(names.place(owner.group))
  }
  if (modified) begin(MODIFIED, 12).i64(modified.seconds).u32(modified.nanoseconds)
  if (linkTarget) begin(LINK_TARGET, linkTarget.byteLength).append(linkTarget)
  if (linkTo !== undefined) begin(LINK_TO, 8).u64(linkTo)
  if (device) begin(DEVICE, 8).u32(device.major).u32(device.minor)
  if (xattrs) encodeXattrs(begin(XATTRS, xattrsSize(xattrs)), xattrs)
  // Nearly always zero, which an empty field says.
  if (flags === 0) begin(FLAGS, 0)
  else if (flags !== undefined) begin(FLAGS, 4).u32(flags)
  if (project === 0) begin(PROJECT, 0)
  else if (project !== undefined) begin(PROJECT, 4).u32(project)
  if (reserved !== undefined) begin(RESERVED, 8).u64(reserved)
}

/**
 * Reads an entry whose tag was read already; its ordinal follows from its place.
 *
 * @param nameAt - the owner name at a place of the table, or undefined for 0; throws for others
 * @throws BAD_FIELD, UNSUPPORTED_FEATURE
 */
export function decodeEntryRow(
  reader: ByteReader,
  ordinal: number,
  nameAt: (place: number) => Uint8Array | undefined,
): Entry {
  const at = reader.position - 1
  const type = TYPES[reader.u8() - 1]
  if (!type) throw reader.error('BAD_FIELD', `entry ${ordinal} has an unknown type`, at + 1)
  const flags = reader.u16()
  if (flags > FLAG_LINKED)
    throw reader.error('BAD_FIELD', `entry ${ordinal} has flags ${flags}, known is 1`, at + 2)
  const nameLength = reader.u16()
  const fieldsLength = reader.u32()
  const parent = reader.u64()
  const name = reader.take(nameLength)
  const end = reader.position + fieldsLength
  if (fieldsLength > reader.remaining) {
    throw reader.error(
      'BAD_FIELD',
      `entry ${ordinal} has ${fieldsLength} bytes of fields, have ${reader.remaining}`,
    )
  }
  if (fieldsLength > MAX_FIELDS) {
    const message = `entry ${ordinal} has ${fieldsLength} bytes of fields, the limit is ${MAX_FIELDS}`
    throw reader.error('LIMIT_EXCEEDED', message)
  }
  const metadata = decodeFields(reader, end, nameAt)
  const entry: Entry = { kind: 'entry', ordinal, parent, name, type, linked: flags === FLAG_LINKED, metadata }
  checkMetadata(entry, message => reader.error('BAD_FIELD', message, at))
  return entry
}

function decodeFields(
  reader: ByteReader,
  end: number,
  nameAt: (place: number) => Uint8Array | undefined,
): Metadata {
  const metadata: { -readonly [K in keyof Metadata]: Metadata[K] } = {}
  let previous = 0
  while (reader.position < end) {
    const at = reader.position
    const tag = reader.u8()
    if (tag <= previous)
      throw reader.error('BAD_FIELD', `field ${tag} follows ${previous}, expected a higher one`, at)
    previous = tag
    const length = reader.u24()
    const valueEnd = reader.position + length
    if (valueEnd > end)
      throw reader.error('BAD_FIELD', `field ${tag} has ${length} bytes, have ${end - reader.position}`, at)
    switch (tag) {
      case MODE:
        metadata.mode = reader.u16()
        break
      case OWNER:
        metadata.owner = decodeOwner(reader, nameAt)
        break
      case MODIFIED:
        metadata.modified = { seconds: reader.i64(), nanoseconds: reader.u32() }
        break
      case LINK_TARGET:
        metadata.linkTarget = reader.take(length).slice()
        break
      case LINK_TO:
        metadata.linkTo = reader.u64()
        break
      case DEVICE:
        metadata.device = { major: reader.u32(), minor: reader.u32() }
        break
      case XATTRS:
        metadata.xattrs = decodeXattrs(reader, valueEnd)
        break
      case FLAGS:
        metadata.flags = decodeNumber(reader, length, 'flags')
        break
      case PROJECT:
        metadata.project = decodeNumber(reader, length, 'project')
        break
      case RESERVED:
        metadata.reserved = reader.u64()
        break
      default:
        if (tag & CRITICAL)
          throw reader.error('UNSUPPORTED_FEATURE', `field ${tag} is critical and not known`, at)
        reader.take(length)
    }
    if (reader.position !== valueEnd) {
      throw reader.error(
        'BAD_FIELD',
        `field ${tag} has ${length} bytes, expected ${length + reader.position - valueEnd}`,
        at,
      )
    }
  }
  return metadata
}

function decodeOwner(reader: ByteReader, nameAt: (place: number) => Uint8Array | undefined): Owner {
  const uid = reader.u32()
  const gid = reader.u32()
  const user = nameAt(reader.u16())
  const group = nameAt(reader.u16())
  return { uid, gid, ...(user && { user }), ...(group && { group }) }
}

/** Zero is written as nothing. */
function decodeNumber(reader: ByteReader, length: number, what: string): number {
  if (length === 0) return 0
  const value = reader.u32()
  if (value === 0) throw reader.error('BAD_FIELD', `${what} are a 0 in full, expected an empty field`)
  return value
}

/** Which fields an entry of each type must have or must not, and their ranges. Encoder and decoder both ask. */
export function checkMetadata(entry: Entry, fail: (message: string) => ReftarError = invalid): void {
  const fault = misplacedField(entry) ?? fieldOutOfRange(entry.metadata)
  if (fault) throw fail(`entry ${entry.ordinal}, a ${entry.type}: ${fault}`)
}

/** In words; undefined for none. */
function misplacedField({ type, linked, metadata }: Entry): string | undefined {
  const { mode, owner, modified, linkTarget, linkTo, device, xattrs, flags, project, reserved } = metadata
  const isDevice = type === 'characterDevice' || type === 'blockDevice'
  const hasContent = type === 'file' || type === 'directory'
  if ((type === 'symlink') !== (linkTarget !== undefined))
    return 'a link target goes with symlinks, and only with them'
  if ((type === 'hardlink') !== (linkTo !== undefined))
    return 'an ordinal to link to goes with hard links, and only with them'
  if (isDevice !== (device !== undefined)) return 'a device number goes with devices, and only with them'
  if (type === 'hardlink' && (mode ?? owner ?? modified ?? xattrs ?? flags ?? project) !== undefined)
    return 'a hard link has no metadata of its own'
  if (linked && (type === 'directory' || type === 'hardlink')) return 'it cannot be linked to'
  if (flags !== undefined && !hasContent) return 'inode flags go with files and directories only'
  if (project !== undefined && !hasContent) return 'a project goes with files and directories only'
  if (reserved !== undefined && type !== 'file') return 'storage beyond the end goes with files only'
  return undefined
}

/** In words; undefined for none. */
function fieldOutOfRange(metadata: Metadata): string | undefined {
  const { mode, owner, modified, linkTarget, device, xattrs, flags, project, reserved } = metadata
  if (mode !== undefined && !isBelow(mode, 0o10000)) return `mode is ${mode}, expected at most 0o7777`
  const ownerFault = owner && ownerOutOfRange(owner)
  if (ownerFault) return ownerFault
  if (modified && !isTime(modified))
    return `time is ${modified.seconds} s + ${modified.nanoseconds} ns, out of range`
  if (linkTarget) {
    const { byteLength } = linkTarget
    if (byteLength === 0 || byteLength > MAX_LINK_TARGET)
      return `link target has ${byteLength} bytes, expected 1 to ${MAX_LINK_TARGET}`
    if (linkTarget.includes(0)) return 'link target has a zero byte'
  }
  const xattrsWrong = xattrs && xattrsFault(xattrs)
  if (xattrsWrong) return xattrsWrong
  if (flags !== undefined && !(isBelow(flags, 2 ** 32) && (flags & ~INODE_FLAGS) === 0))
    return `inode flags are 0x${flags.toString(16)}, known are 0x${INODE_FLAGS.toString(16)}`
  if (project !== undefined && !isBelow(project, 2 ** 32))
    return `project is ${project}, expected a number of 32 bits`
  if (reserved !== undefined && !(reserved > 0 && Number.isSafeInteger(reserved)))
    return `${reserved} bytes are reserved, expected 1 or more`
  if (device && !(isBelow(device.major, 2 ** 32) && isBelow(device.minor, 2 ** 32)))
    return 'device number out of range'
  return undefined
}

function ownerOutOfRange({ uid, gid, user, group }: Owner): string | undefined {
  if (!isBelow(uid, MAX_ID + 1)) return `uid is ${uid}, expected at most ${MAX_ID}`
  if (!isBelow(gid, MAX_ID + 1)) return `gid is ${gid}, expected at most ${MAX_ID}`
  const wrong = user && !isOwnerName(user) ? user : group && !isOwnerName(group) ? group : undefined
  return (
    wrong && `an owner name has ${wrong.byteLength} bytes, expected 1 to ${MAX_OWNER_NAME}, none of them 0`
  )
}

function isBelow(value: number, limit: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < limit
}

function isOwnerName(name: Uint8Array): boolean {
  return name.byteLength > 0 && name.byteLength <= MAX_OWNER_NAME && !name.includes(0)
}

function isTime({ seconds, nanoseconds }: Time): boolean {
  return Number.isSafeInteger(seconds) && isBelow(nanoseconds, MAX_NANOSECONDS + 1)
}

function invalid(message: string): ReftarError {
  return new ReftarError('INVALID_ARGUMENT', message)
}
