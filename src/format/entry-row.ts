import { ReftarError } from '../errors.js'
import type { Entry, EntryType, Metadata, Owner, Time } from '../record.js'
import { type ByteReader, ByteWriter } from './bytes.js'
import { MAX_LINK_TARGET, MAX_OWNER_NAME } from './constants.js'

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

const MAX_ID = 0xfffffffe // (uid_t) -1 means "leave as it is" to chown(2)
const MAX_NANOSECONDS = 999_999_999

/** The owner names of one segment: an entry says which one by its place, counted from 1. */
export interface OwnerNames {
  /** The place of a name, which is added when it is new; 0 for none. */
  place(name: Uint8Array | undefined): number
}

export function encodeEntryRow(out: ByteWriter, entry: Entry, names: OwnerNames): void {
  const fields = encodeFields(entry.metadata, names)
  out
    .u8(ENTRY_TAG)
    .u8(TYPES.indexOf(entry.type) + 1)
    .u16(entry.linked ? FLAG_LINKED : 0)
    .u16(entry.name.byteLength)
    .u32(fields.byteLength)
    .u64(entry.parent)
    .append(entry.name)
    .append(fields)
}

function encodeFields(metadata: Metadata, names: OwnerNames): Uint8Array {
  const { mode, owner, modified, linkTarget, linkTo, device } = metadata
  const out = new ByteWriter(64)
  if (mode !== undefined) out.u8(MODE).u16(2).u16(mode)
  if (owner) {
    out.u8(OWNER).u16(12).u32(owner.uid).u32(owner.gid)
    out.u16(names.place(owner.user)).u16(names.place(owner.group))
  }
  if (modified) out.u8(MODIFIED).u16(12).i64(modified.seconds).u32(modified.nanoseconds)
  if (linkTarget) out.u8(LINK_TARGET).u16(linkTarget.byteLength).append(linkTarget)
  if (linkTo !== undefined) out.u8(LINK_TO).u16(8).u64(linkTo)
  if (device) out.u8(DEVICE).u16(8).u32(device.major).u32(device.minor)
  return out.view()
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
  const name = reader.take(nameLength).slice()
  const end = reader.position + fieldsLength
  if (fieldsLength > reader.remaining) {
    throw reader.error(
      'BAD_FIELD',
      `entry ${ordinal} has ${fieldsLength} bytes of fields, have ${reader.remaining}`,
    )
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
    const length = reader.u16()
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

/** Which fields an entry of each type must have or must not, and their ranges. Encoder and decoder both ask. */
export function checkMetadata(entry: Entry, fail: (message: string) => ReftarError = invalid): void {
  const { type, ordinal, metadata } = entry
  const { mode, owner, modified, linkTarget, linkTo, device } = metadata
  const need = (condition: boolean, what: string) => {
    if (!condition) throw fail(`entry ${ordinal}, a ${type}: ${what}`)
  }
  need(
    (type === 'symlink') === (linkTarget !== undefined),
    'a link target goes with symlinks, and only with them',
  )
  need(
    (type === 'hardlink') === (linkTo !== undefined),
    'an ordinal to link to goes with hard links, and only with them',
  )
  const isDevice = type === 'characterDevice' || type === 'blockDevice'
  need(isDevice === (device !== undefined), 'a device number goes with devices, and only with them')
  if (type === 'hardlink')
    need(mode === undefined && !owner && !modified, 'a hard link has no metadata of its own')
  need(!(entry.linked && (type === 'directory' || type === 'hardlink')), 'it cannot be linked to')

  if (mode !== undefined) need(isBelow(mode, 0o10000), `mode is ${mode}, expected at most 0o7777`)
  if (owner) {
    need(isBelow(owner.uid, MAX_ID + 1), `uid is ${owner.uid}, expected at most ${MAX_ID}`)
    need(isBelow(owner.gid, MAX_ID + 1), `gid is ${owner.gid}, expected at most ${MAX_ID}`)
    for (const name of [owner.user, owner.group]) {
      if (name)
        need(
          isOwnerName(name),
          `an owner name has ${name.byteLength} bytes, expected 1 to ${MAX_OWNER_NAME}, none of them 0`,
        )
    }
  }
  if (modified)
    need(isTime(modified), `time is ${modified.seconds} s + ${modified.nanoseconds} ns, out of range`)
  if (linkTarget) {
    const length = linkTarget.byteLength
    need(
      length > 0 && length <= MAX_LINK_TARGET,
      `link target has ${length} bytes, expected 1 to ${MAX_LINK_TARGET}`,
    )
    need(!linkTarget.includes(0), 'link target has a zero byte')
  }
  if (device)
    need(isBelow(device.major, 2 ** 32) && isBelow(device.minor, 2 ** 32), 'device number out of range')
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
