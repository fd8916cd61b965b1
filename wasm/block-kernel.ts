// The block kernel: CRC32, a second hash and the zero test of every block of a batch, in one call. AssemblyScript.
//
// CRC32 is a remainder modulo G, and polynomial.ts tells of the multiple Z of G, by which bits and bytes move. Thus:
//
// 1. `stripe` moves a block into its last 304 bytes, by Z^8 and sixteen bytes at a time. What moves away from a
//    byte is the byte and what moved onto it: m[i] = block[i] + m[i - 145] + m[i - 183] + m[i - 211] + m[i - 300].
// 2. `moved` does the same with the 76 words that are left, by Z and with shifts, so that 12 are left. Here the
//    words of four blocks lie side by side in a vector.
// 3. `reduce` takes those, one after the other, modulo G, as Barrett does; his two products are shifts as well.
//
// The second hash has a sum for each of the four words of sixteen bytes: exclusive or with the word, low half times
// LOW plus high half times HIGH, and plus what was multiplied the time before: so no step loses anything. Neither
// products nor carries follow a linear code. Last the sums and the length of the block are mixed into one word.
//
// A block that is short, or whose length is no multiple of 16, is led by zeros and the word START: a CRC that starts
// from 0 has come to its true initial value after them.

import { add, moved, reduce } from './polynomial'

/** Bytes. What moves furthest in `stripe`, 300, in whole vectors. */
const REST: usize = 304
/** Bytes. The least length that the three steps can take: one vector before the rest. */
const SHORTEST: usize = REST + 16
/** Bytes that `stripe` takes at once: of blocks of 4096 bytes all but the rest. More would leave the first cache. */
const PIECE: usize = 4096 - REST

const START: u32 = 0x9226f562

/** Odd, of many bits, and small enough that the sum of the products of two halves fits a word. */
const LOW: i16 = 0x796d
const HIGH: i16 = 0x6c2b

/** Bytes of a batch, which lies from 0 on: four blocks of the largest size. More would leave the caches. */
export const BATCH: usize = 1 << 18

// The results: those of a batch of blocks of 512 bytes, the least size, and the slack of the last group of four.
const MOST: usize = BATCH / 512 + 4
export const CRCS: usize = BATCH
export const HASHES: usize = CRCS + 4 * MOST
export const ZEROS: usize = HASHES + 4 * MOST

// One lane for each block of a group: what moved before this piece, in this piece, zeros after it, the rest.
const LANES: usize = (ZEROS + MOST + 15) & ~15
const PIECES: usize = LANES + REST
const RESTS: usize = PIECES + PIECE + REST
const LANE: usize = REST + PIECE + REST + REST
const LANE1: usize = LANE
const LANE2: usize = 2 * LANE
const LANE3: usize = 3 * LANE

// Vectors of one word of each block: the words of the rests, and which of them moved, between zeros.
const WORDS: usize = LANES + 4 * LANE
const MOVED: usize = WORDS + 4 * REST
const SUMS: usize = MOVED + 16 * (10 + 64 + 12)
const PADDED: usize = SUMS + 128

let sum0: v128 = i32x4.splat(0)
let sum1: v128 = i32x4.splat(0)
let sum2: v128 = i32x4.splat(0)
let sum3: v128 = i32x4.splat(0)
let last0: v128 = i32x4.splat(0)
let last1: v128 = i32x4.splat(0)
let last2: v128 = i32x4.splat(0)
let last3: v128 = i32x4.splat(0)

/** Takes the bytes from 0 up to `length`; `blockSize` is a power of two from 512 to 65536. */
export function sum(length: usize, blockSize: usize): void {
  const whole = length / blockSize
  for (let block: usize = 0; block < whole; block += 4) {
    group(block * blockSize, blockSize, blockSize, START, block, blockSize, whole - block > 1)
  }
  for (let block: usize = 0; block < whole; block++) {
    store<u8>(ZEROS + block, isZero(block * blockSize, blockSize))
  }
  const short = length - whole * blockSize
  if (short === 0) return
  const at = whole * blockSize
  if (short >= SHORTEST && short % 16 === 0) {
    store<u8>(ZEROS + whole, isZero(at, short))
    group(at, 0, short, START, whole, short, false)
    return
  }
  const padded = short + 4 > SHORTEST ? (short + 4 + 15) & ~15 : SHORTEST
  const data = PADDED + padded - short
  memory.fill(PADDED, 0, padded - short)
  memory.copy(data, at, short)
  store<u8>(ZEROS + whole, isZero(PADDED, padded))
  store<u32>(data - 4, START)
  group(PADDED, 0, padded, 0, whole, short, false)
}

/** 1 where every byte is zero, else 0, which mostly shows at once. */
function isZero(at: usize, length: usize): u8 {
  const end = at + length
  while (at < end) {
    if (v128.any_true(v128.load(at))) return 0
    at += 16
  }
  return 1
}

/**
 * Four blocks of `size` bytes, `stride` bytes apart, or only the first of them, if not `isMany`. `length` is what
 * they had unpadded; `start` is START, or 0 where START is in the padding.
 */
