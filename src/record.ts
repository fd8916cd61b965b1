/**
 * What flows between the stages: entries, the extents of each file, and its end, in the order of the archive.
 *
 * A record stream has a *data space* of its own: an address is the number of data bytes that went before in
 * that stream. It does not depend on how data was cut into records, nor on any block size, so a stage may cut
 * and join data freely; a stage that drops data translates the references that follow.
 */
export type ArchiveRecord = Entry | Data | Hole | Missing | Reference | End

/** A run of bytes of one file. They follow each other without a gap, from its start on. */
export type Extent = Data | Hole | Missing | Reference

/** What an entry is; a `hardlink` is another name of an earlier one. */
export type EntryType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'hardlink'
  | 'characterDevice'
  | 'blockDevice'
  | 'fifo'

/**
 * Opens an entry. It has no size: that is the sum of the extents that follow, up to its {@link End}. Only files
 * have extents and an end.
 */
export interface Entry {
  readonly kind: 'entry'
  /** Counted from 1, without a gap. */
  readonly ordinal: number
  /** The ordinal of the directory that holds it; 0 for the target directory. */
  readonly parent: number
  /** One component of raw bytes. Empty only for entry 1, when it stands for the target directory itself. */
  readonly name: Uint8Array
  readonly type: EntryType
  /** Later entries may be hard links to this one. */
  readonly linked: boolean
  readonly metadata: Metadata
}

/** A field that is absent was not captured. A directory without any was not asked for: it is only implied. */
export interface Metadata {
  /** Permission bits with setuid, setgid and sticky: 0 to 0o7777. */
  readonly mode?: number
  readonly owner?: Owner
  readonly modified?: Time
  /** Extended attributes, in the byte order of their names; empty where there were none. */
  readonly xattrs?: readonly Xattr[]
  /** Inode flags by the numbers of linux/fs.h (FS_NOCOW_FL and others): see docs/FORMAT.md for those that can be. */
  readonly flags?: number
  /** The number of the quota project that it belongs to. */
  readonly project?: number
  /** Of a file: how many bytes of storage are reserved beyond its end; 1 or more. */
  readonly reserved?: number
  /** Of a symbolic link, as raw bytes. */
  readonly linkTarget?: Uint8Array
  /** Of a hard link: the ordinal of the entry that it is another name of. */
  readonly linkTo?: number
  readonly device?: Device
}

/** Who owns an entry: numbers, and the names that they had at the source, as raw bytes. */
export interface Owner {
  readonly uid: number
  readonly gid: number
  readonly user?: Uint8Array
  readonly group?: Uint8Array
}

/** An extended attribute, xattr(7); raw bytes. */
export interface Xattr {
  /** With its namespace, as in `user.comment`. */
  readonly name: Uint8Array
  readonly value: Uint8Array
}

/** Since 1970-01-01T00:00:00Z; `seconds` may be negative, `nanoseconds` are 0 to 999,999,999. */
export interface Time {
  readonly seconds: number
  readonly nanoseconds: number
}

/** The numbers of a device node. */
export interface Device {
  readonly major: number
  readonly minor: number
}

/**
 * `bytes` are never changed again, neither by who gave them nor by who got them. Cut a record only with
 * {@link sliceData}, which cuts all its fields.
 */
export interface Data {
  readonly kind: 'data'
  readonly bytes: Uint8Array
  /** CRC32 of each block that it touches, where a stage has computed them. */
  readonly crcs?: Uint32Array
  /** Where the same bytes can be read again, or cloned from. */
  readonly from?: From
  /** The source disk says that others share this storage. */
  readonly mayBeShared: boolean
}

/** A place in a source; `offset` in bytes. */
export interface From {
  readonly source: Source
  readonly offset: number
}

/** Something that can be read at an offset, for as long as it does not change. */
export interface Source {
  /**
   * Fills `into` with the bytes from `offset` on, the same as those that were given before.
   *
   * @throws SOURCE_CHANGED when they may be others; it throws or rejects
   */
  read(offset: number, into: Uint8Array): void | Promise<void>
  /**
   * Lends a descriptor to clone from, where a file is behind it. What `use` did counts only if this does not throw: then
   * the bytes were those that {@link read} gives.
   *
   * @throws SOURCE_CHANGED or SYSTEM_CALL, before `use` or after it, when that cannot be proven
   */
  withFd?<T>(use: (fd: number) => T): T
  /** A number for the device that the file is on: where no clone can be made from one file of it, no other is tried. */
  readonly device?: number
  /** Of one of many, which can be had again by its number: nobody has to keep it. */
  readonly family?: SourceFamily
  /** In its family. */
  readonly number?: number
}

/** Sources by number. */
export interface SourceFamily {
  /** The one of that number. */
  source(number: number): Source
}

/** A range that has no data and reads as zeros. */
export interface Hole {
  readonly kind: 'hole'
  /** In bytes. */
  readonly length: number
  readonly preallocated: boolean
}

/** Bytes that the source would not give. Never zeros that pass for data. */
export interface Missing {
  readonly kind: 'missing'
  /** In bytes. */
  readonly length: number
  readonly errno: number
}

/** The same bytes as the data at `address` of the stream that it travels in. */
export interface Reference {
  readonly kind: 'reference'
  readonly address: number
  /** In bytes. */
  readonly length: number
  /** `shared`: a fact of the source disk. `dedup`: equal content that was found. */
  readonly origin: Origin
}

/** Where a reference comes from: a fact of the source disk, or equal content that was found. */
export type Origin = 'shared' | 'dedup'

/** Closes a file. */
export interface End {
  readonly kind: 'end'
  readonly state: EndState
}

/**
 * `changed`: the source changed while it was read, so the bytes may be of no single moment. `lost`: some of them were
 * lost with a part of the archive; no archive holds that.
 */
export type EndState = 'whole' | 'changed' | 'lost'

/** The bytes that a record stands for: 0 for an entry and an end. */
export function lengthOf(record: ArchiveRecord): number {
  switch (record.kind) {
    case 'entry':
    case 'end':
      return 0
    case 'data':
      return record.bytes.byteLength
    default:
      return record.length
  }
}

/**
 * Bytes `start` to `end` of a data record, counted from its own start.
 *
 * @param crcs - the part of `data.crcs` that belongs to the slice; a cut inside a block leaves them out
 */
export function sliceData(data: Data, start: number, end: number, crcs?: Uint32Array): Data {
  const { mayBeShared, from } = data
  return {
    kind: 'data',
    bytes: data.bytes.subarray(start, end),
    ...(crcs && { crcs }),
    ...(from && { from: { source: from.source, offset: from.offset + start } }),
    mayBeShared,
  }
}
