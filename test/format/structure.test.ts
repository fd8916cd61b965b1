import t from 'tap'
import { text } from '../../fixtures/recipes/raw.js'
import { Structure } from '../../src/format/structure.js'
import type { Entry, EntryType } from '../../src/record.js'

function entry(ordinal: number, parent: number, name: string, type: EntryType = 'directory'): Entry {
  return { kind: 'entry', ordinal, parent, name: text(name), type, linked: false, metadata: {} }
}

t.test('limits are counted as they are reached', t => {
  const shallow = new Structure(512, true, { depth: 2 })
  shallow.entry(entry(1, 0, 'a'))
  shallow.entry(entry(2, 1, 'b'))
  t.throws(() => shallow.entry(entry(3, 2, 'c')), { code: 'LIMIT_EXCEEDED', path: text('a/b/c') })

  const rooted = new Structure(512, true, { depth: 1 })
  rooted.entry(entry(1, 0, ''))
  rooted.entry(entry(2, 1, 'a'))
  t.throws(() => rooted.entry(entry(3, 2, 'b')), { code: 'LIMIT_EXCEEDED' }, 'the root is no depth')

  const few = new Structure(512, true, { entries: 1, references: 1, logicalBytes: 10 })
  few.entry(entry(1, 0, 'a', 'file'))
  few.extent({ kind: 'hole', length: 4, preallocated: false })
  few.extent({ kind: 'reference', address: 0, length: 4, origin: 'shared' })
  t.throws(() => few.extent({ kind: 'reference', address: 0, length: 1, origin: 'shared' }), {
    code: 'LIMIT_EXCEEDED',
  })
  t.throws(() => few.extent({ kind: 'hole', length: 3, preallocated: false }), { code: 'LIMIT_EXCEEDED' })
  few.extent({ kind: 'hole', length: 2, preallocated: false })
  few.end()
  t.throws(() => few.entry(entry(2, 0, 'b')), { code: 'LIMIT_EXCEEDED' })
  t.end()
})

t.test('what an archive makes is counted by its own size', t => {
  const GIB = 1024 ** 3
  const data = (length: number) => ({ kind: 'dataRow', length, mayBeShared: false }) as const
  const reference = (length: number) => ({ kind: 'reference', address: 0, length, origin: 'dedup' }) as const
  const structure = new Structure(512, true, { expansion: 2 })
  structure.archiveBytes = 40 * GIB
  structure.entry(entry(1, 0, 'a', 'file'))
  structure.extent({ kind: 'hole', length: 1000 * GIB, preallocated: false })
  structure.extent(data(30 * GIB))
  structure.extent(reference(50 * GIB))
  t.throws(() => structure.extent(reference(1)), {
    code: 'LIMIT_EXCEEDED',
    limit: 'expansion',
    path: text('a'),
  })

  const small = new Structure(512, true, { expansion: 2 })
  small.archiveBytes = 1000
  small.entry(entry(1, 0, 'a', 'file'))
  small.extent(reference(64 * GIB))
  t.throws(() => small.extent(data(1)), { code: 'LIMIT_EXCEEDED' }, 'the first 64 GiB are free')
  t.end()
})

t.test('no more than 65535 directories within each other, unless asked for', t => {
  const structure = new Structure(512, true)
  for (let i = 1; i <= 65535; i++) structure.entry(entry(i, i - 1, 'd'))
  t.throws(() => structure.entry(entry(65536, 65535, 'd')), { code: 'LIMIT_EXCEEDED' })
  t.end()
})

t.test('it knows what is open', t => {
  const structure = new Structure(512, true)
  structure.entry(entry(1, 0, ''))
  structure.entry(entry(2, 1, 'a'))
  structure.entry(entry(3, 2, 'b'))
  t.same(structure.openDirectories, [1, 2, 3])
  t.same(structure.path(), text('a/b'))
  structure.entry(entry(4, 2, 'c', 'file'))
  t.same(structure.openDirectories, [1, 2], 'b was left')
  t.same(structure.path(), text('a/c'))
  structure.extent({ kind: 'hole', length: 700, preallocated: false })
  t.match(structure.openFile, { ordinal: 4, size: 700 })
  t.throws(() => structure.finish(), { code: 'BAD_STRUCTURE' })
  structure.end()
  t.equal(structure.openFile, undefined)
  t.equal(structure.bytes.logicalBytes, 700)
  structure.finish()
  t.end()
})

t.test('ordinals leave no gap', t => {
  const structure = new Structure(512, true)
  t.throws(() => structure.entry(entry(2, 0, 'a')), { code: 'BAD_STRUCTURE' })
  t.throws(() => structure.entry(entry(0, 0, 'a')), { code: 'BAD_STRUCTURE' })
  structure.entry(entry(1, 0, 'a'))
  t.throws(() => structure.entry(entry(1, 0, 'b')), { code: 'BAD_STRUCTURE' })
  t.end()
})
