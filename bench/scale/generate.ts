/**
 * An archive of any size on standard output, made by the stages of the library without a file behind it:
 * `generate.ts data BYTES`, or `generate.ts entries|references|fragments COUNT`.
 */
import { pipeline } from 'node:stream/promises'
import { blockSplitter, crcDedup, entrySource, extentEncoder, type NewItem } from '../../src/index.js'
import type { ArchiveRecord } from '../../src/record.js'
import { RandomBytes } from '../random.js'

const MIB = 1024 * 1024
const BLOCK = 4096
const FILE_SIZE = 4 * 1024 * MIB
const IN_DIRECTORY = 1000
const SMALL = 100
const REFERENCES_IN_FILE = 1000
const REFERRED = 64 * MIB

/** Every block is another one: the same random bytes with a number in front. */
function* freshData(bytes: number, first: number): Generator<Uint8Array> {
  const random = new RandomBytes('scale').bytes(MIB)
  for (let at = 0; at < bytes; at += MIB) {
    const chunk = Buffer.from(random.subarray(0, Math.min(MIB, bytes - at)))
    for (let block = 0; block + 8 <= chunk.byteLength; block += BLOCK)
      chunk.writeDoubleLE(first + at + block, block)
    yield chunk
  }
}

function* largeFiles(bytes: number): Generator<NewItem> {
  for (let at = 0; at < bytes; at += FILE_SIZE) {
    const path = `data/${numbered(at / FILE_SIZE)}`
    yield { entry: { path, metadata: { mode: 0o644 } }, body: freshData(Math.min(FILE_SIZE, bytes - at), at) }
  }
}

function* smallFiles(count: number): Generator<NewItem> {
  for (let number = 0; number < count; number++) {
    const path = `entries/${numbered(number / IN_DIRECTORY)}/${numbered(number)}`
    const body = Buffer.alloc(SMALL)
    body.writeDoubleLE(number)
    yield { entry: { path, metadata: { mode: 0o644 } }, body: [body] }
  }
}

/** One file of data, and files of single blocks of it that never follow each other. */
async function* referring(name: string, count: number, inFile: number): AsyncGenerator<ArchiveRecord> {
  const base: NewItem = { entry: { path: `${name}/base` }, body: freshData(REFERRED, 0) }
  yield* entrySource([base])
  const blocks = REFERRED / BLOCK
  let ordinal = 2
  for (let number = 0; number < count; number += inFile) {
    const file = Buffer.from(`file-${numbered(number)}`)
    ordinal++
    yield {
      kind: 'entry',
      ordinal,
      parent: 1,
      name: file,
      type: 'file',
      linked: false,
      metadata: { mode: 0o644 },
    }
    for (let i = number; i < Math.min(count, number + inFile); i++) {
      const address = (blocks - 1 - (i % blocks)) * BLOCK
      yield { kind: 'reference', address, length: BLOCK, origin: 'shared' }
    }
    yield { kind: 'end', state: 'whole' }
  }
}

/** Names that come in the order of their bytes. */
function numbered(value: number): string {
  return String(Math.floor(value)).padStart(10, '0')
}

function records(what: string, count: number): AsyncIterable<ArchiveRecord> {
  switch (what) {
    case 'data':
      return entrySource(largeFiles(count))
    case 'entries':
      return entrySource(smallFiles(count))
    case 'references':
      return referring(what, count, REFERENCES_IN_FILE)
    case 'fragments':
      return referring(what, count, count)
    default:
      throw new Error(`${what}: expected data, entries, references or fragments`)
  }
}

const [what = '', count = ''] = process.argv.slice(2)
await pipeline(records(what, Number(count)), blockSplitter(), crcDedup(), extentEncoder(), process.stdout)
