// Makes an archive of another one that lacks some of its entries, and all that is below them. Files that shared storage with
// one that is left out still share it with one another.
//
//     tsx examples/filter.ts images.reftar fewer.reftar images/template.img logs
import { pipeline } from 'node:stream/promises'
import {
  type ArchiveRecord,
  archiveFile,
  archiveSource,
  blockSplitter,
  DataSpace,
  type Entry,
  type From,
  type Reference,
  type ReferenceOrigin,
} from 'reftar'

/** Data that came in, and what of it has gone out. */
interface Original {
  readonly from: From
  readonly copies: Copy[]
}

/** Bytes `start` to `end` of an original. */
interface Copy {
  readonly start: number
  readonly end: number
  /** In the stream that goes out. */
  readonly address: number
  readonly origin: ReferenceOrigin
}

const [input = '', output = '', ...unwanted] = process.argv.slice(2)

/** All data that came in, at the addresses that references come in with. */
const space = new DataSpace<Original>()
/** How many bytes of data have gone out: the address of the next ones. */
let size = 0

/** References to what has gone out. What has not, because it is left out, is read again, and goes out now. */
async function* translated({ address, length, origin }: Reference): AsyncGenerator<ArchiveRecord> {
  for (const { place, skip, length: all } of space.resolve(address, length)) {
    const { from, copies } = place
    const end = skip + all
    for (let at = skip; at < end; ) {
      const copy = copies.find(({ start, end }) => start <= at && at < end)
      if (copy) {
        const length = Math.min(end, copy.end) - at
        const address = copy.address + at - copy.start
        yield { kind: 'reference', address, length, origin: copy.origin === 'dedup' ? 'dedup' : origin }
        at += length
      } else {
        const next = Math.min(end, ...copies.map(({ start }) => (start > at ? start : end)))
        const bytes = new Uint8Array(next - at)
        const again = { source: from.source, offset: from.offset + at }
        await again.source.read(again.offset, bytes)
        yield { kind: 'data', bytes, from: again, mayBeShared: true }
        copies.push({ start: at, end: next, address: size, origin })
        size += bytes.byteLength
        at = next
      }
    }
  }
}

/** By the ordinals that entries came with: those that they go with, and the paths of directories. */
const ordinals = new Map<number, number>()
const paths = new Map<number, string>()
let count = 0
/** Of what is left out and has more names: its entry, and the extents of a file. */
const lost = new Map<number, ArchiveRecord[]>()

function isWanted({ ordinal, parent, name, type }: Entry): boolean {
  const path = `${paths.get(parent) ?? ''}${Buffer.from(name)}`
  if (type === 'directory') paths.set(ordinal, path === '' ? '' : `${path}/`)
  return (parent === 0 || ordinals.has(parent)) && !unwanted.includes(path)
}

/** A hard link to what is left out takes its place, and the links that follow are links to this one. */
function inherited(entry: Entry): ArchiveRecord[] {
  const { ordinal, parent, name, metadata } = entry
  const { linkTo } = metadata
  if (linkTo === undefined || ordinals.has(linkTo)) return [entry]
  ordinals.set(linkTo, count + 1)
  const records = lost.get(linkTo) ?? []
  return records.map(record => (record.kind === 'entry' ? { ...record, ordinal, parent, name } : record))
}

async function* sent(record: ArchiveRecord): AsyncGenerator<ArchiveRecord> {
  if (record.kind === 'reference') {
    yield* translated(record)
  } else if (record.kind === 'entry') {
    ordinals.set(record.ordinal, ++count)
    const { linkTo } = record.metadata
    const first = linkTo === undefined ? undefined : ordinals.get(linkTo)
    const metadata = first === undefined ? record.metadata : { linkTo: first }
    yield { ...record, ordinal: count, parent: ordinals.get(record.parent) ?? 0, metadata }
  } else {
    if (record.kind === 'data') size += record.bytes.byteLength
    yield record
  }
}

async function* filtered(records: AsyncIterable<ArchiveRecord>): AsyncGenerator<ArchiveRecord> {
  let isKept = true
  /** Where to with the extents of what is left out. */
  let extents: ArchiveRecord[] = []
  for await (const record of records) {
    if (record.kind === 'entry') {
      isKept = isWanted(record)
      extents = [record]
      if (!isKept && record.linked) lost.set(record.ordinal, extents)
      if (isKept) for (const each of inherited(record)) yield* sent(each)
    } else if (record.kind === 'data') {
      const { from, bytes } = record
      if (!from) throw new Error('these data cannot be read again')
      const length = bytes.byteLength
      const copies: Copy[] = isKept ? [{ start: 0, end: length, address: size, origin: 'shared' }] : []
      const address = space.append(0, length, { from, copies })
      if (isKept) yield* sent(record)
      else extents.push({ kind: 'reference', address, length, origin: 'shared' })
    } else if (isKept) {
      yield* sent(record)
    } else {
      extents.push(record)
    }
  }
}

await pipeline(archiveSource(input), filtered, blockSplitter(), archiveFile(output))
