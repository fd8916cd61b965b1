// Table A4, what is open: memory for each path of a deep tree, reserved storage, and the expansion of a salvage.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type RawRow, TAG } from '../../../fixtures/recipes/raw.js'
import { amplified, checkLimit, memoryOf, segmentsOf } from '../../support/bombs.js'
import { directory, fifo, file, ground, u64, unsorted } from '../../support/hostile.js'
import { MIB } from '../../support/trees.js'

process.umask(0o022)

const WATCHDOG = { timeout: 60_000 }

for (const [what, depth, more, work] of [
  ['extract', 2000, 0, '[extract(target)]'],
  ['list', 1000, 1000, '[list(), nowhere()]'],
] as const) {
  t.test(
    `D5 long names within each other take no memory for each of their paths: ${what}`,
    WATCHDOG,
    async t => {
      const place = ground(t, 'tmpfs')
      if (!place) return
      const name = 'n'.repeat(255)
      const rows: RawRow[] = Array.from({ length: depth }, (_, i) => directory(name, i))
      for (let i = 0; i < more; i++) rows.push(fifo(`f${i}`, depth, [], 1))
      const path = join(place.base, 'archive')
      fs.writeFileSync(path, unsorted([], { segments: segmentsOf(rows, 1000) }))
      const taken = await memoryOf(
        t,
        `const target = ${JSON.stringify(place.target)}`,
        `await pipeline(fs.createReadStream(${JSON.stringify(path)}), ...${work})`,
      )
      t.comment(`${fs.statSync(path).size} bytes of archive, ${Math.round(taken / MIB)} MiB`)
      t.ok(taken < 128 * MIB, `${Math.round(taken / MIB)} MiB`)
    },
  )
}

t.test('D6 storage that is reserved counts as what it takes', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const reserved = unsorted(file('f', { fields: [[TAG.reserved, u64(64 * MIB)]] }))
  await checkLimit(t, place, reserved, { logicalBytes: MIB }, 'logicalBytes', [{}])
})

t.test('D7 the expansion of an archive is limited for a salvage, too', WATCHDOG, async t => {
  const place = ground(t, 'btrfs')
  if (!place) return
  const bomb = amplified(4 * MIB - 4096, 2, 10_000)
  await checkLimit(t, place, bomb, { expansion: 1 }, 'expansion', [{ salvage: true }])
})
