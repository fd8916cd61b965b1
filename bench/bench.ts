/**
 * Compares reftar with other archivers: `npm run bench -- --help`. Everything that it makes, images of filesystems among
 * it, it takes away again, however it ends; what is timed happens in worker.ts.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type CorpusName, corpusNames } from './corpora.js'
import { type Bound, type CorpusFigures, type Measure, measures, type Report } from './figures.js'
import { FILESYSTEMS, type FilesystemName, withPlace } from './images.js'
import { evictionOf, type Place } from './place.js'
import { answerSignals, interruptedStatus, runScript } from './process-group.js'
import { boundRows, corpusRows, counted, describe, summaryRows } from './report.js'
import { printTable } from './table.js'
import { allTools } from './tools.js'
import type { WorkRequest, WorkResult } from './worker.js'

const IS_ROOT = process.geteuid?.() === 0
const CORPORA = corpusNames.filter(name => name !== 'sparse')
const WORKER = new URL('worker.ts', import.meta.url)

const USAGE = `usage: npm run bench [-- OPTIONS]
  --quick               smaller corpora, and one run
  --runs N              5 by default
  --corpora A,B         of ${CORPORA.join(', ')}
  --filesystems A,B     btrfs and xfs, from images that are made and mounted, as root; else here, the directory itself
  --directory DIR       where images or corpora are made; the directory for temporary files by default
  --tools A,B           of those that are installed
  --measures A,B        of ${measures.join(', ')}
  --json FILE           write the figures there too
  --cli FILE            measure another build of reftar`

interface Options {
  readonly work: Omit<WorkRequest, 'place' | 'output'>
  readonly filesystems: readonly FilesystemName[]
  readonly directory: string
  readonly json: string | undefined
}

function parse(): Options | undefined {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  const { values } = parseArgs({
    options: {
      quick: flag,
      help: flag,
      runs: text,
      corpora: text,
      filesystems: text,
      directory: text,
      tools: text,
      measures: text,
      json: text,
      cli: text,
    },
  })
  if (values.help) return undefined
  const runs = Number(values.runs ?? (values.quick ? 1 : 5))
  if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs ${values.runs}: expected 1 or more`)
  const installed = allTools(values.cli).filter(({ version }) => version !== undefined)
  return {
    work: {
      corpora: choose<CorpusName>('corpora', values.corpora, CORPORA),
      tools: choose(
        'tools',
        values.tools,
        installed.map(({ name }) => name),
      ),
      measures: choose<Measure>('measures', values.measures, measures),
      runs,
      quick: values.quick,
      cli: values.cli && resolve(values.cli),
    },
    filesystems: choose('filesystems', values.filesystems ?? (IS_ROOT ? 'btrfs,xfs' : 'here'), FILESYSTEMS),
    directory: resolve(values.directory ?? tmpdir()),
    json: values.json,
  }
}

/** In the order of the choices. */
function choose<T extends string>(option: string, text: string | undefined, choices: readonly T[]): T[] {
  if (text === undefined) return [...choices]
  const wanted = text.split(',')
  for (const found of wanted) {
    if (!choices.some(choice => choice === found))
      throw new Error(`--${option} ${found}: expected some of ${choices.join(', ')}`)
  }
  return choices.filter(choice => wanted.includes(choice))
}

async function measure({ work, filesystems, directory }: Options): Promise<Report> {
  const corpora: CorpusFigures[] = []
  const bounds: Bound[] = []
  const cold = new Set<string>()
  const scratch = await mkdtemp(join(tmpdir(), 'reftar-bench-'))
  // What is interrupted leaves its temporary files there.
  Object.assign(process.env, { TMPDIR: scratch })
  const onPlace = async (place: Place) => {
    const output = join(scratch, 'result.json')
    writeFileSync(output, '{"corpora":[],"bounds":[]}')
    cold.add(evictionOf(place))
    const request: WorkRequest = { ...work, place, output }
    const status = await runScript(WORKER, [JSON.stringify(request)])
    if (status !== 0) process.exitCode = 1
    const result = JSON.parse(readFileSync(output, 'utf8')) as WorkResult
    corpora.push(...result.corpora)
    bounds.push(...result.bounds)
  }
  try {
    for (const filesystem of filesystems) {
      if (interruptedStatus() === undefined) await withPlace(filesystem, directory, onPlace)
    }
  } finally {
    await rm(scratch, { recursive: true })
  }
  const versions = allTools(work.cli)
    .filter(({ name }) => work.tools.includes(name))
    .map(({ name, version = '' }) => [name, version])
  return {
    machine: machine(),
    versions: Object.fromEntries(versions),
    runs: work.runs,
    quick: work.quick,
    cold: [...cold].join('; '),
    corpora,
    bounds,
  }
}

function machine(): Record<string, string> {
  const [cpu] = cpus()
  return {
    processor: `${cpus().length} x ${cpu?.model.trim() ?? 'unknown'}`,
    memory: `${(totalmem() / 1024 ** 3).toFixed(0)} GiB`,
    kernel: `Linux ${release()}`,
    node: process.version,
  }
}

function print(report: Report): void {
  console.log(
    `Medians of ${counted(report.runs, 'run')}, in parentheses how many times as fast as tar in the same run. The cache is warm; for\n` +
      `what is cold it was ${report.cold}. What is synced includes one sync of the filesystem.\n` +
      'What is taken, by the count of the filesystem / by the addresses of data.\n',
  )
  for (const corpus of report.corpora) {
    console.log(describe(corpus))
    printTable(corpusRows(corpus))
    console.log()
  }
  console.log('reftar: how many times as fast as tar')
  printTable(summaryRows(report.corpora))
  console.log()
  printTable(boundRows(report.bounds))
}

answerSignals()
try {
  const options = parse()
  if (options) {
    const report = await measure(options)
    if (interruptedStatus() === undefined) print(report)
    if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`)
  } else {
    console.log(USAGE)
  }
} catch (error) {
  console.error(error instanceof Error ? error.message.trim() : error)
  process.exitCode = 1
}
process.exitCode = interruptedStatus() ?? process.exitCode ?? 0
