// Table A3, what is open: capabilities of programs, and an error without a place.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { invalidRecipes } from '../../../fixtures/recipes/invalid.js'
import { data } from '../../../fixtures/recipes/raw.js'
import {
  content,
  empty,
  file,
  ground,
  mode,
  owner,
  refusals,
  STRANGER,
  unsorted,
  xattrs,
} from '../../support/hostile.js'
import { restore } from '../../support/trees.js'

process.umask(0o022)

/** security.capability of a program that may become any user: linux/capability.h, version 2. */
const CAPABILITY = Buffer.from('0100000280000000000000000000000000000000', 'hex')

const NAMES = 'import os,sys; print(*os.listxattr(sys.argv[1]))'
const asRoot = { skip: process.getuid?.() === 0 ? false : 'needs root' } as const

t.test('M1 M4 what gives a program privileges can be left out', asRoot, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  const fields = [mode(0o755), owner(STRANGER, 0), xattrs(['security.capability', CAPABILITY])]
  const archive = unsorted(file('a', { fields }, data(content(8192))))
  for (const options of [
    { samePermissions: false },
    { sameOwner: false, samePermissions: false, devices: false },
  ]) {
    await restore(archive, place.target, options)
    const names = execFileSync('python3', ['-c', NAMES, join(place.target, 'a')], { encoding: 'utf8' })
    t.notMatch(names, /security/, JSON.stringify(options))
    empty(place.target)
  }
})

t.test('M8 the error of a file without an end says where it is', async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  for (const { what, code, archive } of invalidRecipes().filter(({ what }) => what.startsWith('end-missing')))
    t.same(await refusals(place, archive, code), [], what)
})
