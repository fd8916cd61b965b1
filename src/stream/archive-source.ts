import { type Path, pathBytes } from '../event.js'
import { ArchiveReader, sourceBytes } from '../fs/archive-reader.js'
import { ProvenFile } from '../fs/proven-file.js'
import type { ArchiveRecord, Source } from '../record.js'
import { composeOrigin } from './compose.js'
import { type DecodeSummary, type ExtentDecoderOptions, lendingDecoder } from './extent-decoder.js'
import { type Origin, origin } from './stage.js'

/** Something that can be read at an offset, and has an end. */
export interface SizedSource extends Source {
  /** In bytes. */
  readonly size: number
}

/**
 * The records of an archive that can be read at any offset, as an {@link extentDecoder} makes them of its bytes. Each data says
 * where in it it comes `from`: so a {@link reflinkWriter} on the same filesystem can clone it, and need not write it.
 *
 * @param archive - the path of a file, or what takes its place
 * @throws as {@link extentDecoder} does, and through the stream INVALID_ARGUMENT for a path that is not of a regular file,
 *   SYSTEM_CALL, and what the source throws
 */
export function archiveSource(
  archive: Path | SizedSource,
  options: ExtentDecoderOptions = {},
): Origin<ArchiveRecord, DecodeSummary> {
  const { signal, ...rest } = options
  if (isSource(archive)) {
    const decoder = lendingDecoder(rest, () => archive)
    const bytes = origin({}, () => sourceBytes(archive, archive.size))
    return composeOrigin([bytes, decoder], decoder.summary, signal)
  }
  const reader = new ArchiveReader(pathBytes(archive))
  const decoder = lendingDecoder(rest, () => reader.source)
  const bytes = origin({}, () => reader.bytes())
  return composeOrigin([bytes, decoder], decoder.summary, signal)
}

/**
 * What the bytes of an archive file can be cloned from into a directory, if they are read only after this has resolved;
 * undefined where they cannot.
 *
 * @param fd - of the file, open for as long as anything is cloned
 * @throws SYSTEM_CALL
 */
export function lentArchive(fd: number, file: Path, directory: Path): Promise<Source | undefined> {
  return ProvenFile.of(fd, pathBytes(file), pathBytes(directory))
}

/** Whether an archive is no path. */
export function isSource(archive: Path | SizedSource): archive is SizedSource {
  return typeof archive === 'object' && !(archive instanceof Uint8Array)
}
