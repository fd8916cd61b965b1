/** Makes the corpora that the benchmarks run on: `npx tsx bench/corpora.ts NAME DIRECTORY [--seed TEXT]`. */
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { RandomBytes } from './random.js'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB
const TIB = 1024 * GIB

const BLOCK = 4 * KIB

const TEMPLATE_SIZE = 256 * MIB
const CLONES = 9
const RUN_SIZE = 32 * KIB
const REWRITTEN_SHARE = 0.01

const TREES = 5
const TREE_FILES = 14_000

/** Each corpus fills one directory, which exists and is empty. */
const corpora = { vm: makeVm, worktrees: makeWorktrees, unique: makeUnique, sparse: makeSparse }

export type CorpusName = keyof typeof corpora

export const corpusNames = Object.keys(corpora) as CorpusName[]

/** Makes the corpus `name` in `directory`/`name`, syncs it to disk and returns that path. */
export function makeCorpus(name: CorpusName, directory: string, seed = 'reftar'): string {
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) {
    throw new Error(`${directory} is not an existing directory`)
  }
  const target = join(directory, name)
  if (existsSync(target)) throw new Error(`${target} exists already: remove it first`)
  checkReflink(directory)

  mkdirSync(target)
  corpora[name](target, `${seed}/${name}`)
  execFileSync('sync', ['--file-system', target])
  return target
}

/** One template of random bytes and its clones, each of which has gone its own way in 1 % of its blocks. */
function makeVm(target: string, seed: string): void {
  const template = join(target, 'template.img')
  writeRandomFile(template, TEMPLATE_SIZE, `${seed}/template`)
  for (let number = 1; number <= CLONES; number++) {
    const clone = join(target, `clone-${number}.img`)
    copy(['--reflink=always'], template, clone)
    rewriteRuns(clone, `${seed}/clone-${number}`)
  }
}

function rewriteRuns(file: string, seed: string): void {
  const random = new RandomBytes(seed)
  const descriptor = openSync(file, 'r+')
  for (const position of pickRuns(random)) writeFully(descriptor, random.bytes(RUN_SIZE), position)
  fsyncSync(descriptor)
  closeSync(descriptor)
}

/** Positions of runs that are aligned to blocks, do not overlap, and together make up the share to rewrite. */
function pickRuns(random: RandomBytes): number[] {
  const wanted = Math.round((TEMPLATE_SIZE * REWRITTEN_SHARE) / RUN_SIZE)
  const positions: number[] = []
  while (positions.length < wanted) {
    const candidate = random.below((TEMPLATE_SIZE - RUN_SIZE) / BLOCK + 1) * BLOCK
    if (positions.every(taken => Math.abs(taken - candidate) >= RUN_SIZE)) positions.push(candidate)
  }
  return positions.sort((a, b) => a - b)
}

/** A real tree of small files, and clones of it: what a monorepo checked out several times looks like. */
function makeWorktrees(target: string): void {
  const original = join(target, 'tree-0')
  const nodeModules = fileURLToPath(new URL('../node_modules', import.meta.url))
  copy(['--archive', '--reflink=auto'], nodeModules, original)
  growTree(original, TREE_FILES)
  for (let number = 1; number < TREES; number++) {
    copy(['--archive', '--reflink=always'], original, join(target, `tree-${number}`))
  }
}

/** Adds edited copies of the tree's own packages, in order of their names, until it has `minimum` regular files. */
function growTree(tree: string, minimum: number): void {
  const packages = readdirSync(tree, { withFileTypes: true })
    .filter(entry => entry.isDirectory() && !entry.name.startsWith('.'))
    .map(entry => entry.name)
    .sort()
  let files = regularFiles(tree).length
  if (files < minimum && packages.length === 0) throw new Error(`${tree} has no packages to copy`)

  for (let round = 1; files < minimum; round++) {
    for (const name of packages) {
      if (files >= minimum) return
      const added = join(tree, `${name}-copy-${round}`)
      copy(['--archive', '--reflink=auto'], join(tree, name), added)
      for (const file of regularFiles(added)) {
        files++
        writeFileSync(file, Buffer.concat([Buffer.from(`// file ${files}\n`), readFileSync(file)]))
      }
    }
  }
}

/** The regular files below a directory, in order of their paths; symbolic links are neither listed nor followed. */
function regularFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
    .sort()
}

function makeUnique(target: string, seed: string): void {
  writeRandomFile(join(target, 'random.bin'), GIB, seed)
}

/** A file of a little over 1 TiB with data at its start, at odd offsets in its middle, and in its unaligned tail. */
function makeSparse(target: string, seed: string): void {
  const random = new RandomBytes(seed)
  const tail = 2 * BLOCK + 1357
  const size = TIB + 1357
  const pieces = [
    { position: 0, length: 3 * BLOCK },
    { position: TIB / 2, length: 40_001 },
    { position: TIB / 2 + GIB + 777, length: BLOCK },
    { position: size - tail, length: tail },
  ]
  const descriptor = openSync(join(target, 'sparse.img'), 'wx')
  ftruncateSync(descriptor, size)
  for (const { position, length } of pieces) writeFully(descriptor, random.bytes(length), position)
  closeSync(descriptor)
}

function writeRandomFile(file: string, size: number, seed: string): void {
  const random = new RandomBytes(seed)
  const descriptor = openSync(file, 'wx')
  for (let position = 0; position < size; position += MIB) {
    writeFully(descriptor, random.bytes(Math.min(MIB, size - position)), position)
  }
  fsyncSync(descriptor)
  closeSync(descriptor)
}

function writeFully(descriptor: number, bytes: Buffer, position: number): void {
  let done = 0
  while (done < bytes.length) {
    done += writeSync(descriptor, bytes, done, bytes.length - done, position + done)
  }
}

function copy(options: string[], from: string, to: string): void {
  execFileSync('cp', [...options, '--', from, to])
}

function checkReflink(directory: string): void {
  const original = join(directory, '.reflink-probe')
  const clone = join(directory, '.reflink-probe-clone')
  try {
    writeFileSync(original, Buffer.alloc(4 * BLOCK, 'probe'), { flag: 'wx' })
    copyFileSync(original, clone, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL)
  } catch (cause) {
    throw new Error(`cannot reflink in ${directory}: a corpus needs a filesystem such as btrfs or XFS`, {
      cause,
    })
  } finally {
    rmSync(original, { force: true })
    rmSync(clone, { force: true })
  }
}

function isCorpusName(name: string | undefined): name is CorpusName {
  return corpusNames.some(known => known === name)
}

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seed: { type: 'string', default: 'reftar' } },
  })
  const [name, directory, ...rest] = positionals
  if (!isCorpusName(name) || directory === undefined || rest.length > 0) {
    throw new Error(`usage: npx tsx bench/corpora.ts ${corpusNames.join('|')} DIRECTORY [--seed TEXT]`)
  }
  console.log(makeCorpus(name, directory, values.seed))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main()
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}
