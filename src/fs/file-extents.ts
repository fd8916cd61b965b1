import { ReftarError } from '../errors.js'
import type { Data, Extent, Missing } from '../record.js'
import { type Steps, wait } from '../steps.js'
import { readAt, readAtAsync, SMALL_READ, seekData, seekHole } from '../sys/file.js'
import { statFd } from '../sys/status.js'
import type { EmptyRange } from './file-map.js'
import { type FilePart, type FileSharing, unknownPart } from './file-sharing.js'
import type { TreeSummary } from './tree-request.js'

/** Bytes of one read of a large file. */
const READ = 1024 * 1024
/** Reads that are under way at a time. */
const IN_FLIGHT = 2
/** The unit in which a range that cannot be read is narrowed down. */
const SECTOR = 4096

/** Counts what a whole record stream holds and took. The next data byte gets the address `dataBytes`. */
export type ReadTally = Pick<
  TreeSummary,
  'logicalBytes' | 'bytesRead' | 'dataBytes' | 'holeBytes' | 'missingBytes' | 'sharedBytes'
>

/** What is known of an open file before it is read. */
export interface ReadablePlan {
  /** In bytes. */
  readonly size: number
  /** It takes no storage: its size may be a lie, as in procfs and sysfs. */
  readonly isUnsized: boolean
  /** Absent where nothing is known of its storage. */
  readonly sharing: FileSharing | undefined
}

/**
 * The extents of an open file: holes by SEEK_HOLE, of which some are reserved storage; references for storage that was
 * archived before, data for the rest. Ends early when the file turns out to be shorter.
 */
export function* fileExtents(
  fd: number,
  { size, isUnsized, sharing }: ReadablePlan,
  tally: ReadTally,
): Steps<Extent> {
  let start = 0
  for (const part of sharing?.parts() ?? [unknownPart(size)]) {
    if (!(yield* partExtents(fd, start, part, sharing, tally))) return
    start = part.end
  }
  if (isUnsized) yield* beyond(fd, size, tally)
}

/** Returns false when the file turns out to be shorter. */
function* partExtents(
  fd: number,
  offset: number,
  { end: size, isFull, empty, ranges: planned }: FilePart,
  sharing: FileSharing | undefined,
  tally: ReadTally,
): Steps<Extent, boolean> {
  let plan = planned.next().value ?? undefined
  let next = 0
  for (let at = offset; at < size; ) {
    const found = isFull ? at : seekData(fd, at)
    // No data after here: a hole, or a file that has become shorter.
    const start = Math.min(size, found ?? statFd(fd).size)
    if (start > at) {
      tally.holeBytes += start - at
      while (endOf(empty[next]) <= at) next++
      yield* holes(at, start, empty, next)
    }
    if (found === undefined || start === size) break
    const end = isFull ? size : Math.min(size, seekHole(fd, start) ?? size)
    for (at = start; at < end; ) {
      while (plan && plan.offset + plan.length <= at) plan = planned.next().value ?? undefined
      const isPlanned = plan !== undefined && plan.offset <= at
      while (endOf(empty[next]) <= at) next++
      const hole = empty[next]
      if (hole && hole.offset <= at) {
        // The cache has it, and the disk has not: nothing but zeros, unless it was written just now.
        const length = Math.min(end, endOf(hole), at + READ) - at
        const bytes = readAt(fd, at, length)
        if (bytes.byteLength < length) return false
        if (isZero(bytes)) {
          tally.holeBytes += length
          yield { kind: 'hole', length, preallocated: hole.preallocated }
        } else {
          tally.dataBytes += length
          tally.bytesRead += length
          yield { kind: 'data', bytes, mayBeShared: false }
        }
        at += length
        continue
      }
      const planEnd = plan ? (isPlanned ? plan.offset + plan.length : plan.offset) : end
      const until = Math.min(end, planEnd, hole?.offset ?? end)
      const length = until - at
      if (plan && isPlanned && plan.address !== undefined) {
        tally.sharedBytes += length
        yield { kind: 'reference', address: plan.address + at - plan.offset, length, origin: 'shared' }
      } else {
        const range = isPlanned ? plan : undefined
        const count = (extent: Data | Missing, offset: number): Data | Missing => {
          if (extent.kind === 'missing') {
            tally.missingBytes += extent.length
            return extent
          }
          const length = extent.bytes.byteLength
          if (range) sharing?.archived(range, offset, length, tally.dataBytes)
          tally.dataBytes += length
          tally.bytesRead += length
          const source = sharing?.source
          return source ? { ...extent, from: { source, offset } } : extent
        }
        const done = yield* readRange(fd, at, length, range !== undefined, count)
        if (done < length) return false
      }
      at = until
    }
  }
  return true
}

