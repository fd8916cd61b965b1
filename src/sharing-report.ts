import type { Duplicate } from './duplicates.js'
import type { StorageSurvey, SurveyedFile, SurveyedRange } from './fs/storage-survey.js'

/** What some files take, in bytes. `data` is `unique`, `shared` and `outside` together. */
export interface Usage {
  /** Their sizes. */
  readonly apparent: number
  /** What is not hole. */
  readonly data: number
  /** Data that lies where nothing else does. */
  readonly unique: number
  /** Data that lies where other data of these files lies. */
  readonly shared: number
  /**
   * Data that the filesystem calls shared, though nothing else of these files lies there: others do, as snapshots.
   * btrfs says it of a whole extent, so that some of it may be unique.
   */
  readonly outside: number
}

/** What one file takes. */
export interface FileUsage extends Usage {
  /** As it was asked for, as raw bytes. */
  readonly path: Uint8Array
}

/** A place in a file; `offset` in bytes. */
export interface FilePlace {
  readonly file: FileUsage
  readonly offset: number
}

/** A range of storage on the whole of which several places of files lie. */
export interface SharedRange {
  /** Which storage: addresses of different spaces say nothing about each other. */
  readonly space: string
  /** Where it begins on the device, in bytes, as FIEMAP has it; of a compressed extent, where that begins. */
  readonly physical: number
  /** The same, in blocks of the filesystem. */
  readonly block: number
  /** What each of the places gets from it. */
  readonly bytes: number
  readonly compressed: boolean
  /** In the order of the files; a file that shares with itself has several. */
  readonly places: readonly FilePlace[]
}

/** All that one set of files shares. */
export interface SharingGroup {
  readonly files: readonly FileUsage[]
  /** How many ranges. */
  readonly ranges: number
  /** Of storage. */
  readonly bytes: number
  /** How many bytes more it would take if nothing were shared. */
  readonly saved: number
  readonly largest: SharedRange
}

/** What all files together take. */
export interface SharingSummary extends Usage {
  readonly files: number
  /** What all data takes, each byte of storage counted once. */
  readonly stored: number
  /** How many bytes more it would take if nothing were shared. */
  readonly saved: number
  /** With `content`: data that equals other data and does not share its storage, which dedup would save. */
  readonly duplicate?: number
  /** Files and directories that were left out. */
  readonly problems: number
}

/** What {@link sharing} has found. */
export interface SharingReport {
  readonly summary: SharingSummary
  /** In the byte order of their paths. */
  readonly files: readonly FileUsage[]
  /** Those that save most come first. */
  readonly groups: readonly SharingGroup[]
  /** With `content`: what is equal but not shared, in pairs of files; the largest come first. */
  readonly duplicates?: readonly Duplicate[]
  /** All that is shared, in the order of the storage; made anew by each call. */
  ranges(): Generator<SharedRange, void, undefined>
}

/** What is known of a group while its ranges come. */
interface GroupTally {
  readonly files: readonly number[]
  ranges: number
  bytes: number
  saved: number
  largest: SurveyedRange
}

/** Counts what a survey found, one range after the other. */
export class SharingTally {
  readonly #survey: StorageSurvey
  readonly #files: readonly MeasuredFile[]
  readonly #groups = new Map<string, GroupTally>()
  #saved = 0

  /** @param shown - from the path of a file below the roots of the walk to the one to report */
  constructor(survey: StorageSurvey, shown: (path: Uint8Array) => Uint8Array) {
    this.#survey = survey
    this.#files = survey.files.map(file => new MeasuredFile(file, shown))
  }

  count(range: SurveyedRange): void {
    const { places, length } = range
    const [first] = places
    if (first && places.length === 1) {
      this.#file(first.file).outside += length
      return
    }
    for (const { file } of places) this.#file(file).shared += length
    const saved = length * (places.length - 1)
    this.#saved += saved
    const group = this.#group(range)
    group.ranges++
    group.bytes += length
    group.saved += saved
    if (length > group.largest.length) group.largest = range
  }

  /** Once all ranges of the survey were counted. */
  report(problems: number, duplicates?: readonly Duplicate[]): SharingReport {
    const survey = this.#survey
    const shared = (range: SurveyedRange) => this.#shared(range)
    const groups = Array.from(this.#groups.values(), group => ({
      ...group,
      files: group.files.map(file => this.#file(file)),
      largest: shared(group.largest),
    }))
    return {
      summary: this.#summary(problems, duplicates),
      files: this.#files,
      groups: groups.sort((a, b) => b.saved - a.saved),
      ...(duplicates && { duplicates }),
      *ranges() {
        for (const range of survey.ranges()) if (range.places.length > 1) yield shared(range)
      },
    }
  }

  #summary(problems: number, duplicates?: readonly Duplicate[]): SharingSummary {
    const usage = { apparent: 0, data: 0, unique: 0, shared: 0, outside: 0 }
    for (const file of this.#files) {
      usage.apparent += file.apparent
      usage.data += file.data
      usage.unique += file.unique
      usage.shared += file.shared
      usage.outside += file.outside
    }
    return {
      files: this.#files.length,
      ...usage,
      stored: usage.data - this.#saved,
      saved: this.#saved,
      ...(duplicates && { duplicate: duplicates.reduce((sum, { bytes }) => sum + bytes, 0) }),
      problems,
    }
  }

  #group(range: SurveyedRange): GroupTally {
    const files = range.places.map(({ file }) => file).filter((file, i, all) => file !== all[i - 1])
    const key = files.join()
    let group = this.#groups.get(key)
    if (!group) {
      group = { files, ranges: 0, bytes: 0, saved: 0, largest: range }
      this.#groups.set(key, group)
    }
    return group
  }

  #shared({ space, physical, blockSize, length, isCompressed, places }: SurveyedRange): SharedRange {
    return {
      space,
      physical,
      block: physical / blockSize,
      bytes: length,
      compressed: isCompressed,
      places: places.map(({ file, offset }) => ({ file: this.#file(file), offset })),
    }
  }

  #file(number: number): MeasuredFile {
    return this.#files[number] as MeasuredFile
  }
}

class MeasuredFile implements FileUsage {
  readonly #file: SurveyedFile
  readonly #shown: (path: Uint8Array) => Uint8Array
  shared = 0
  outside = 0

  constructor(file: SurveyedFile, shown: (path: Uint8Array) => Uint8Array) {
    this.#file = file
    this.#shown = shown
  }

  get path(): Uint8Array {
    return this.#shown(this.#file.path)
  }

  get apparent(): number {
    return this.#file.size
  }

  get data(): number {
    return this.#file.data
  }

  get unique(): number {
    return this.data - this.shared - this.outside
  }
}
