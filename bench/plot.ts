/** A picture of how many times as fast as tar reftar is: bars to both sides of a line, on a scale of powers of two. */
import { type CorpusFigures, MEASURES, type Measure, timesAsFast } from './figures.js'

const SHOWN: readonly Measure[] = ['createPipe', 'createFile', 'extractPipe', 'extractFile']
const WIDTH = 860
const LABELS = 90
const GAP = 40
const TOP = 76
const BAR = 11
const GROUP_GAP = 14
const FEWEST_POWERS = { slower: 1, faster: 4 }
/** What a number beside a bar takes. */
const NUMBER = 34

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .small { font-size: 10px }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .base { stroke: #1f2328; stroke-width: 1.5 }
  .b0 { fill: #1f6feb } .b1 { fill: #7fb0f5 } .b2 { fill: #bc4c00 } .b3 { fill: #eda66a }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #30363d }
    .base { stroke: #e6edf3 }
  }
`

/** An SVG, with a panel for each filesystem. */
export function plot(corpora: readonly CorpusFigures[]): string {
  const filesystems = [...new Set(corpora.map(({ filesystem }) => filesystem))]
  const names = [...new Set(corpora.map(({ corpus }) => corpus))]
  const bars = corpora.flatMap(corpus =>
    SHOWN.flatMap((measure, series) => {
      const times = timesAsFast(corpus, 'reftar', measure)
      return times === undefined ? [] : [{ ...corpus, series, times }]
    }),
  )
  const powers = bars.map(({ times }) => Math.log2(times))
  const least = Math.floor(Math.min(-FEWEST_POWERS.slower, ...powers))
  const most = Math.ceil(Math.max(FEWEST_POWERS.faster, ...powers))

  const group = SHOWN.length * BAR + GROUP_GAP
  const bottom = TOP + names.length * group
  const panel = (WIDTH - LABELS - GAP * (filesystems.length - 1)) / filesystems.length
  const unit = (panel - 2 * NUMBER) / (most - least)
  const left = (filesystem: string) => LABELS + filesystems.indexOf(filesystem) * (panel + GAP)
  const xOf = (filesystem: string, power: number) => left(filesystem) + NUMBER + (power - least) * unit
  const yOf = (corpus: string) => TOP + names.indexOf(corpus) * group

  const parts = [
    text(0, 16, 'Times as fast as GNU tar', 'title'),
    ...legend(),
    ...names.map(name => text(0, yOf(name) + (SHOWN.length * BAR) / 2 + 4, name)),
  ]
  for (const filesystem of filesystems) {
    parts.push(text(xOf(filesystem, 0), TOP - 22, filesystem, 'title', 'middle'))
    for (let power = least; power <= most; power++) {
      const x = xOf(filesystem, power)
      parts.push(line(x, TOP - 6, bottom, power === 0 ? 'base' : 'grid'))
      parts.push(text(x, bottom + 14, power < 0 ? `1/${2 ** -power}` : String(2 ** power), 'small', 'middle'))
    }
  }
  for (const { filesystem, corpus, series, times } of bars) {
    const [from, to] = [xOf(filesystem, 0), xOf(filesystem, Math.log2(times))]
    const y = yOf(corpus) + series * BAR
    const width = Math.max(1, Math.abs(to - from))
    parts.push(rect(Math.min(from, to), y, width, BAR - 2, series))
    const anchor = to < from ? 'end' : 'start'
    parts.push(text(to + (to < from ? -3 : 3), y + BAR - 3, times.toPrecision(2), 'small', anchor))
  }
  const height = bottom + 24
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    '<title>Times as fast as GNU tar, by corpus and filesystem</title>',
    `<style>${STYLE}</style>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}

function legend(): string[] {
  return SHOWN.flatMap((measure, series) => {
    const x = 190 + series * 165
    return [rect(x, 7, 10, 10, series), text(x + 15, 16, MEASURES[measure])]
  })
}

function rect(x: number, y: number, width: number, height: number, series: number): string {
  return `<rect class="b${series}" x="${fixed(x)}" y="${fixed(y)}" width="${fixed(width)}" height="${height}"/>`
}

function line(x: number, from: number, to: number, name: string): string {
  return `<line class="${name}" x1="${fixed(x)}" x2="${fixed(x)}" y1="${from}" y2="${to}"/>`
}

function text(x: number, y: number, content: string, name = '', anchor = 'start'): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  const attributes = `${name && ` class="${name}"`}${anchor === 'start' ? '' : ` text-anchor="${anchor}"`}`
  return `<text x="${fixed(x)}" y="${fixed(y)}"${attributes}>${escaped}</text>`
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10)
}