function group(
  at: usize,
  stride: usize,
  size: usize,
  start: u32,
  block: usize,
  length: usize,
  isMany: bool,
): void {
  sum0 = sum1 = sum2 = sum3 = i32x4.splat(0)
  last0 = last1 = last2 = last3 = i32x4.splat(0)
  clear(LANES)
  store<u32>(PIECES - 4, start)
  store<u32>(PIECES - 4, start, LANE1)
  store<u32>(PIECES - 4, start, LANE2)
  store<u32>(PIECES - 4, start, LANE3)
  let piece = min(PIECE, size - REST)
  let left = size - REST
  while (true) {
    stripe(at, stride, LANES, PIECES, piece, isMany)
    at += piece
    left -= piece
    if (left === 0) break
    for (let lane = LANES; lane < LANES + 4 * LANE; lane += LANE) memory.copy(lane, lane + piece, REST)
    piece = min(PIECE, left)
  }
  clear(PIECES + piece)
  stripe(at, stride, LANES + piece, RESTS, REST, isMany)

  for (let i: usize = 0; i < REST; i += 16) {
    transpose(
      v128.load(RESTS + i),
      v128.load(RESTS + i, LANE1),
      v128.load(RESTS + i, LANE2),
      v128.load(RESTS + i, LANE3),
      WORDS + 4 * i,
    )
  }
  let to = MOVED
  let from = WORDS
  for (; from < WORDS + 16 * 64; from += 16, to += 16) v128.store(to, moved(from, to), 160)
  let crc = i32x4.splat(0)
  for (; from < WORDS + 16 * 76; from += 16, to += 16) crc = reduce(v128.xor(crc, moved(from, to)))
  v128.store(CRCS + 4 * block, v128.not(crc))

  transpose(sum0, sum1, sum2, sum3, SUMS)
  transpose(last0, last1, last2, last3, SUMS + 64)
  let hash = i32x4.splat(length as i32)
  for (let i: usize = 0; i < 128; i += 16) hash = mix(v128.xor(hash, v128.load(SUMS + i)))
  v128.store(HASHES + 4 * block, mix(hash))
}

/** Zeros for a whole rest, in each lane. */
function clear(at: usize): void {
  const end = at + REST
  do {
    v128.store(at, i32x4.splat(0))
    v128.store(at, i32x4.splat(0), LANE1)
    v128.store(at, i32x4.splat(0), LANE2)
    v128.store(at, i32x4.splat(0), LANE3)
    at += 16
  } while (at < end)
}

/** Moves `length` bytes of each block by Z^8. What moved before lies from `before` on, and goes on at `to`. */
function stripe(at: usize, stride: usize, before: usize, to: usize, length: usize, isMany: bool): void {
  const end = at + length
  const factors = i32x4.splat(((HIGH as i32) << 16) | LOW)
  let s0 = sum0
  let l0 = last0
  if (!isMany) {
    do {
      const v0 = v128.load(at)
      const x0 = v128.xor(s0, v0)
      s0 = i32x4.add(l0, i32x4.dot_i16x8_s(x0, factors))
      l0 = x0
      spread(v0, before, to)
      at += 16
      before += 16
      to += 16
    } while (at < end)
    sum0 = s0
    last0 = l0
    return
  }
  let s1 = sum1
  let l1 = last1
  let s2 = sum2
  let l2 = last2
  let s3 = sum3
  let l3 = last3
  let at1 = at + stride
  let at2 = at1 + stride
  let at3 = at2 + stride
  do {
    const v0 = v128.load(at)
    const x0 = v128.xor(s0, v0)
    s0 = i32x4.add(l0, i32x4.dot_i16x8_s(x0, factors))
    l0 = x0
    spread(v0, before, to)
    const v1 = v128.load(at1)
    const x1 = v128.xor(s1, v1)
    s1 = i32x4.add(l1, i32x4.dot_i16x8_s(x1, factors))
    l1 = x1
    spread(v1, before + LANE1, to + LANE1)
    const v2 = v128.load(at2)
    const x2 = v128.xor(s2, v2)
    s2 = i32x4.add(l2, i32x4.dot_i16x8_s(x2, factors))
    l2 = x2
    spread(v2, before + LANE2, to + LANE2)
    const v3 = v128.load(at3)
    const x3 = v128.xor(s3, v3)
    s3 = i32x4.add(l3, i32x4.dot_i16x8_s(x3, factors))
    l3 = x3
    spread(v3, before + LANE3, to + LANE3)
    at += 16
    at1 += 16
    at2 += 16
    at3 += 16
    before += 16
    to += 16
  } while (at < end)
  sum0 = s0
  last0 = l0
  sum1 = s1
  last1 = l1
  sum2 = s2
  last2 = l2
  sum3 = s3
  last3 = l3
}

/** Sixteen bytes of a block, and what moves onto them. */
function spread(bytes: v128, before: usize, to: usize): void {
  v128.store(
    to,
    add(bytes, v128.load(before, 4), v128.load(before, 93), v128.load(before, 121), v128.load(before, 159)),
  )
}

/** Four vectors of words as the rows of a square: writes its columns. */
function transpose(a: v128, b: v128, c: v128, d: v128, to: usize): void {
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5)
  const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5)
  v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2))
  v128.store(to, v128.shuffle<i64>(ab, cd, 1, 3), 16)
  const ab2 = v128.shuffle<i32>(a, b, 2, 6, 3, 7)
  const cd2 = v128.shuffle<i32>(c, d, 2, 6, 3, 7)
  v128.store(to, v128.shuffle<i64>(ab2, cd2, 0, 2), 32)
  v128.store(to, v128.shuffle<i64>(ab2, cd2, 1, 3), 48)
}

function mix(h: v128): v128 {
  const product = i32x4.mul(h, i32x4.splat(0x2c1b3c6d))
  return v128.xor(product, i32x4.shr_u(product, 15))
}
