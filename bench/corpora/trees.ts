/** Corpora of many files. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { RandomBytes } from '../random.js'
import { copy, KIB, type MakeCorpus, MIB, regularFiles, rewriteRuns, writeRandomFile } from './files.js'

const NODE_MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url))

const TREES = 5
const TREE_FILES = 14_000
const WIDE_DIRECTORY = 1000
const SNAPSHOTS = 10
const CHANGED_SHARE = 0.01

/** A real tree of small files. */
export const makeSmall: MakeCorpus = target => {
  copy(['--archive', '--reflink=auto'], NODE_MODULES, join(target, 'node_modules'))
}

/** A real tree of small files, and clones of it: what a monorepo checked out several times looks like. */
export const makeWorktrees: MakeCorpus = (target, _seed, quick) => {
  const original = join(target, 'tree-0')
  copy(['--archive', '--reflink=auto'], NODE_MODULES, original)
  growTree(original, TREE_FILES)
  for (let number = 1; number < (quick ? 2 : TREES); number++) {
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

/** Nothing but small files, of 0 to 4 KiB. */
export const makeWide: MakeCorpus = (target, seed, quick) => {
  writeSmallFiles(target, quick ? 20_000 : 200_000, 4 * KIB + 1, seed)
}

function writeSmallFiles(target: string, count: number, limit: number, seed: string): string[] {
  const random = new RandomBytes(seed)
  const files: string[] = []
  for (let number = 0; number < count; number++) {
    const directory = join(target, String(Math.floor(number / WIDE_DIRECTORY)).padStart(3, '0'))
    if (number % WIDE_DIRECTORY === 0) mkdirSync(directory)
    const file = join(directory, String(number).padStart(6, '0'))
    writeFileSync(file, random.bytes(random.below(limit)))
    files.push(file)
  }
  return files
}

/** Read-only snapshots of a btrfs subvolume with an image and small files; 1 % of both changes between two of them. */
export const makeSnapshots: MakeCorpus = (target, seed, quick) => {
  const current = join(target, 'current')
  const size = quick ? 32 * MIB : 256 * MIB
  const image = join(current, 'disk.img')
  btrfs('subvolume', 'create', current)
  writeRandomFile(image, size, `${seed}/image`)
  const files = writeSmallFiles(current, quick ? 1000 : 8000, 64 * KIB, `${seed}/files`)
  for (let number = 0; number < SNAPSHOTS; number++) {
    if (number > 0) {
      const random = new RandomBytes(`${seed}/${number}`)
      rewriteRuns(image, size, 32 * KIB, CHANGED_SHARE, `${seed}/image-${number}`)
      for (let changes = 0; changes < files.length * CHANGED_SHARE; changes++) {
        writeFileSync(files[random.below(files.length)] ?? image, random.bytes(random.below(64 * KIB)))
      }
    }
    execFileSync('sync', ['--file-system', target])
    btrfs('subvolume', 'snapshot', '-r', current, join(target, `snapshot-${number}`))
  }
  execFileSync('rm', ['-rf', current]) // which needs no root
}

function btrfs(...command: string[]): void {
  execFileSync('btrfs', command, { stdio: ['ignore', 'ignore', 'inherit'] })
}
