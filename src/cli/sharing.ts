import { setImmediate } from 'node:timers/promises'
import { sharing } from '../sharing.js'
import type { FileUsage, SharedRange, SharingGroup, SharingReport, Usage } from '../sharing-report.js'
import { count, formatBytes } from './amounts.js'
import { escapePath, Output, pathFields } from './output.js'
import { DIFFERS, DONE, run } from './run.js'

export interface SharingCommand {
  readonly directory: string
  readonly content: boolean
  readonly verbose: boolean
  readonly progress?: boolean
  readonly json: boolean
}

/** How many of each kind are named where not all are asked for. */
const SHOWN = 10
/** How many lines are written in one go. */
const BATCH = 1000

export async function runSharing(command: SharingCommand, paths: readonly string[]): Promise<void> {
  const { directory, content, verbose, json } = command
  const output = new Output({ ...command, stdoutIsTaken: false })
  await run(output, async (signal, progress) => {
    const found = { files: 0, logicalBytes: 0, bytesRead: 0 }
    progress.follow(() => ({ ...found, entries: found.files }))
    const options = { directory, content, signal, progress: found }
    const report = await sharing(paths, { ...options, onEvent: output.event })
    if (json) {
      await each(jsonObjects(report), signal, object => output.object(object))
    } else {
      await each(textLines(report, verbose), signal, line => output.line(line))
    }
    return { status: report.summary.problems > 0 ? DIFFERS : DONE, summary: report.summary }
  })
}

/** Makes way for signals now and then. */
async function each<T>(items: Iterable<T>, signal: AbortSignal, write: (item: T) => void): Promise<void> {
  let written = 0
  for (const item of items) {
    write(item)
    if (++written % BATCH > 0) continue
    await setImmediate()
    signal.throwIfAborted()
  }
}

function* jsonObjects({ files, duplicates = [], ranges }: SharingReport) {
  for (const { places, ...range } of ranges()) {
    const files = places.map(({ file, offset }) => ({ ...pathFields(file.path), offset }))
    yield { type: 'range', ...range, files }
  }
  for (const { path, apparent, data, unique, shared, outside } of files)
    yield { type: 'file', path, apparent, data, unique, shared, outside }
  for (const { path, earlier, bytes } of duplicates)
    yield { type: 'duplicate', path, bytes, earlier: pathFields(earlier) }
}

function* textLines(report: SharingReport, all: boolean) {
  if (all) for (const range of report.ranges()) yield* rangeLines(range)
  else yield* groupLines(report.groups)
  yield* duplicateLines(report, all)
  yield* fileLines(report, all)
  yield* conclusion(report)
}

function* groupLines(groups: readonly SharingGroup[]) {
  for (const { largest, ranges, bytes } of groups.slice(0, SHOWN)) {
    yield* rangeLines(largest, SHOWN)
    if (ranges > 1)
      yield `  and ${count(ranges - 1, 'more range')} of these files, ${bytes - largest.bytes} bytes`
  }
  const more = groups.length - SHOWN
  if (more > 0) yield `and ${count(more, 'more set')} of files that share (-v names all)`
}

function* rangeLines({ block, bytes, compressed, places }: SharedRange, most = places.length) {
  yield `physical block ${block}${compressed ? ' (compressed)' : ''} shared by:`
  for (const { file, offset } of places.slice(0, most))
    yield `  ${escapePath(file.path)}  offset ${offset}, ${bytes} bytes`
  if (places.length > most) yield `  and ${count(places.length - most, 'more place')}`
}

function* duplicateLines({ duplicates = [] }: SharingReport, all: boolean) {
  const shown = all ? duplicates : duplicates.slice(0, SHOWN)
  for (const { path, earlier, bytes } of shown)
    yield `${escapePath(path)}  ${bytes} bytes equal to ${escapePath(earlier)}, not shared`
  const more = duplicates.length - shown.length
  if (more > 0) yield `and ${count(more, 'more pair')} of files with equal bytes (-v names all)`
}

function* fileLines({ files, summary }: SharingReport, all: boolean) {
  const shown = all ? files : mostShared(files).slice(0, SHOWN)
  if (shown.length === 0) return
  yield row('file', ['apparent', 'unique', 'shared', 'outside'])
  for (const file of shown) yield row(escapePath(file.path), cells(file))
  const more = files.length - shown.length
  if (more > 0) yield `and ${count(more, 'more file')}`
  yield row('total', cells(summary))
}

function mostShared(files: readonly FileUsage[]): FileUsage[] {
  return files
    .filter(({ shared, outside }) => shared + outside > 0)
    .sort((a, b) => b.shared + b.outside - a.shared - a.outside)
}

function cells({ apparent, unique, shared, outside }: Usage): string[] {
  return [apparent, unique, shared, outside].map(formatBytes)
}

function row(name: string, cells: readonly string[]): string {
  return `${cells.map(cell => cell.padStart(11)).join('')}  ${name}`
}

function* conclusion({ groups, summary }: SharingReport) {
  const { files, data, stored, saved, outside, duplicate } = summary
  const found = groups.length > 0 ? `sharing saves ${formatBytes(saved)}` : 'nothing is shared among them'
  yield `${count(files, 'file')}, ${formatBytes(data)} of data in ${formatBytes(stored)} of storage: ${found}`
  if (outside > 0) yield `at most ${formatBytes(outside)} of it is shared with others than these files`
  if (duplicate !== undefined) yield `dedup would save ${formatBytes(duplicate)} more: equal, but not shared`
}
