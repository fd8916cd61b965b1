/**
 * What content dedup costs and finds: `npx tsx bench/dedup.ts`. How large the table of hints is when it is full, and
 * which share of duplicate data is still found when there are 1, 4 and 16 times as many blocks as it has room for.
 */
import { Readable } from 'node:stream'
import { HintTable } from '../src/dedup/hint-table.js'
import type { ArchiveRecord, Source } from '../src/record.js'
import { crcDedup } from '../src/stream/crc-dedup.js'
import { RandomBytes } from './random.js'
import { printTable } from './table.js'

const MIB = 1024 * 1024
const BLOCK = 4096
/** Room for so many hints, so that 16 times as many blocks are 512 MiB. */
const HINTS = 8192
const SLOT = 14
const LOAD = 7 / 8
const RUNS = [1, 4, 16, 64, 256, 4096]
/** Of duplicates in each measurement. */
const DUPLICATES = 32 * MIB

function showTable(): void {
  const bound = 256 * MIB
  const before = process.memoryUsage().arrayBuffers
  const table = new HintTable(bound)
  let count = 0
  for (; table.sampling === 1; count++) table.add(count, Math.imul(count, 0x9e3779b1) >>> 0, count * BLOCK)
  const bytes = process.memoryUsage().arrayBuffers - before
  console.log(
    `a table of ${bound / MIB} MiB held ${count - 1} hints, of ${((count - 1) * BLOCK) / 1024 ** 3} GiB of data`,
  )
  console.log(`in ${(bytes / MIB).toFixed(1)} MiB of memory, until it began to sample\n`)
}

async function found(times: number, run: number, bytes: Buffer): Promise<number> {
  const unique = bytes.subarray(0, times * HINTS * BLOCK)
  const source: Source = {
    read: (offset, into) => void unique.copy(into, 0, offset, offset + into.byteLength),
  }
  const dedup = crcDedup({ memory: Math.ceil((HINTS / LOAD) * SLOT) })
  function* records(): Generator<ArchiveRecord> {
    for (let at = 0; at < unique.byteLength; at += MIB) {
      yield {
        kind: 'data',
        bytes: unique.subarray(at, at + MIB),
        mayBeShared: false,
        from: { source, offset: at },
      }
    }
    const random = new RandomBytes(`${times} ${run}`)
    for (let done = 0; done < DUPLICATES; done += run * BLOCK) {
      // An interruption: what comes next does not go on where the last run ended.
      yield { kind: 'hole', length: BLOCK, preallocated: false }
      const block = random.below(unique.byteLength / BLOCK - run)
      for (let at = block * BLOCK, end = at + run * BLOCK; at < end; at += MIB) {
        yield { kind: 'data', bytes: unique.subarray(at, Math.min(end, at + MIB)), mayBeShared: false }
      }
    }
  }
  for await (const _ of Readable.from(records()).pipe(dedup));
  return dedup.summary.duplicateBytes / DUPLICATES
}

async function main(): Promise<void> {
  showTable()
  const bytes = new RandomBytes('dedup').bytes(16 * HINTS * BLOCK)
  const rows = [['blocks / hints', ...RUNS.map(run => `runs of ${(run * BLOCK) / 1024} KiB`)]]
  for (const times of [1, 4, 16]) {
    const row = [String(times)]
    for (const run of RUNS) row.push(`${(100 * (await found(times, run, bytes))).toFixed(1)} %`)
    rows.push(row)
  }
  printTable(rows)
}

await main()
