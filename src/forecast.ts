import { loadChecksums } from './crc/checksums.js'
import { ReftarError } from './errors.js'
import { type Path, pathBytes } from './event.js'
import { type RangeReader, readNeeds, readTotals } from './format/storage-needs.js'
import { openSource } from './fs/archive-reader.js'
import type { Reflink } from './fs/clone-ladder.js'
import { type Room, roomIn } from './fs/room.js'
import { isSource, type SizedSource } from './stream/archive-source.js'

/** What {@link forecast} takes. */
export interface ForecastOptions {
  /** As that of {@link WriteOptions}. */
  readonly reflink?: Reflink
}

/** What an extraction needs of storage, in bytes: no less than this, metadata and the edges of blocks aside. */
export interface Forecast {
  /** Where all references are cloned: its data. */
  readonly withReflinks: number
  /** Where none is. While that is less than what is free, holes count too: only the trailer was read. */
  readonly withoutReflinks: number
  /** With these options, in this target. */
  readonly needed: number
  readonly free: number
  /** References can be cloned in the target. */
  readonly canClone: boolean
}

/**
 * Tells before anything is written whether an archive fits into a directory: not where `needed` is more than `free`. It reads
 * the trailer and, if all files together are larger than what is free, all tables, but no data. Undefined where it cannot
 * tell: of an archive that is not whole, and of a target that may store files in fewer bytes than they have, that is none of
 * btrfs, XFS, ext4 and tmpfs, or that has other filesystems mounted in it. Data that is cloned out of the archive, as an
 * {@link archiveSource} lets it be, is not taken into account.
 *
 * @param archive - the path of a file, or what takes its place
 * @throws SYSTEM_CALL when one of them cannot be opened or read, and what the source throws; the promise rejects
 */
export async function forecast(
  archive: Path | SizedSource,
  directory: Path,
  { reflink = 'auto' }: ForecastOptions = {},
): Promise<Forecast | undefined> {
  const room = roomIn(pathBytes(directory))
  if (!room) return undefined
  if (isSource(archive)) return forecastOf(archive, room, reflink)
  const opened = openSource(pathBytes(archive))
  try {
    return opened && (await forecastOf(opened, room, reflink))
  } finally {
    opened?.close()
  }
}

async function forecastOf(
  archive: SizedSource,
  { free, canClone, canCompress }: Room,
  reflink: Reflink,
): Promise<Forecast | undefined> {
  const checksums = await loadChecksums()
  const counted = (data: number, shared: number, duplicate: number): Forecast => {
    const all = data + shared + duplicate
    const needed = !canClone || reflink === 'never' ? all : reflink === 'exact' ? data + duplicate : data
    return { withReflinks: data, withoutReflinks: all, needed, free, canClone }
  }
  try {
    const { dataBytes, logicalBytes } = await drive(archive, readTotals(archive.size, checksums))
    if (logicalBytes <= free) return counted(dataBytes, logicalBytes - dataBytes, 0)
    const { bytes, mayCompress } = await drive(archive, readNeeds(archive.size, checksums))
    if (mayCompress && canCompress) return undefined
    return counted(bytes.dataBytes, bytes.sharedBytes, bytes.duplicateBytes)
  } catch (error) {
    // Whoever extracts it will hear what is wrong with it.
    if (error instanceof ReftarError && error.offset !== undefined) return undefined
    throw error
  }
}

async function drive<T>(archive: SizedSource, ranges: RangeReader<T>): Promise<T> {
  for (let step = ranges.next(); ; ) {
    if (step.done) return step.value
    const { offset, length } = step.value
    const bytes = new Uint8Array(Math.max(0, Math.min(length, archive.size - offset)))
    if (bytes.byteLength > 0) await archive.read(offset, bytes)
    step = ranges.next(bytes)
  }
}
