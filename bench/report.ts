/** The figures as rows of text: one table for each corpus with all tools, and one for reftar with all corpora. */
import {
  BASE,
  type Bound,
  type CorpusFigures,
  type Figures,
  figuresOf,
  MEASURES,
  type Measure,
  measures,
  medianSeconds,
  peakOf,
  timesAsFast,
} from './figures.js'

const MIB = 1024 * 1024
const NONE = '-'
const CREATING = ['createPipe', 'createPipeCold', 'createFile'] as const
const EXTRACTING = ['extractPipe', 'extractFile'] as const

/** Seconds, and how many times as fast as the base in the same run; sizes in MiB, and their ratio to the base's. */
export function corpusRows(corpus: CorpusFigures): string[][] {
  const base = figuresOf(corpus, BASE)
  const shown = measures.filter(measure => corpus.tools.some(({ samples }) => samples[measure]))
  const rows = corpus.tools.map(figures => [
    figures.tool,
    ...shown.map(measure => timeCell(corpus, figures, measure)),
    sizeCell(figures.archiveBytes, base?.archiveBytes),
    takenCell(figures, 'createFile'),
    takenCell(figures, 'extractPipe'),
    takenCell(figures, 'extractFile'),
    mib(peakOf(figures, CREATING)),
    mib(peakOf(figures, EXTRACTING)),
  ])
  const times = shown.map(measure => MEASURES[measure])
  const sizes = ['archive', 'it takes', 'tree takes', 'tree of -f takes', 'create peak', 'extract peak']
  return [['seconds, MiB', ...times, ...sizes], ...rows]
}

/** Of reftar: how many times as fast as the base, and what of bytes. */
export function summaryRows(corpora: readonly CorpusFigures[]): string[][] {
  const rows = corpora.flatMap(corpus => {
    const ours = figuresOf(corpus, 'reftar')
    if (!ours) return []
    const { archiveBytes, taken } = ours
    return [
      [
        `${corpus.corpus}, ${corpus.filesystem}`,
        ...measures.map(measure => times(timesAsFast(corpus, 'reftar', measure))),
        ratio(archiveBytes, corpus.uniqueBytes),
        ratio(archiveBytes, figuresOf(corpus, BASE)?.archiveBytes),
        ratio(taken.createFile?.used, archiveBytes),
        mib(peakOf(ours, [...CREATING, ...EXTRACTING])),
      ],
    ]
  })
  const sizes = ['archive / unique', "archive / tar's", 'storage of archive / its bytes', 'peak MiB']
  return [['corpus', ...measures.map(measure => MEASURES[measure]), ...sizes], ...rows]
}

export function boundRows(bounds: readonly Bound[]): string[][] {
  const filesystems = [...new Set(bounds.map(({ filesystem }) => filesystem))]
  const names = [...new Set(bounds.map(({ name }) => name))]
  const rows = names.map(name => [
    name,
    ...filesystems.map(filesystem => {
      const bound = bounds.find(bound => bound.name === name && bound.filesystem === filesystem)
      return bound ? `${digits(bound.value)} ${bound.unit}` : NONE
    }),
  ])
  return [['bound', ...filesystems], ...rows]
}

/** What a corpus holds. */
export function describe({ corpus, filesystem, files, apparentBytes, uniqueBytes }: CorpusFigures): string {
  return `${corpus} on ${filesystem}: ${counted(files, 'file')}, ${mib(apparentBytes)} MiB of data in ${mib(uniqueBytes)} MiB of storage`
}

/** How many runs there are of what was measured. */
export function countedRuns(corpora: readonly CorpusFigures[]): string {
  const counts = corpora.flatMap(({ tools }) =>
    tools.flatMap(({ samples }) => Object.values(samples).map(({ length }) => length)),
  )
  const [least, most] = [Math.min(...counts), Math.max(...counts)]
  return least < most ? `${least} to ${most} runs` : counted(most, 'run')
}

export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}

function timeCell(corpus: CorpusFigures, figures: Figures, measure: Measure): string {
  const seconds = medianSeconds(figures, measure)
  if (seconds === undefined) return NONE
  return `${seconds.toFixed(2)} (${times(timesAsFast(corpus, figures.tool, measure))})`
}

function sizeCell(bytes: number | undefined, base: number | undefined): string {
  return bytes === undefined ? NONE : `${mib(bytes)} (${ratio(bytes, base)})`
}

/** By the count of the filesystem, and by addresses. */
function takenCell({ taken }: Figures, measure: Measure): string {
  const found = taken[measure]
  return found ? `${mib(found.used)} / ${mib(found.own)}` : NONE
}

function times(value: number | undefined): string {
  return value === undefined ? NONE : `${digits(value)}x`
}

function ratio(part: number | undefined, whole: number | undefined): string {
  return part === undefined || !whole ? NONE : (part / whole).toFixed(3)
}

function mib(bytes: number | undefined): string {
  return bytes === undefined ? NONE : (bytes / MIB).toFixed(1)
}

function digits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}
