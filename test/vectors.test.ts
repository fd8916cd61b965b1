import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { EXAMPLE, FIXTURES, FORMAT, vectors } from '../fixtures/generate.js'
import { withAppendix } from '../fixtures/recipes/annotate.js'
import { byteByByte, decode } from '../fixtures/recipes/decode.js'
import { encodeSplit } from '../fixtures/recipes/encode.js'
import { joined, jsonRecord } from '../fixtures/recipes/json.js'
import { ReftarError } from '../src/errors.js'
import type { EncoderOptions } from '../src/format/archive-encoder.js'
import { list } from '../src/list.js'
import type { ArchiveRecord } from '../src/record.js'
import { extentDecoder } from '../src/stream/extent-decoder.js'
import { extentEncoder } from '../src/stream/extent-encoder.js'

interface Expected extends EncoderOptions {
  /** An encoder writes the same bytes for these records. */
  readonly canonical: boolean
  readonly records: readonly object[]
}

t.setTimeout(120_000)

/** Up to this size every way to cut an archive in two is tried, above it some. */
const EVERY_SPLIT = 16 * 1024

function read(...path: string[]): Uint8Array {
  return new Uint8Array(readFileSync(join(FIXTURES, ...path)))
}

function archives(directory: string): string[] {
  return readdirSync(join(FIXTURES, directory)).filter(name => name.endsWith('.reftar'))
}

function json(records: readonly ArchiveRecord[]): string {
  return JSON.stringify(joined(records).map(jsonRecord))
}

function codeOf(work: () => unknown): string {
  try {
    work()
    return 'no error'
  } catch (error) {
    return error instanceof ReftarError ? error.code : `${error}`
  }
}

async function drained(stream: NodeJS.ReadWriteStream, bytes: Uint8Array, size: number): Promise<string> {
  const pieces = Array.from({ length: Math.ceil(bytes.byteLength / size) }, (_, i) =>
    bytes.slice(i * size, (i + 1) * size),
  )
  try {
    await pipeline(Readable.from(pieces), stream, async source => {
      for await (const _ of source);
    })
    return 'no error'
  } catch (error) {
    return error instanceof ReftarError ? error.code : `${error}`
  }
}

t.test('regenerating the vectors gives the committed bytes', async t => {
  const made = await vectors()
  for (const directory of ['valid', 'invalid']) {
    const names = readdirSync(join(FIXTURES, directory)).map(name => `${directory}/${name}`)
    t.same(names.sort(), [...made.keys()].filter(path => path.startsWith(`${directory}/`)).sort())
  }
  for (const [path, bytes] of made) {
    if (Buffer.compare(bytes, read(path)) !== 0) t.fail(`${path} differs from what its recipe makes`)
  }
  const text = readFileSync(FORMAT, 'utf8')
  t.equal(text, withAppendix(text, read(EXAMPLE)), 'the appendix of FORMAT.md too')
})

for (const file of archives('valid')) {
  t.test(`valid: ${file}`, async t => {
    const archive = read('valid', file)
    const expected: Expected = JSON.parse(
      Buffer.from(read('valid', file.replace(/reftar$/, 'json'))).toString(),
    )
    const { blockSize, sorted, payloadDigest, canonical } = expected
    const wanted = JSON.stringify(expected.records)

    const records = decode([archive])
    t.equal(json(records), wanted, 'whole')
    t.equal(json(decode(byteByByte(archive))), wanted, 'byte by byte')
    const step =
      archive.byteLength <= EVERY_SPLIT
        ? 1
        : Math.ceil(archive.byteLength / (archive.byteLength < 2 ** 18 ? 200 : 20))
    for (let at = 1; at < archive.byteLength; at += step) {
      const found = decode([archive.slice(0, at), archive.slice(at)])
      if (!isDeepStrictEqual(found, records)) t.same(found, records, `split at ${at}`)
    }
    t.ok(Buffer.compare(archive, read('valid', file)) === 0, 'decoding leaves its input alone')

    if (canonical)
      t.ok(Buffer.compare(encodeSplit(expected, records), archive) === 0, 'encodes to the same bytes')

    const streamed: ArchiveRecord[] = []
    const written: Uint8Array[] = []
    await pipeline(
      Readable.from([archive]),
      extentDecoder(),
      async function* (source) {
        for await (const record of source) {
          streamed.push(record)
          yield record
        }
      },
      extentEncoder({ blockSize, sorted }),
      async source => {
        for await (const bytes of source) written.push(bytes)
      },
    )
    t.equal(json(streamed), wanted, 'through the stages')
    if (canonical && payloadDigest) t.ok(Buffer.compare(Buffer.concat(written), archive) === 0, 'and back')
  })
}

for (const file of archives('invalid')) {
  const [code] = file.split('--')
  t.test(`invalid: ${file}`, async t => {
    const archive = read('invalid', file)
    t.equal(
      codeOf(() => decode([archive])),
      code,
      'whole',
    )
    t.equal(
      codeOf(() => decode(byteByByte(archive))),
      code,
      'byte by byte',
    )
    t.equal(await drained(extentDecoder(), archive, 4096), code, 'extentDecoder')
    t.equal(await drained(list(), archive, 100), code, 'list')
  })
}

for (const file of ['small-file.reftar', 'no-payload-digest.reftar']) {
  const archive = read('valid', file)

  t.test(`every truncation of ${file} is noticed`, async t => {
    for (let length = 0; length < archive.byteLength; length++) {
      const found = codeOf(() => decode([archive.slice(0, length)]))
      if (found !== 'TRUNCATED') t.equal(found, 'TRUNCATED', `${length} bytes`)
    }
  })

  t.test(`every changed bit of ${file} is noticed`, async t => {
    const changed = archive.slice()
    for (let bit = 0; bit < archive.byteLength * 8; bit++) {
      const at = bit >> 3
      const good = archive[at] as number
      changed[at] = good ^ (1 << (bit & 7))
      const found = codeOf(() => decode([changed.slice()]))
      if (!/^[A-Z_]+$/.test(found)) t.fail(`bit ${bit & 7} of byte ${at}: ${found}`)
      changed[at] = good
    }
  })
}
