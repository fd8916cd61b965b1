export { type CreateOptions, type CreateSummary, create, type Dedup } from './create.js'
export type { Duplicate } from './duplicates.js'
export { type ErrorCode, type ErrorDetails, ReftarError } from './errors.js'
export type { Common, Path, ReftarEvent } from './event.js'
export { type ExtractOptions, type ExtractSummary, extract } from './extract.js'
export { type Forecast, type ForecastOptions, forecast } from './forecast.js'
export { DataSpace, type Piece } from './format/data-space.js'
export type { ExtentBytes } from './format/extent-bytes.js'
export type { Limits } from './format/limits.js'
export type { Totals } from './format/trailer.js'
export { type Linked, type ListedEntry, type ListOptions, list } from './list.js'
export {
  type ArchiveRecord,
  type Data,
  type Device,
  type End,
  type EndState,
  type Entry,
  type EntryType,
  type Extent,
  type From,
  type Hole,
  lengthOf,
  type Metadata,
  type Missing,
  type Origin as ReferenceOrigin,
  type Owner,
  type Reference,
  type Source,
  type SourceFamily,
  sliceData,
  type Time,
  type Xattr,
} from './record.js'
export { type SharingOptions, type SharingProgress, sharing } from './sharing.js'
export type {
  FilePlace,
  FileUsage,
  SharedRange,
  SharingGroup,
  SharingReport,
  SharingSummary,
  Usage,
} from './sharing-report.js'
export {
  type ArchiveFile,
  type ArchiveFileOptions,
  type ArchiveFileSummary,
  archiveFile,
  type FileNumbers,
} from './stream/archive-file.js'
export { archiveSource, type SizedSource } from './stream/archive-source.js'
export type { ArchiveSummary } from './stream/archive-summary.js'
export { type BlockSplitterOptions, type BlockSummary, blockSplitter } from './stream/block-splitter.js'
export type { Timed } from './stream/clock.js'
export { type CrcDedupOptions, crcDedup, type DedupSummary, type Spool } from './stream/crc-dedup.js'
export {
  type EntrySourceSummary,
  entrySource,
  type NewEntry,
  type NewHardLink,
  type NewInode,
  type NewItem,
} from './stream/entry-source.js'
export { type DecodeSummary, type ExtentDecoderOptions, extentDecoder } from './stream/extent-decoder.js'
export { type EncodeSummary, type ExtentEncoderOptions, extentEncoder } from './stream/extent-encoder.js'
export {
  type Existing,
  type Reflink,
  reflinkWriter,
  type WriteOptions,
  type WriteSummary,
} from './stream/reflink-writer.js'
export type { Live, Origin, Sink, Stage } from './stream/stage.js'
export { type ComparisonSummary, treeComparer } from './stream/tree-comparer.js'
export { type TreeOptions, type TreeSummary, treeSource } from './stream/tree-source.js'
export { type VerifyOptions, type VerifySummary, verify } from './verify.js'
