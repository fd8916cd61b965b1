// Restores an archive under other names, and tells what it is made of: stages of one's own between those of reftar.
//
//     tsx examples/rename.ts images.reftar /srv/restored .img .raw
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { type ArchiveRecord, extentDecoder, lengthOf, reflinkWriter } from 'reftar'

const [file = '', directory = '.', from = '', to = ''] = process.argv.slice(2)

const bytes = { entry: 0, data: 0, hole: 0, missing: 0, reference: 0, end: 0 }

/** A name is bytes, of which any but a slash and zero may be in it. */
function rename(name: Uint8Array): Uint8Array {
  const text = Buffer.from(name).toString('latin1')
  return text.endsWith(from) ? Buffer.from(text.slice(0, text.length - from.length) + to, 'latin1') : name
}

async function* renamed(records: AsyncIterable<ArchiveRecord>): AsyncGenerator<ArchiveRecord> {
  for await (const record of records) {
    yield record.kind === 'entry' ? { ...record, name: rename(record.name) } : record
  }
}

async function* counted(records: AsyncIterable<ArchiveRecord>): AsyncGenerator<ArchiveRecord> {
  for await (const record of records) {
    bytes[record.kind] += lengthOf(record)
    yield record
  }
}

await pipeline(createReadStream(file), extentDecoder(), renamed, counted, reflinkWriter(directory))
console.log(`${bytes.data} bytes of data, ${bytes.reference} that refer to them, ${bytes.hole} of holes`)
