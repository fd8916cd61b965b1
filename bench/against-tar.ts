/**
 * Times `reftar create` against GNU tar: `npx tsx bench/against-tar.ts SOURCE_DIR NAME [--runs 5] [--cli FILE]`.
 * Both write through `cat` into nothing, because GNU tar does not read the files when its own output is /dev/null.
 */
import { parseArgs } from 'node:util'
import { reftarCommand, runPipeline } from './pipeline.js'
import { printTable } from './table.js'

const CAT = ['sh', '-c', 'exec cat > /dev/null']

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { runs: { type: 'string', default: '5' }, cli: { type: 'string' } },
  })
  const [source, name, ...rest] = positionals
  const runs = Number(values.runs)
  if (source === undefined || name === undefined || rest.length > 0 || !Number.isInteger(runs) || runs < 1) {
    throw new Error('usage: npx tsx bench/against-tar.ts SOURCE_DIR NAME [--runs 5] [--cli FILE]')
  }
  const reftar = [...reftarCommand(values.cli), 'create', '-C', source, name]
  const tar = ['tar', '--create', '--file=-', '-C', source, name]

  await timeOf(reftar)
  await timeOf(tar)
  const reftarSeconds: number[] = []
  const tarSeconds: number[] = []
  const ratios: number[] = []
  for (let run = 0; run < runs; run++) {
    const ours = await timeOf(reftar)
    const theirs = await timeOf(tar)
    reftarSeconds.push(ours)
    tarSeconds.push(theirs)
    ratios.push(ours / theirs)
  }

  printTable([
    ['seconds', 'min', 'median', 'max'],
    ['reftar create | cat', ...spread(reftarSeconds)],
    ['tar --create | cat', ...spread(tarSeconds)],
    ['reftar / tar, by pairs', ...spread(ratios)],
  ])
}

async function timeOf(command: string[]): Promise<number> {
  const { seconds, left, right } = await runPipeline(command, CAT)
  if (left.exitCode !== 0) throw new Error(`${command.join(' ')}: exit status ${left.exitCode}`)
  if (right.exitCode !== 0) throw new Error(`cat: exit status ${right.exitCode}`)
  return seconds
}

function spread(values: number[]): string[] {
  return [Math.min(...values), median(values), Math.max(...values)].map(value => value.toFixed(3))
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const pair = sorted.slice(Math.ceil(middle) - 1, Math.floor(middle) + 1)
  return pair.reduce((sum, value) => sum + value, 0) / pair.length
}

try {
  await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
