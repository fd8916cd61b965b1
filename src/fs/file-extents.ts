import { ReftarError } from '../errors.js'
import type { Data, Extent, Missing, Source } from '../record.js'
import { readAt, readAtAsync, SMALL_READ, seekData, seekHole } from '../sys/file.js'
import { statFd } from '../sys/status.js'
import type { EmptyRange } from './shared-extents.js'
import type { FileSharing, PlannedRange } from './sharing.js'

/** Bytes of one read of a large file. */
const READ = 1024 * 1024
/** The unit in which a range that cannot be read is narrowed down. */
const SECTOR = 4096

/** Counts what a whole record stream holds and took. */
export interface ReadTally {
  /** The address that the next data byte gets. */
  address: number
  bytesRead: number
  holeBytes: number
  missingBytes: number
  sharedBytes: number
}

/** What is known of an open file before it is read. */
export interface ReadablePlan {
  /** In bytes. */
  readonly size: number
  /** It takes no storage: its size may be a lie, as in procfs and sysfs. */
  readonly isUnsized: boolean
  /** Absent where nothing is known of its storage. */
  readonly sharing: FileSharing | undefined
  /** Where data can be read again. */
  readonly source: Source | undefined
}

/**
 * The extents of an open file: holes by SEEK_HOLE, of which some are reserved storage; references for storage that was
 * archived before, data for the rest. Ends early when the file turns out to be shorter.
 */
export async function* fileExtents(
  fd: number,
  { size, isUnsized, sharing, source }: ReadablePlan,
  tally: ReadTally,
): AsyncGenerator<Extent, void, undefined> {
  const planned = sharing?.ranges() ?? NOTHING[Symbol.iterator]()
  let plan = planned.next().value as PlannedRange | undefined
  const empty = sharing?.map.empty ?? []
  let next = 0
  for (let at = 0; at < size; ) {
    const found = seekData(fd, at)
    // No data after here: a hole, or a file that has become shorter.
    const start = Math.min(size, found ?? statFd(fd).size)
    if (start > at) {
      tally.holeBytes += start - at
      yield* holes(at, start, empty)
    }
    if (found === undefined || start === size) break
    const end = Math.min(size, seekHole(fd, start) ?? size)
    for (at = start; at < end; ) {
      while (plan && plan.offset + plan.length <= at) plan = planned.next().value as PlannedRange | undefined
      const isPlanned = plan !== undefined && plan.offset <= at
      while (endOf(empty[next]) <= at) next++
      const hole = empty[next]
      if (hole && hole.offset <= at) {
        // The cache has it, and the disk has not: nothing but zeros, unless it was written just now.
        const length = Math.min(end, endOf(hole), at + READ) - at
        const bytes = readAt(fd, at, length)
        if (bytes.byteLength < length) return
        if (isZero(bytes)) {
          tally.holeBytes += length
          yield { kind: 'hole', length, preallocated: hole.preallocated }
        } else {
          tally.address += length
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
        let done = 0
        for await (const extent of readRange(fd, at, length, isPlanned)) {
          if (extent.kind === 'data') {
            const length = extent.bytes.byteLength
            const offset = at + done
            if (plan && isPlanned) sharing?.archived(plan, offset, length, tally.address)
            tally.address += length
            tally.bytesRead += length
            done += length
            yield source ? { ...extent, from: { source, offset } } : extent
          } else {
            tally.missingBytes += extent.length
            done += extent.length
            yield extent
          }
        }
        if (done < length) return
      }
      at = until
    }
  }
  if (isUnsized) yield* beyond(fd, size, tally)
}

const NOTHING: readonly PlannedRange[] = []

function endOf(range: EmptyRange | undefined): number {
  return range ? range.offset + range.length : Number.POSITIVE_INFINITY
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every(byte => byte === 0)
}

/** The hole from `start` to `end`, in the parts that have reserved storage and those that have none. */
function* holes(
  start: number,
  end: number,
  empty: readonly EmptyRange[],
): Generator<Extent, void, undefined> {
  let at = start
  for (const { offset, length, preallocated } of empty) {
    const [from, to] = [Math.max(at, offset), Math.min(end, offset + length)]
    if (!preallocated || from >= to) continue
    if (from > at) yield { kind: 'hole', length: from - at, preallocated: false }
    yield { kind: 'hole', length: to - from, preallocated: true }
    at = to
  }
  if (at < end) yield { kind: 'hole', length: end - at, preallocated: false }
}

/** What a file without a true size gives beyond it. @throws SYSTEM_CALL */
async function* beyond(fd: number, size: number, tally: ReadTally): AsyncGenerator<Data, void, undefined> {
  for (let at = size; ; ) {
    const bytes = readAt(fd, at, SMALL_READ)
    if (bytes.byteLength === 0) return
    at += bytes.byteLength
    tally.address += bytes.byteLength
    tally.bytesRead += bytes.byteLength
    yield { kind: 'data', bytes, mayBeShared: false }
  }
}

/** Data, one read after the other with the next one under way; it is shorter where the file ends. */
async function* readRange(
  fd: number,
  offset: number,
  length: number,
  mayBeShared: boolean,
): AsyncGenerator<Data | Missing, void, undefined> {
  const end = offset + length
  if (length <= SMALL_READ) {
    return yield* orMissing(fd, offset, length, mayBeShared, () => readAt(fd, offset, length))
  }
  const begin = (at: number) => {
    const until = Math.min(end, at + READ - (at % READ))
    const bytes = at < end ? readAtAsync(fd, at, until - at) : undefined
    bytes?.catch(() => undefined)
    return { at, until, bytes }
  }
  let next = begin(offset)
  try {
    while (next.bytes) {
      const { at, until, bytes } = next
      next = begin(until)
      let done = 0
      for await (const extent of orMissing(fd, at, until - at, mayBeShared, () => bytes)) {
        done += extent.kind === 'data' ? extent.bytes.byteLength : extent.length
        yield extent
      }
      if (done < until - at) return
    }
  } finally {
    await next.bytes?.catch(() => undefined)
  }
}

/** What a read gives; where it fails, sector by sector what can be read and what is missing. */
async function* orMissing(
  fd: number,
  offset: number,
  length: number,
  mayBeShared: boolean,
  read: () => Uint8Array | Promise<Uint8Array>,
): AsyncGenerator<Data | Missing, void, undefined> {
  try {
    const bytes = await read()
    if (bytes.byteLength > 0) yield { kind: 'data', bytes, mayBeShared }
    return
  } catch (error) {
    if (!(error instanceof ReftarError) || error.errno === undefined) throw error
  }
  const end = offset + length
  for (let at = offset; at < end; ) {
    const until = Math.min(end, at + SECTOR - (at % SECTOR))
    try {
      const bytes = readAt(fd, at, until - at)
      if (bytes.byteLength > 0) yield { kind: 'data', bytes, mayBeShared: false }
      if (bytes.byteLength < until - at) return
    } catch (error) {
      if (!(error instanceof ReftarError) || error.errno === undefined) throw error
      yield { kind: 'missing', length: until - at, errno: error.errno }
    }
    at = until
  }
}
