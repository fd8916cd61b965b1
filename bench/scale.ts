/**
 * Whether memory stays flat and time linear: `npm run bench:scale -- --help`. The same at one size and at twice that
 * size, each in processes of its own: archives from a generator, read by `reftar verify`; and where they can be
 * restored, `reftar extract` and `reftar create` of what was restored.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Command, type Outcome, reftarCommand, runPipeline } from './pipeline.js'
import { printTable } from './table.js'

const MIB = 1024 * 1024
const GIB = 1024 * MIB

interface Case {
  readonly name: 'data' | 'entries' | 'references' | 'fragments'
  /** The smaller one of the two sizes. */
  readonly count: number
  readonly full: number
  /** What one item is: a number of counts. */
  readonly item: number
  readonly itemName: string
  readonly isRestored: boolean
}

const CASES: readonly Case[] = [
  { name: 'data', count: 4 * GIB, full: 512 * GIB, item: MIB, itemName: 'MiB', isRestored: false },
  { name: 'entries', count: 50_000, full: 500_000, item: 1, itemName: 'entry', isRestored: true },
  { name: 'references', count: 500_000, full: 5_000_000, item: 1, itemName: 'reference', isRestored: true },
  { name: 'fragments', count: 50_000, full: 500_000, item: 1, itemName: 'reference', isRestored: true },
]

const GENERATOR = [
  process.execPath,
  '--import',
  import.meta.resolve('tsx'),
  fileURLToPath(new URL('scale/generate.ts', import.meta.url)),
]
const CAT = ['sh', '-c', 'exec cat > /dev/null']

const USAGE = `usage: npm run bench:scale [-- OPTIONS]
  --full                1 TiB of data, a million entries, ten million references, a million of them in one file
  --cases A,B           of ${CASES.map(({ name }) => name).join(', ')}
  --directory DIR       restore there, too, and archive that: on a filesystem that can reflink
  --cli FILE            measure another build of reftar`

type Outcomes = ReadonlyMap<string, Outcome>

async function measure(
  name: string,
  count: number,
  restoreTo: string | undefined,
  reftar: Command,
): Promise<Outcomes> {
  const generate = [...GENERATOR, name, String(count)]
  const verified = await piped(generate, [...reftar, 'verify'])
  const outcomes = new Map([
    ['stages to an archive', verified.left],
    ['verify', verified.right],
  ])
  if (restoreTo === undefined) return outcomes
  const target = mkdtempSync(join(restoreTo, 'reftar-scale-'))
  try {
    const extracted = await piped(generate, [...reftar, 'extract', '-C', target])
    outcomes.set('extract', extracted.right)
    const created = await piped([...reftar, 'create', '-C', target, name], CAT)
    outcomes.set('create', created.left)
  } finally {
    rmSync(target, { recursive: true })
  }
  return outcomes
}

async function piped(left: Command, right: Command) {
  const outcome = await runPipeline(left, right)
  for (const [command, { exitCode }] of [[left, outcome.left] as const, [right, outcome.right] as const]) {
    if (exitCode !== 0) throw new Error(`${command.join(' ')}: exit status ${exitCode}`)
  }
  return outcome
}

function print(
  { itemName, item }: Case,
  counts: readonly [number, number],
  once: Outcomes,
  twice: Outcomes,
): void {
  const [x, xx] = counts.map(count => (count / item).toLocaleString('en')) as [string, string]
  const rows = [...once].map(([what, { seconds, peakBytes }]) => {
    const { seconds: seconds2 = 0, peakBytes: peakBytes2 = 0 } = twice.get(what) ?? {}
    return [
      what,
      seconds.toFixed(2),
      seconds2.toFixed(2),
      (seconds2 / seconds).toFixed(2),
      ((1e6 * seconds2 * item) / counts[1]).toFixed(1),
      (peakBytes / MIB).toFixed(0),
      (peakBytes2 / MIB).toFixed(0),
      (((peakBytes2 - peakBytes) * item) / counts[0]).toFixed(0),
    ]
  })
  const unit = `1 ${itemName}`
  const header = ['', `s at ${x}`, `s at ${xx}`, 'ratio', `us for ${unit}`, `peak MiB at ${x}`, `at ${xx}`]
  printTable([[...header, `more bytes for ${unit}`], ...rows])
  console.log()
}

async function main(): Promise<void> {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  const { values } = parseArgs({
    options: { full: flag, help: flag, cases: text, directory: text, cli: text },
  })
  if (values.help) return console.log(USAGE)
  const wanted = values.cases?.split(',') ?? CASES.map(({ name }) => name)
  const reftar = reftarCommand(values.cli && resolve(values.cli))
  for (const each of CASES.filter(({ name }) => wanted.includes(name))) {
    const count = values.full ? each.full : each.count
    const restoreTo = each.isRestored ? values.directory : undefined
    const once = await measure(each.name, count, restoreTo, reftar)
    const twice = await measure(each.name, 2 * count, restoreTo, reftar)
    print(each, [count, 2 * count], once, twice)
  }
}

try {
  await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
