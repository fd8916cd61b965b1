/** Numbers of docs/FORMAT.md, by its section titles. */

export const VERSION = 2
export const DEFAULT_BLOCK_SIZE = 4096
export const MIN_BLOCK_SIZE = 512
export const MAX_BLOCK_SIZE = 65536

export const HEADER_FIELDS = 64
export const SEGMENT_HEADER_SIZE = 128
export const TRAILER_SIZE = 112
export const DIGEST_SIZE = 32

/** A writer closes a segment before its blocks pass this many bytes. */
export const SEGMENT_PAYLOAD = 4 * 1024 * 1024
/** A writer closes a segment before its tables pass this many bytes. */
export const SEGMENT_TABLES = 512 * 1024
/** A reader refuses tables larger than this: one entry may need 1 MiB beyond what a writer aims at. */
export const MAX_TABLES = SEGMENT_TABLES + 1024 * 1024

export const MAX_NAME = 255
export const MAX_OWNER_NAME = 255
export const MAX_LINK_TARGET = 65535
export const MAX_XATTR_NAME = 255
export const MAX_XATTR_VALUE = 65536
/** Of all fields of one entry together. */
export const MAX_FIELDS = 1024 * 1024
export const MAX_DEPTH = 65535

export const HEADER_MAGIC = new Uint8Array([0x72, 0x65, 0x66, 0x74, 0x61, 0x72]) // "reftar"
/** A byte above 127 and a line feed: a transfer that mangles text breaks the magic first. */
export const SEGMENT_MAGIC = new Uint8Array([0x89, 0x72, 0x74, 0x73, 0x65, 0x67, 0x0d, 0x0a]) // "\x89rtseg\r\n"
export const TRAILER_MAGIC = new Uint8Array([0x89, 0x72, 0x74, 0x65, 0x6e, 0x64, 0x0d, 0x0a]) // "\x89rtend\r\n"

/** The one feature bit that is known: segments leave the SHA-256 of their payload out. */
export const FEATURE_NO_PAYLOAD_DIGEST = 1

/** The one flag that is known: siblings ascend by the bytes of their names. */
export const FLAG_SORTED = 1
