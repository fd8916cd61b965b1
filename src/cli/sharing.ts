import { sharing } from '../sharing.js'
import type { SharedRange, SharingGroup, SharingReport, Usage } from '../sharing-report.js'
import { escapePath, formatBytes, Output, pathFields } from './output.js'
import { DIFFERS, DONE, run } from './run.js'

export interface SharingCommand {
  readonly directory: string
  readonly content: boolean
  readonly verbose: boolean
  readonly json: boolean
}

/** How many of each kind are named where not all are asked for. */
const SHOWN = 10

export async function runSharing(paths: readonly string[], command: SharingCommand): Promise<void> {
  const { directory, content, verbose, json } = command
  const output = new Output({ ...command, stdoutIsTaken: false })
  await run(output, async signal => {
    const report = await sharing(paths, { directory, content, signal, onEvent: output.event })
    if (json) writeObjects(report, output)
    else {
      if (verbose) for (const range of report.ranges()) writeRange(range, output)
      else writeGroups(report.groups, output)
      writeDuplicates(report, output, verbose)
      writeFiles(report, output, verbose)
      writeConclusion(report, output)
    }
    return { status: report.summary.problems > 0 ? DIFFERS : DONE, summary: report.summary }
  })
}

function writeObjects({ files, duplicates = [], ranges }: SharingReport, output: Output): void {
  for (const { places, ...range } of ranges()) {
    const files = places.map(({ file, offset }) => ({ ...pathFields(file.path), offset }))
    output.object({ type: 'range', ...range, files })
  }
  for (const { path, apparent, data, unique, shared, outside } of files)
    output.object({ type: 'file', path, apparent, data, unique, shared, outside })
  for (const { path, earlier, bytes } of duplicates)
    output.object({ type: 'duplicate', path, bytes, earlier: pathFields(earlier) })
}

function writeGroups(groups: readonly SharingGroup[], output: Output): void {
  for (const { largest, ranges, bytes } of groups.slice(0, SHOWN)) {
    writeRange(largest, output, SHOWN)
    if (ranges > 1)
      output.line(`  and ${count(ranges - 1, 'more range')} of these files, ${bytes - largest.bytes} bytes`)
  }
  const more = groups.length - SHOWN
  if (more > 0) output.line(`and ${count(more, 'more set')} of files that share (-v names all)`)
}

function writeRange({ block, bytes, compressed, places }: SharedRange, output: Output, most = places.length) {
  output.line(`physical block ${block}${compressed ? ' (compressed)' : ''} shared by:`)
  for (const { file, offset } of places.slice(0, most))
    output.line(`  ${escapePath(file.path)}  offset ${offset}, ${bytes} bytes`)
  if (places.length > most) output.line(`  and ${count(places.length - most, 'more place')}`)
}

function writeDuplicates({ duplicates = [] }: SharingReport, output: Output, all: boolean): void {
  const shown = all ? duplicates : duplicates.slice(0, SHOWN)
  for (const { path, earlier, bytes } of shown)
    output.line(`${escapePath(path)}  ${bytes} bytes equal to ${escapePath(earlier)}, not shared`)
  const more = duplicates.length - shown.length
  if (more > 0) output.line(`and ${count(more, 'more pair')} of files with equal bytes (-v names all)`)
}

function writeFiles({ files, summary }: SharingReport, output: Output, all: boolean): void {
  const shown = all
    ? files
    : files
        .filter(({ shared, outside }) => shared + outside > 0)
        .sort((a, b) => b.shared + b.outside - a.shared - a.outside)
        .slice(0, SHOWN)
  output.line(row('file', ['apparent', 'unique', 'shared', 'outside']))
  for (const file of shown) output.line(row(escapePath(file.path), cells(file)))
  const more = files.length - shown.length
  if (more > 0) output.line(`and ${count(more, 'more file')}`)
  output.line(row('total', cells(summary)))
}

function cells({ apparent, unique, shared, outside }: Usage): string[] {
  return [apparent, unique, shared, outside].map(formatBytes)
}

function row(name: string, cells: readonly string[]): string {
  return `${cells.map(cell => cell.padStart(11)).join('')}  ${name}`
}

function writeConclusion({ groups, summary }: SharingReport, output: Output): void {
  const { files, data, stored, saved, outside, duplicate } = summary
  const found = groups.length > 0 ? `sharing saves ${formatBytes(saved)}` : 'nothing is shared among them'
  output.line(
    `${count(files, 'file')}, ${formatBytes(data)} of data in ${formatBytes(stored)} of storage: ${found}`,
  )
  if (outside > 0) output.line(`${formatBytes(outside)} of it is shared with others than these files`)
  if (duplicate !== undefined)
    output.line(`dedup would save ${formatBytes(duplicate)} more: equal, but not shared`)
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
