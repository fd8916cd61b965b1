import t from 'tap'
import { formatBytes, shareOf } from '../../src/cli/amounts.js'

const MIB = 1024 * 1024

t.test('all reads as all, and less as less', async t => {
  t.equal(shareOf(4.77 * MIB, 4.77 * MIB), '4.8 of 4.8 MiB')
  t.equal(shareOf(4.77 * MIB - 1, 4.77 * MIB), '4.7 of 4.8 MiB')
  t.equal(shareOf(0, 4.77 * MIB), '0.0 of 4.8 MiB')
  t.equal(shareOf(7, 9), '7 of 9 B')
})

t.test('the unit is the largest that makes one or more', async t => {
  t.equal(formatBytes(1023), '1023 B')
  t.equal(formatBytes(1024), '1.0 KiB')
  t.equal(formatBytes(1.5 * 1024 * MIB), '1.5 GiB')
})
