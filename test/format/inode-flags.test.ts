import t from 'tap'
import { FS_APPEND_FL, FS_IMMUTABLE_FL, FS_NOCOW_FL, flagNames } from '../../src/format/inode-flags.js'

t.test('flags have names for people', t => {
  t.equal(flagNames(FS_IMMUTABLE_FL), 'immutable')
  t.equal(flagNames(FS_NOCOW_FL | FS_APPEND_FL), 'append-only, nocow')
  t.equal(flagNames(0), 'none')
  t.equal(flagNames(0x80000000), 'none', 'of what no archive can hold')
  t.end()
})
