/** Makes the corpora that the benchmarks run on: `npx tsx bench/corpora.ts NAME DIRECTORY [--seed TEXT] [--quick]`. */
import { execFileSync } from 'node:child_process'
import { constants, copyFileSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { BLOCK } from './corpora/files.js'
import { makeHoles, makeSparse, makeUnique, makeVm } from './corpora/images.js'
import { makeSmall, makeSnapshots, makeWide, makeWorktrees } from './corpora/trees.js'

const corpora = {
  vm: makeVm,
  worktrees: makeWorktrees,
  unique: makeUnique,
  small: makeSmall,
  wide: makeWide,
  holes: makeHoles,
  snapshots: makeSnapshots,
  sparse: makeSparse,
}

export type CorpusName = keyof typeof corpora

export const corpusNames = Object.keys(corpora) as CorpusName[]

interface CorpusOptions {
  readonly seed?: string
  /** Less of the same. */
  readonly quick?: boolean
}

/** Makes the corpus `name` in `directory`/`name`, syncs it to disk and returns that path. */
export function makeCorpus(name: CorpusName, directory: string, options: CorpusOptions = {}): string {
  const { seed = 'reftar', quick = false } = options
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) {
    throw new Error(`${directory} is not an existing directory`)
  }
  const target = join(directory, name)
  if (existsSync(target)) throw new Error(`${target} exists already: remove it first`)
  checkReflink(directory)

  mkdirSync(target)
  corpora[name](target, `${seed}/${name}`, quick)
  execFileSync('sync', ['--file-system', target])
  return target
}

/** @throws where files cannot share storage */
export function checkReflink(directory: string): void {
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

export function isCorpusName(name: string | undefined): name is CorpusName {
  return corpusNames.some(known => known === name)
}

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seed: { type: 'string', default: 'reftar' }, quick: { type: 'boolean', default: false } },
  })
  const [name, directory, ...rest] = positionals
  if (!isCorpusName(name) || directory === undefined || rest.length > 0) {
    throw new Error(
      `usage: npx tsx bench/corpora.ts ${corpusNames.join('|')} DIRECTORY [--seed TEXT] [--quick]`,
    )
  }
  console.log(makeCorpus(name, directory, values))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main()
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}