function endOf(range: EmptyRange | undefined): number {
  return range ? range.offset + range.length : Number.POSITIVE_INFINITY
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every(byte => byte === 0)
}

/**
 * The hole from `start` to `end`, in the parts that have reserved storage and those that have none.
 *
 * @param first - the first range that may be of it
 */
function* holes(start: number, end: number, empty: readonly EmptyRange[], first: number): Iterable<Extent> {
  let at = start
  for (let i = first; i < empty.length; i++) {
    const { offset, length, preallocated } = empty[i] as EmptyRange
    if (offset >= end) break
    const [from, to] = [Math.max(at, offset), Math.min(end, offset + length)]
    if (!preallocated || from >= to) continue
    if (from > at) yield { kind: 'hole', length: from - at, preallocated: false }
    yield { kind: 'hole', length: to - from, preallocated: true }
    at = to
  }
  if (at < end) yield { kind: 'hole', length: end - at, preallocated: false }
}

/** What a file without a true size gives beyond it. @throws SYSTEM_CALL */
function* beyond(fd: number, size: number, tally: ReadTally): Iterable<Data> {
  for (let at = size; ; ) {
    const bytes = readAt(fd, at, SMALL_READ)
    if (bytes.byteLength === 0) return
    at += bytes.byteLength
    tally.dataBytes += bytes.byteLength
    tally.bytesRead += bytes.byteLength
    yield { kind: 'data', bytes, mayBeShared: false }
  }
}

/** Takes note of what a read gave at an offset, and says what becomes of it. */
type Count = (extent: Data | Missing, offset: number) => Data | Missing

/** A read that is under way. */
interface Reading {
  readonly at: number
  /** In bytes. */
  readonly length: number
  readonly bytes: Promise<Uint8Array>
}

/** Data, one read after the other with the next ones under way. Returns its length: less where the file ends. */
function* readRange(
  fd: number,
  offset: number,
  length: number,
  mayBeShared: boolean,
  count: Count,
): Steps<Extent, number> {
  if (length <= SMALL_READ) return yield* orMissing(fd, offset, length, mayBeShared, count)
  const end = offset + length
  const underWay: Reading[] = []
  let next = offset
  try {
    for (let at = offset; at < end; ) {
      while (next < end && underWay.length < IN_FLIGHT) {
        const length = Math.min(end - next, READ - (next % READ))
        const bytes = readAtAsync(fd, next, length)
        bytes.catch(() => undefined)
        underWay.push({ at: next, length, bytes })
        next += length
      }
      const reading = underWay.shift() as Reading
      const done = yield* orMissing(fd, at, reading.length, mayBeShared, count, reading.bytes)
      at += done
      if (done < reading.length) return at - offset
    }
    return length
  } finally {
    // Nobody closes the file while a thread reads from it.
    if (underWay.length > 0) yield Promise.allSettled(underWay.map(({ bytes }) => bytes))
  }
}

/** What a read gives; where it fails, sector by sector what can be read and what is missing. Returns how many bytes. */
function* orMissing(
  fd: number,
  offset: number,
  length: number,
  mayBeShared: boolean,
  count: Count,
  reading?: Promise<Uint8Array>,
): Steps<Extent, number> {
  try {
    const bytes = reading ? yield* wait(reading) : readAt(fd, offset, length)
    if (bytes.byteLength > 0) yield count({ kind: 'data', bytes, mayBeShared }, offset)
    return bytes.byteLength
  } catch (error) {
    if (!(error instanceof ReftarError) || error.errno === undefined) throw error
  }
  const end = offset + length
  for (let at = offset; at < end; ) {
    const until = Math.min(end, at + SECTOR - (at % SECTOR))
    try {
      const bytes = readAt(fd, at, until - at)
      if (bytes.byteLength > 0) yield count({ kind: 'data', bytes, mayBeShared: false }, at)
      if (bytes.byteLength < until - at) return at + bytes.byteLength - offset
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      yield count({ kind: 'missing', length: until - at, errno: error.errno }, at)
    }
    at = until
  }
  return length
}
