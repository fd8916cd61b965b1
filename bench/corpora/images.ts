/** Corpora of a few large files. */
import { closeSync, fsyncSync, ftruncateSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { RandomBytes } from '../random.js'
import {
  BLOCK,
  copy,
  GIB,
  KIB,
  type MakeCorpus,
  MIB,
  rewriteRuns,
  TIB,
  writeFully,
  writeRandomFile,
} from './files.js'

const CLONES = 9
const RUN_SIZE = 32 * KIB
const REWRITTEN_SHARE = 0.01
const HOLE_PERIOD = 32 * KIB

/** One template of random bytes and its clones, each of which has gone its own way in 1 % of its blocks. */
export const makeVm: MakeCorpus = (target, seed, quick) => {
  const size = quick ? 64 * MIB : 256 * MIB
  const template = join(target, 'template.img')
  writeRandomFile(template, size, `${seed}/template`)
  for (let number = 1; number <= CLONES; number++) {
    const clone = join(target, `clone-${number}.img`)
    copy(['--reflink=always'], template, clone)
    rewriteRuns(clone, size, RUN_SIZE, REWRITTEN_SHARE, `${seed}/clone-${number}`)
  }
}

export const makeUnique: MakeCorpus = (target, seed, quick) => {
  writeRandomFile(join(target, 'random.bin'), quick ? 256 * MIB : GIB, seed)
}

/** Files of which every eighth block is data, and all others are holes. */
export const makeHoles: MakeCorpus = (target, seed, quick) => {
  const size = 64 * MIB
  for (let number = 1; number <= (quick ? 2 : 8); number++) {
    const random = new RandomBytes(`${seed}/${number}`)
    const descriptor = openSync(join(target, `holes-${number}.img`), 'wx')
    ftruncateSync(descriptor, size)
    for (let at = 0; at < size; at += HOLE_PERIOD) writeFully(descriptor, random.bytes(BLOCK), at)
    fsyncSync(descriptor)
    closeSync(descriptor)
  }
}

/** A file of a little over 1 TiB with data at its start, at odd offsets in its middle, and in its unaligned tail. */
export const makeSparse: MakeCorpus = (target, seed) => {
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
