import { release, type } from 'node:os'
import { pathBytes, type ReftarEvent } from '../event.js'
import { type Layout, type SampleFile, type SelftestStep, selftest } from '../selftest.js'
import { formatBytes } from './amounts.js'
import { escapePath, Output, pathFields } from './output.js'
import { DIFFERS, DONE, run } from './run.js'
import { abilityLine } from './selftest-words.js'

export interface SelftestCommand {
  readonly verbose: boolean
  readonly json: boolean
}

/** Of the runs of a picture, in bytes. */
const SMALLEST_SHOWN = 64 * 1024
const SLASH = 0x2f
const WAYS = { stream: 'as a stream', zeroCopy: 'by zero copy' } as const

export async function runSelftest(command: SelftestCommand, [place = '.']: readonly string[]): Promise<void> {
  const { verbose, json } = command
  const output = new Output({ ...command, stdoutIsTaken: false })
  await run(output, async signal => {
    const onStep = (step: SelftestStep) => {
      if (json) output.object(asObject(step, place))
      else for (const line of linesOf(step, place, verbose)) output.line(line)
      output.flush()
    }
    // The entries are no news: all of them were made here.
    const onEvent = (event: ReftarEvent) => event.type === 'entry' || output.event(event)
    const summary = await selftest(place, { signal, onStep, onEvent })
    const { problems } = summary
    const wrong = `${problems === 1 ? '1 thing' : `${problems} things`} did not come out right`
    if (!json) output.line(problems === 0 ? 'all of it came out right' : wrong)
    return { status: problems > 0 ? DIFFERS : DONE, summary }
  })
}

function asObject(step: SelftestStep, place: string) {
  if (step.type === 'filesystem') {
    return { ...step, path: pathBytes(place), system: type(), release: release(), root: isRoot() }
  }
  if (step.type !== 'compared' || !step.layout) return { ...step }
  const { layout, ...rest } = step
  const { runs, sharedBytes, keptBytes } = layout
  const named = runs.map(({ files, ...run }) => ({
    ...run,
    files: files.map(({ path }) => pathFields(path)),
  }))
  return { ...rest, sharedBytes, keptBytes, runs: named }
}

function* linesOf(step: SelftestStep, place: string, verbose: boolean) {
  switch (step.type) {
    case 'filesystem': {
      const user = isRoot() ? 'root' : 'a user without privileges'
      yield `${escapePath(pathBytes(place))} is on ${step.name}, with blocks of ${step.blockSize} bytes; ${type()} ${release()}, ${user}`
      break
    }
    case 'ability':
      yield abilityLine(step)
      break
    case 'made':
      yield `made ${step.files} files of ${formatBytes(step.size)}${part(', of which', step.sharedBytes, 'share storage')}`
      break
    case 'archived': {
      const cloned = part(', of which', step.zeroCopyBytes, 'were cloned into it')
      yield `archived ${WAYS[step.way]}: ${step.entries} entries in ${formatBytes(step.archiveBytes)}${cloned}`
      break
    }
    case 'restored': {
      const { writtenBytes, zeroCopyBytes, clonedBytes, copiedBytes } = step
      const cloned = part(',', zeroCopyBytes, 'cloned out of the archive') + part(',', clonedBytes, 'cloned')
      yield `restored ${WAYS[step.way]}: ${formatBytes(writtenBytes)} written${cloned}, ${formatBytes(copiedBytes)} copied`
      break
    }
    case 'compared':
      if (!step.layout?.sharedBytes) break
      if (verbose) yield* picture(step.layout)
      yield `sharing kept: ${formatBytes(step.layout.keptBytes)} of ${formatBytes(step.layout.sharedBytes)}`
  }
}

/** Which files lie where, before and after. */
function* picture({ runs }: Layout<SampleFile>) {
  const large = runs.filter(({ length }) => length >= SMALLEST_SHOWN)
  const rows = [
    ['source', 'restored', 'files'],
    ...large.map(({ source, restored, length, files }) => [
      range(source, length),
      range(restored, length),
      files.map(nameOf).join('  '),
    ]),
  ]
  const [first = 0, second = 0] = [0, 1].map(i => Math.max(...rows.map(row => row[i]?.length ?? 0)))
  yield 'files on the same blocks, in MiB from the start of the device:'
  for (const [source = '', restored = '', files] of rows)
    yield `  ${source.padStart(first)}  ${restored.padStart(second)}  ${files}`
}

function nameOf({ path }: SampleFile): string {
  return escapePath(path.subarray(path.lastIndexOf(SLASH) + 1))
}

function range(start: number, length: number): string {
  const mib = (bytes: number) => (bytes / 1024 ** 2).toFixed(2)
  return `${mib(start)} - ${mib(start + length)}`
}

/** Nothing of nothing. */
function part(before: string, bytes: number, after: string): string {
  return bytes === 0 ? '' : `${before} ${formatBytes(bytes)} ${after}`
}

function isRoot(): boolean {
  return process.geteuid?.() === 0
}
