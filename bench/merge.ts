import { corpusNames } from './corpora.js'
import { type CorpusFigures, type Figures, figuresOf, measures, type Report } from './figures.js'

/**
 * Reports of one machine as one: what was measured in several is taken as so many runs.
 *
 * @throws where a tool comes in later than others: its runs would be compared with those of before
 */
export function merge([first, ...others]: readonly [Report, ...Report[]]): Report {
  let merged = first
  for (const next of others) merged = mergeTwo(merged, next)
  const order = (a: CorpusFigures, b: CorpusFigures) =>
    a.filesystem.localeCompare(b.filesystem) || placeOf(a) - placeOf(b)
  return { ...merged, corpora: merged.corpora.toSorted(order) }
}

function placeOf({ corpus }: CorpusFigures): number {
  const names: readonly string[] = corpusNames
  return names.indexOf(corpus)
}

function mergeTwo(all: Report, next: Report): Report {
  return {
    ...all,
    versions: { ...all.versions, ...next.versions },
    runs: Math.max(all.runs, next.runs),
    corpora: [...all.corpora.map(corpus => mergeCorpus(corpus, next)), ...next.corpora.filter(isNewTo(all))],
    bounds: [...all.bounds, ...next.bounds],
  }
}

function isNewTo({ corpora }: Report): (corpus: CorpusFigures) => boolean {
  return corpus => !corpora.some(known => isSame(known, corpus))
}

function isSame(a: CorpusFigures, b: CorpusFigures): boolean {
  return a.corpus === b.corpus && a.filesystem === b.filesystem
}

function mergeCorpus(corpus: CorpusFigures, { corpora }: Report): CorpusFigures {
  const next = corpora.find(other => isSame(corpus, other))
  if (!next) return corpus
  for (const { tool } of next.tools) {
    if (figuresOf(corpus, tool)) continue
    throw new Error(
      `${tool} has runs of ${corpus.corpus} on ${corpus.filesystem} that the first report has not`,
    )
  }
  return {
    ...corpus,
    tools: corpus.tools.map(figures => mergeFigures(figures, figuresOf(next, figures.tool))),
  }
}

function mergeFigures(figures: Figures, next: Figures | undefined): Figures {
  if (!next) return figures
  const samples = measures.flatMap(measure => {
    const both = [...(figures.samples[measure] ?? []), ...(next.samples[measure] ?? [])]
    return both.length > 0 ? [[measure, both]] : []
  })
  return { ...figures, samples: Object.fromEntries(samples) }
}
