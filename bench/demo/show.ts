/** What there is to see in the demo: `show.ts DIRECTORY reflink|copy`. */
import * as fs from 'node:fs'
import { basename, join } from 'node:path'
import { compareTrees } from '../../test/support/compare-trees.js'
import { regularFiles, sharingKept, storage } from '../../test/support/fiemap.js'
import { type PipelineOutcome, reftarCommand, runPipeline } from '../pipeline.js'
import { RandomBytes } from '../random.js'
import { printTable } from '../table.js'
import { type Run, sharedRuns } from './shared-runs.js'

const KIB = 1024
const MIB = 1024 * KIB
const TEMPLATE_SIZE = 64 * MIB
const SPARSE_SIZE = 64 * MIB
const CHANGE_SIZE = MIB
const CLONES = ['vm-1', 'vm-2', 'vm-3']
const ROWS_SHOWN = 16
const DIFFERENCES_SHOWN = 5
const TAR_BLOCK = 512
const TAR_RECORD = 10_240

interface Summary {
  readonly archive: { readonly archiveBytes: number; readonly entries: number }
  readonly target: {
    readonly writtenBytes: number
    readonly clonedBytes: number
    readonly copiedBytes: number
    readonly copyReasons: Readonly<Record<string, number>>
  }
}

/** Returns whether all that was restored is as it was. */
async function main([directory = '', how = '']: string[]): Promise<boolean> {
  const canReflink = how === 'reflink'
  const source = join(directory, 'source')
  const target = join(directory, 'target')
  const restored = join(target, 'source')
  fs.mkdirSync(source)
  fs.mkdirSync(target)
  makeTree(source, canReflink)

  const reftar = reftarCommand()
  const create = [...reftar, 'create', '-C', directory, 'source']
  const extract = [...reftar, 'extract', '-C', target, '--json']
  const outcome = await runPipeline(create, extract)
  const summary = summaryOf(outcome)
  const ended = summary ? `${outcome.seconds.toFixed(1)} s` : exits(outcome)
  console.log(`\n$ reftar create source | reftar extract -C target    # ${ended}\n`)
  if (!summary) return false

  if (canReflink) printRuns(sharedRuns(source, restored))
  printSizes(source, restored, canReflink, summary.archive.archiveBytes)
  console.log(`\n${restoring(summary, canReflink)}`)
  const isIdentical = checkContent(source, restored, summary.archive.entries)
  const isShared = !canReflink || checkSharing(source, restored)
  return isIdentical && isShared
}

/** A template with clones that differ a little, and what else a tree may hold. */
function makeTree(source: string, canReflink: boolean): void {
  const random = new RandomBytes('reftar demo')
  const images = join(source, 'images')
  const notes = join(source, 'notes')
  fs.mkdirSync(images)
  fs.mkdirSync(notes)

  const template = join(images, 'template')
  fs.writeFileSync(template, random.bytes(TEMPLATE_SIZE))
  for (const [index, name] of CLONES.entries()) {
    const clone = join(images, name)
    fs.copyFileSync(template, clone, canReflink ? fs.constants.COPYFILE_FICLONE_FORCE : 0)
    overwrite(clone, (8 + 16 * index) * MIB, random.bytes(CHANGE_SIZE))
  }

  const text = join(notes, 'text')
  fs.writeFileSync(text, random.bytes(20 * KIB).toString('base64'))
  fs.linkSync(text, join(notes, 'text-again'))
  fs.symlinkSync('text', join(notes, 'symlink'))
  const sparse = join(notes, 'sparse')
  fs.writeFileSync(sparse, '')
  fs.truncateSync(sparse, SPARSE_SIZE)
  overwrite(sparse, SPARSE_SIZE / 2, random.bytes(64 * KIB))

  const copies = canReflink ? "clones of it, as 'cp --reflink' makes them" : 'copies of it'
  console.log(`source/images/template  ${mib(TEMPLATE_SIZE)} MiB of random bytes`)
  console.log(
    `source/images/...       ${CLONES.join(', ')}: ${copies}, ${mib(CHANGE_SIZE)} MiB of each changed`,
  )
  console.log(
    `source/notes/...        text, a hard link and a symlink to it, a sparse file of ${mib(SPARSE_SIZE)} MiB`,
  )
}

function overwrite(file: string, position: number, bytes: Uint8Array): void {
  const fd = fs.openSync(file, 'r+')
  fs.writeSync(fd, bytes, 0, bytes.byteLength, position)
  fs.closeSync(fd)
}

/** Of `extract`; undefined when one of the two failed. */
function summaryOf({ left, right }: PipelineOutcome): Summary | undefined {
  if (left.exitCode !== 0 || right.exitCode !== 0) return undefined
  return JSON.parse(right.output.trimEnd().split('\n').at(-1) ?? '')
}

