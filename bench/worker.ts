/** The work of bench.ts on one filesystem: `worker.ts JSON`. Its results go to the file that the request names. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { measureBounds } from './bounds.js'
import { type CorpusName, makeCorpus } from './corpora.js'
import { measureCorpus } from './corpus-run.js'
import type { Bound, CorpusFigures, Measure } from './figures.js'
import { reftarCommand } from './pipeline.js'
import { type Place, remove } from './place.js'
import { allTools } from './tools.js'

export interface WorkRequest {
  readonly place: Place
  readonly corpora: readonly CorpusName[]
  readonly tools: readonly string[]
  readonly measures: readonly Measure[]
  readonly runs: number
  readonly quick: boolean
  readonly cli: string | undefined
  readonly output: string
}

export interface WorkResult {
  readonly corpora: readonly CorpusFigures[]
  readonly bounds: readonly Bound[]
}

async function main(request: WorkRequest): Promise<void> {
  const { place, measures, runs, quick, cli } = request
  const tools = allTools(cli).filter(({ name }) => request.tools.includes(name))
  const corpora: CorpusFigures[] = []
  const onProgress = (text: string) =>
    void process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`)
  for (const name of request.corpora) {
    if (name === 'snapshots' && place.filesystem !== 'btrfs') continue
    onProgress(`${place.filesystem} ${name}: is made`)
    makeCorpus(name, place.directory, { quick })
    corpora.push(await measureCorpus(place, name, tools, { measures, runs, onProgress }))
    remove(join(place.directory, name))
    save(request, { corpora, bounds: [] })
  }
  onProgress(`${place.filesystem}: bounds`)
  save(request, { corpora, bounds: await measureBounds(place, reftarCommand(cli)) })
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
}

/** After each corpus, so that what was measured is not lost when a later one fails. */
function save({ output }: WorkRequest, result: WorkResult): void {
  writeFileSync(output, JSON.stringify(result))
}

try {
  await main(JSON.parse(process.argv[2] ?? '') as WorkRequest)
} catch (error) {
  console.error(error instanceof Error ? `\n${error.message}` : error)
  process.exitCode = 1
}
