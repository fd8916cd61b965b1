/**
 * Puts the figures of a benchmark into docs/PERFORMANCE.md, between its markers, and draws docs/performance.svg:
 * `npm run bench:report -- FILE...`, where each FILE is what `npm run bench -- --json FILE` wrote. What is in several of them
 * counts as several runs.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import type { Report } from './figures.js'
import { merge } from './merge.js'
import { plot } from './plot.js'
import { boundRows, corpusRows, countedRuns, describe, summaryRows } from './report.js'
import { markdownTable } from './table.js'

const PAGE = new URL('../docs/PERFORMANCE.md', import.meta.url)
const PICTURE = new URL('../docs/performance.svg', import.meta.url)

function sections(report: Report): Record<string, string> {
  const { machine, versions, corpora, bounds, quick, cold } = report
  const facts = (of: Readonly<Record<string, string>>) =>
    Object.entries(of)
      .map(([name, value]) => `${name}: ${value}`)
      .join('; ')
  return {
    machine:
      `Medians of ${countedRuns(corpora)}${quick ? ' of the `--quick` corpora' : ''}; ${facts(machine)}. ${facts(versions)}. ` +
      `For what is cold, the filesystem was ${cold}.`,
    summary: markdownTable(summaryRows(corpora)),
    corpora: corpora
      .map(corpus => `### ${describe(corpus)}\n\n${markdownTable(corpusRows(corpus))}`)
      .join('\n\n'),
    bounds: markdownTable(boundRows(bounds)),
  }
}

/** Replaces what stands between `<!-- name -->` and `<!-- /name -->`. @throws where a marker is missing */
export function fill(page: string, found: Readonly<Record<string, string>>): string {
  for (const [name, content] of Object.entries(found)) {
    const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
    const [from, to] = [page.indexOf(begin), page.indexOf(end)]
    if (from === -1 || to < from) throw new Error(`the page has no ${begin} with an ${end} behind it`)
    page = `${page.slice(0, from + begin.length)}\n\n${content}\n\n${page.slice(to)}`
  }
  return page
}

function main(files: readonly string[]): void {
  const [first, ...others] = files.map(file => JSON.parse(readFileSync(file, 'utf8')) as Report)
  if (first === undefined) throw new Error('usage: npm run bench:report -- FILE...')
  const report = merge([first, ...others])
  writeFileSync(PAGE, fill(readFileSync(PAGE, 'utf8'), sections(report)))
  writeFileSync(PICTURE, plot(report.corpora))
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  try {
    main(process.argv.slice(2))
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}
