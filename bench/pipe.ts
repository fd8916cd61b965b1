/**
 * Sends a tree through `reftar create | reftar extract`, two processes and a pipe, and measures what it took and
 * what arrived: `npx tsx bench/pipe.ts SOURCE_DIR NAME TARGET_DIR [--json] [--cli FILE]`.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, readdirSync } from 'node:fs'
import { join, normalize } from 'node:path'
import { parseArgs } from 'node:util'
import { compareTrees } from '../test/support/compare-trees.js'
import { regularFiles, type Storage, sharingKept, storage } from '../test/support/fiemap.js'
import { type PipelineOutcome, reftarCommand, runPipeline } from './pipeline.js'
import { printTable } from './table.js'

const MIB = 1024 * 1024
const DIFFERENCES_SHOWN = 5

type Place = { source: string; name: string; target: string }

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean', default: false }, cli: { type: 'string' } },
  })
  const [source, name, target, ...rest] = positionals
  if (source === undefined || name === undefined || target === undefined || rest.length > 0) {
    throw new Error('usage: npx tsx bench/pipe.ts SOURCE_DIR NAME TARGET_DIR [--json] [--cli FILE]')
  }
  mkdirSync(target, { recursive: true })
  if (readdirSync(target).length > 0) throw new Error(`${target} is not empty`)

  const reftar = reftarCommand(values.cli)
  const create = [...reftar, 'create', '-C', source, name]
  const extract = [...reftar, 'extract', '-C', target]

  const outcome = await runPipeline(create, extract)
  const syncStart = performance.now()
  execFileSync('sync', ['--file-system', target])
  const syncSeconds = (performance.now() - syncStart) / 1000
  const archiveBytes = await countArchiveBytes(create)

  const result = {
    ...costs(outcome),
    syncSeconds,
    archiveBytes,
    ...compare({ source, name, target }, archiveBytes),
  }
  if (values.json) console.log(JSON.stringify(result, null, 2))
  else print(result)

  const succeeded = result.createExit === 0 && result.extractExit === 0 && result.differences === 0
  if (!succeeded) process.exitCode = 1
}

/** The archive's size comes from a run of its own, so that nothing stands between the two processes being timed. */
async function countArchiveBytes(create: string[]): Promise<number> {
  const { left, right } = await runPipeline(create, ['wc', '-c'])
  if (left.exitCode !== 0) console.error(`the run that counts archive bytes: exit status ${left.exitCode}`)
  return Number(right.output)
}

function costs({ seconds, left, right }: PipelineOutcome) {
  return {
    seconds,
    createSeconds: left.seconds,
    createPeakBytes: left.peakBytes,
    createExit: left.exitCode,
    extractSeconds: right.seconds,
    extractPeakBytes: right.peakBytes,
    extractExit: right.exitCode,
  }
}

function compare({ source, name, target }: Place, archiveBytes: number) {
  const files = filesAt(source, name)
  const arrived = filesAt(target, name)
  const differences = differencesAt({ source, name, target })
  const sourceStorage = storage(files.map(file => pathOf(source, file)))
  const restoredStorage = storage(arrived.map(file => pathOf(target, file)))
  const { keptShared } = sharingKept(source, target, inBoth(files, arrived))
  return {
    files: files.length,
    differences: differences.length,
    firstDifferences: differences.slice(0, DIFFERENCES_SHOWN),
    sourceStorage,
    restoredStorage,
    keptShared,
    keptShare: ratio(keptShared, sourceStorage.shared), // of all files, so what did not arrive counts as lost
    storageRatio: ratio(restoredStorage.unique, sourceStorage.unique),
    archiveRatio: ratio(archiveBytes, sourceStorage.unique),
  }
}

type Result = ReturnType<typeof costs> &
  ReturnType<typeof compare> & { syncSeconds: number; archiveBytes: number }

function differencesAt({ source, name, target }: Place): string[] {
  const restored = join(target, name)
  if (!existsSync(restored)) return [`${restored} was not restored`]
  // The target directory itself was there before, and keeps the metadata that it had.
  return compareTrees(join(source, name), restored, { root: normalize(name) !== '.' })
}

/** The regular files at or below `name`, as paths relative to `root`; none where `name` does not exist. */
function filesAt(root: string, name: string): Buffer[] {
  const stats = lstatSync(join(root, name), { throwIfNoEntry: false })
  if (stats?.isFile()) return [Buffer.from(name)]
  return stats?.isDirectory() ? regularFiles(join(root, name)).map(file => pathOf(name, file)) : []
}

/** Names are bytes that need not be UTF-8, so paths are put together as bytes. */
function pathOf(root: string, file: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`), file])
}

function inBoth(files: Buffer[], others: Buffer[]): Buffer[] {
  const known = new Set(others.map(file => file.toString('latin1')))
  return files.filter(file => known.has(file.toString('latin1')))
}

function print(result: Result): void {
  printTable([
    ['', 'seconds', 'peak MiB', 'exit'],
    ['create', seconds(result.createSeconds), mib(result.createPeakBytes), String(result.createExit)],
    ['extract', seconds(result.extractSeconds), mib(result.extractPeakBytes), String(result.extractExit)],
    ['both', seconds(result.seconds)],
    ['sync afterwards', seconds(result.syncSeconds)],
  ])
  console.log()
  printTable([
    ['MiB', 'apparent', 'unique', 'shared'],
    ['source', ...storageCells(result.sourceStorage)],
    ['restored', ...storageCells(result.restoredStorage)],
  ])
  console.log()
  printTable([
    ['regular files', String(result.files)],
    ['differences', String(result.differences)],
    ['archive bytes', String(result.archiveBytes)],
    ['archive bytes / unique bytes', fixed(result.archiveRatio)],
    ['restored storage / source storage', fixed(result.storageRatio)],
    ['shared bytes kept', result.keptShare === null ? 'none to keep' : `${fixed(result.keptShare * 100)} %`],
  ])
  for (const difference of result.firstDifferences) console.log(`difference: ${difference}`)
  if (result.differences > DIFFERENCES_SHOWN) console.log('difference: ...')
}

function storageCells({ apparent, unique, shared }: Storage): string[] {
  return [apparent, unique, shared].map(mib)
}

/** Null where there is nothing to divide by, which JSON can say too. */
function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole
}

function fixed(value: number | null): string {
  return value === null ? '-' : value.toFixed(4)
}

function seconds(value: number): string {
  return value.toFixed(2)
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(1)
}

try {
  await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