function exits({ left, right }: PipelineOutcome): string {
  return `exit status ${left.exitCode} | ${right.exitCode}`
}

function printRuns(runs: readonly Run[]): void {
  console.log('Files on the same physical blocks (where they lie on the device, in MiB):\n')
  const range = (start: number, length: number) => `${mib(start, 2)} - ${mib(start + length, 2)}`
  const rows = runs.slice(0, ROWS_SHOWN).map(({ source, restored, length, files }) => {
    return [
      range(source, length),
      range(restored, length),
      files.map(file => basename(file)).join(' '),
    ] as const
  })
  const header = ['source', 'restored', 'files'] as const
  const widths = [0, 1].map(column => Math.max(...[header, ...rows].map(row => row[column]?.length ?? 0)))
  for (const [source, restored, files] of [header, ...rows]) {
    console.log(`  ${source.padStart(widths[0] ?? 0)}   ${restored.padStart(widths[1] ?? 0)}   ${files}`)
  }
  if (runs.length > rows.length) console.log(`  ... and ${runs.length - rows.length} more`)
  console.log()
}

function printSizes(source: string, restored: string, canReflink: boolean, archiveBytes: number): void {
  const sizes = (root: string) => [mib(apparentBytes(root)), mib(realBytes(root, canReflink))]
  printTable([
    ['MiB', 'apparent', 'on disk'],
    ['source', ...sizes(source)],
    ['restored', ...sizes(restored)],
    ['archive', '', mib(archiveBytes)],
    ['  tar would make', '', mib(tarBytes(source))],
  ])
}

/** Each file counts once, whatever names it has, and holes count. */
function apparentBytes(root: string): number {
  const inodes = new Map(fileStats(root).map(({ ino, size }) => [ino, size]))
  return sum(inodes.values())
}

/** What is shared counts once. */
function realBytes(root: string, canReflink: boolean): number {
  if (canReflink) return storage(regularFiles(root).map(name => join(root, String(name)))).unique
  const inodes = new Map(fileStats(root).map(({ ino, blocks }) => [ino, blocks * 512]))
  return sum(inodes.values())
}

/** Without `--sparse`: a header for each name, content in whole blocks, and an end. */
function tarBytes(root: string): number {
  const names = 1 + fs.readdirSync(root, { recursive: true }).length
  const contents = new Map(fileStats(root).map(({ ino, size }) => [ino, roundUp(size, TAR_BLOCK)]))
  return roundUp(names * TAR_BLOCK + sum(contents.values()) + 2 * TAR_BLOCK, TAR_RECORD)
}

function fileStats(root: string): fs.Stats[] {
  return regularFiles(root).map(name => fs.lstatSync(join(root, String(name))))
}

function restoring({ target }: Summary, canReflink: boolean): string {
  const { writtenBytes, clonedBytes, copiedBytes, copyReasons } = target
  const reasons = Object.entries(copyReasons).map(([reason, bytes]) => `${reason}: ${mib(bytes)}`)
  const copied = copiedBytes > 0 ? ` (${reasons.join(', ')})` : ''
  const nothing = canReflink || clonedBytes + copiedBytes > 0 ? '' : '; nothing was shared in the source'
  return (
    `Restored from ${mib(writtenBytes)} MiB of data, ${mib(clonedBytes)} MiB of clones ` +
    `and ${mib(copiedBytes)} MiB of copies${copied}${nothing}.`
  )
}

function checkContent(source: string, restored: string, entries: number): boolean {
  const differences = compareTrees(source, restored, { root: true })
  for (const difference of differences.slice(0, DIFFERENCES_SHOWN)) console.log(`Differs: ${difference}`)
  if (differences.length > DIFFERENCES_SHOWN) console.log(`Differs: ${differences.length} in all`)
  if (differences.length > 0) return false
  console.log(`Identical: all ${entries} entries, with content, holes, links, owners, modes and times.`)
  return true
}

function checkSharing(source: string, restored: string): boolean {
  const { sourceShared, keptShared } = sharingKept(source, restored, regularFiles(source))
  console.log(`Sharing kept: ${mib(keptShared)} of ${mib(sourceShared)} MiB.`)
  return sourceShared > 0 && keptShared === sourceShared
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit
}

function sum(values: Iterable<number>): number {
  let total = 0
  for (const value of values) total += value
  return total
}

function mib(bytes: number, digits = 1): string {
  return (bytes / MIB).toFixed(digits)
}

if (!(await main(process.argv.slice(2)))) process.exitCode = 1
