/** What a benchmark finds: plain data, which goes to JSON and comes back, and what is computed of it. */

/** What is timed, in the order in which it is shown. */
export const MEASURES = {
  createPipe: 'create | cat',
  createPipeCold: 'create | cat, cold',
  createFile: 'create -f, synced',
  extractPipe: 'cat | extract, synced',
  extractFile: 'extract -f, synced',
  copy: 'create | extract, synced',
} as const

export type Measure = keyof typeof MEASURES

export const measures = Object.keys(MEASURES) as Measure[]

/** The tool that all others are compared with. */
export const BASE = 'tar'

export interface Sample {
  /** Until the last process ended. */
  readonly seconds: number
  /** The same, and until all was on disk; equal where nothing is written. */
  readonly synced: number
  /** Of one process at most. */
  readonly peakBytes: number
}

/** What something takes on its filesystem, in bytes. */
export interface Taken {
  /** By what the filesystem counts as used, metadata included. */
  readonly used: number
  /** Data that lies where nothing else did before, by its addresses. */
  readonly own: number
}

/** One tool on one corpus. */
export interface Figures {
  readonly tool: string
  /** A sample for each run. */
  readonly samples: Partial<Record<Measure, Sample[]>>
  readonly archiveBytes?: number
  /** By what made it: the archive file, and restored trees. */
  readonly taken: Partial<Record<Measure, Taken>>
}

export interface CorpusFigures {
  readonly filesystem: string
  readonly corpus: string
  readonly files: number
  readonly apparentBytes: number
  /** Of its storage, what is shared counted once. */
  readonly uniqueBytes: number
  readonly tools: readonly Figures[]
}

/** A limit of the machine, measured without any archiver. */
export interface Bound {
  readonly filesystem: string
  readonly name: string
  readonly value: number
  readonly unit: string
}

export interface Report {
  readonly machine: Readonly<Record<string, string>>
  readonly versions: Readonly<Record<string, string>>
  readonly runs: number
  readonly quick: boolean
  /** How the cache was emptied for what is cold. */
  readonly cold: string
  readonly corpora: readonly CorpusFigures[]
  readonly bounds: readonly Bound[]
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const pair = sorted.slice(Math.ceil(middle) - 1, Math.floor(middle) + 1)
  return pair.reduce((sum, value) => sum + value, 0) / pair.length
}

export function figuresOf({ tools }: CorpusFigures, tool: string): Figures | undefined {
  return tools.find(figures => figures.tool === tool)
}

/** The median of the seconds that count. */
export function medianSeconds(figures: Figures, measure: Measure): number | undefined {
  const samples = figures.samples[measure]
  return samples && samples.length > 0 ? median(samples.map(({ synced }) => synced)) : undefined
}

/** How many times as fast as the base a tool is: the median of the ratios within each run. */
export function timesAsFast(corpus: CorpusFigures, tool: string, measure: Measure): number | undefined {
  const ours = figuresOf(corpus, tool)?.samples[measure] ?? []
  const base = figuresOf(corpus, BASE)?.samples[measure] ?? []
  const ratios = ours.flatMap(({ synced }, run) => {
    const theirs = base[run]
    return theirs ? [theirs.synced / synced] : []
  })
  return ratios.length > 0 ? median(ratios) : undefined
}

/** The most that any process took in a group of measures, in bytes. */
export function peakOf({ samples }: Figures, of: readonly Measure[]): number | undefined {
  const peaks = of.flatMap(measure => samples[measure] ?? []).map(({ peakBytes }) => peakBytes)
  return peaks.length > 0 ? Math.max(...peaks) : undefined
}
