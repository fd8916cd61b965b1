/** Times the block kernel against hash-wasm and zlib: `npm run bench:crc [-- --rounds 9]`. */
import { parseArgs } from 'node:util'
import { crc32 as zlibCrc32 } from 'node:zlib'
import { Bench } from 'tinybench'
import { loadBlockKernel } from '../src/crc/block-kernel.js'
import { loadCrc32 } from '../src/crc/crc32.js'
import { median } from './figures.js'
import { RandomBytes } from './random.js'
import { printTable } from './table.js'

const BYTES = 1024 * 1024
const BLOCK = 4096
/** Of each task in each round. */
const MILLISECONDS = 100

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { rounds: { type: 'string', default: '9' } } })
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('usage: npm run bench:crc [-- --rounds 9]')

  const kernel = await loadBlockKernel()
  const crc32 = await loadCrc32()
  const bytes = new RandomBytes('crc').bytes(BYTES)
  const perBlock = (work: (block: Uint8Array) => unknown) => () => {
    for (let at = 0; at < BYTES; at += BLOCK) work(bytes.subarray(at, at + BLOCK))
  }
  const hashWasm = 'hash-wasm'
  const tasks = new Map<string, () => void>([
    ['kernel', () => void kernel.sum(bytes, BLOCK)],
    ['kernel, a block at a time', perBlock(block => kernel.sum(block, BLOCK))],
    ['zlib.crc32', perBlock(block => zlibCrc32(block))],
    [hashWasm, perBlock(crc32)],
  ])

  const speeds = new Map([...tasks.keys()].map(name => [name, [] as number[]]))
  for (let round = 0; round < rounds; round++) {
    const bench = new Bench({ time: MILLISECONDS, warmupTime: MILLISECONDS / 2 })
    for (const [name, task] of tasks) bench.add(name, task)
    for (const { name, result } of await bench.run()) {
      if (result.state !== 'completed') throw new Error(`${name} did not complete`)
      speeds.get(name)?.push(BYTES / 1e6 / result.latency.p50)
    }
  }

  const base = speeds.get(hashWasm) ?? []
  printTable([
    ['GB/s', 'min', 'median', 'max', `/ ${hashWasm}`],
    ...[...speeds].map(([name, all]) => {
      const ratio = median(all.map((speed, round) => speed / (base[round] ?? 0)))
      return [name, ...[Math.min(...all), median(all), Math.max(...all), ratio].map(n => n.toFixed(2))]
    }),
  ])
}

await main()
