import t from 'tap'
import { encodeSplit } from '../../fixtures/recipes/encode.js'
import { text } from '../../fixtures/recipes/raw.js'
import type { ArchiveRecord, Entry, EntryType, Metadata } from '../../src/record.js'

const OPTIONS = { blockSize: 512, sorted: true, payloadDigest: true }

/** An entry of a type, with what it needs. */
function entry(type: EntryType, metadata: Metadata): ArchiveRecord[] {
  const needed: Metadata = type === 'characterDevice' ? { device: { major: 1, minor: 2 } } : {}
  const made: Entry = {
    kind: 'entry',
    ordinal: 1,
    parent: 0,
    name: text('a'),
    type,
    linked: false,
    metadata: { ...needed, ...metadata },
  }
  return type === 'file' ? [made, { kind: 'end', state: 'whole' }] : [made]
}

t.test('metadata that is out of range, or of another type, is refused', t => {
  const wrong: readonly (readonly [EntryType, Metadata])[] = [
    ['file', { mode: 0o10000 }],
    ['file', { owner: { uid: 2 ** 32 - 1, gid: 0 } }],
    ['file', { owner: { uid: 0, gid: -1 } }],
    ['file', { owner: { uid: 0, gid: 0, user: text('') } }],
    ['file', { owner: { uid: 0, gid: 0, user: text('root'), group: text('a\0b') } }],
    ['file', { modified: { seconds: 0, nanoseconds: 1_000_000_000 } }],
    ['file', { flags: 2 ** 32 }],
    ['file', { flags: 1 }],
    ['file', { project: 2 ** 32 }],
    ['file', { project: -1 }],
    ['file', { reserved: 0 }],
    ['file', { reserved: 2 ** 53 }],
    ['directory', { reserved: 1 }],
    ['fifo', { flags: 0 }],
    ['fifo', { project: 0 }],
    ['characterDevice', { device: { major: 2 ** 32, minor: 0 } }],
    ['characterDevice', { device: { major: 0, minor: -1 } }],
  ]
  for (const [type, metadata] of wrong) {
    const what = `${type} ${JSON.stringify(metadata)}`
    t.throws(() => encodeSplit(OPTIONS, entry(type, metadata)), { code: 'INVALID_ARGUMENT' }, what)
    t.ok(encodeSplit(OPTIONS, entry(type, {})))
  }
  t.end()
})
