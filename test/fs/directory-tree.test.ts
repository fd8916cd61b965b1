import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DirectoryTree } from '../../src/fs/directory-tree.js'
import { withoutDescriptors } from '../support/system-calls.js'
import { failure, openDescriptors } from '../support/trees.js'

t.test('a directory that is lent after the end, and one that is gone by then', async t => {
  const root = t.testdir({ a: { b: { c: {} } } })
  const before = openDescriptors()
  const tree = new DirectoryTree('SOURCE_CHANGED', 2)
  const path = [...'abc'].map(name => Buffer.from(name))
  const c = path.reduce((parent, name) => tree.child(parent, name), tree.root(Buffer.from(root)))
  t.equal(
    tree.lend(c, fd => fs.fstatSync(fd).ino),
    fs.statSync(join(root, 'a/b/c')).ino,
    'before the end it stays open',
  )
  t.equal(openDescriptors(), before + 3)
  tree.close()
  t.equal(openDescriptors(), before)
  t.equal(
    tree.lend(c, fd => fs.readdirSync(`/proc/self/fd/${fd}`).length),
    0,
  )
  t.equal(openDescriptors(), before)
  // It lives on under another name: the one that takes its place cannot be the same inode.
  fs.renameSync(join(root, 'a/b/c'), join(root, 'a/b/moved'))
  t.equal((await failure(() => tree.lend(c, () => undefined))).code, 'SYSTEM_CALL')
  t.equal(openDescriptors(), before, 'nothing is left of the way there')
  fs.mkdirSync(join(root, 'a/b/c'))
  t.equal((await failure(() => tree.lend(c, () => undefined))).code, 'SOURCE_CHANGED')
  t.equal(openDescriptors(), before)
})

t.test('leaving the one that would have to make room for its parent', async t => {
  const root = t.testdir({ a: { b: { c: {} } } })
  const before = openDescriptors()
  const tree = new DirectoryTree('SOURCE_CHANGED', 2)
  const a = tree.child(tree.root(Buffer.from(root)), Buffer.from('a'))
  const b = tree.child(a, Buffer.from('b'))
  tree.child(b, Buffer.from('c'))
  tree.leave(b)
  t.same(fs.readdirSync(`/proc/self/fd/${tree.fd(a)}`), ['b'], 'the way back stays open')
  t.equal(openDescriptors(), before + 3, 'the root, c and a')
  tree.close()
  t.equal(openDescriptors(), before)
})

t.test('leaving where nothing more can be opened', async t => {
  const root = t.testdir({ a: { b: { c: {} } } })
  const before = openDescriptors()
  const tree = new DirectoryTree('TARGET_CHANGED', 2)
  const path = [...'abc'].map(name => Buffer.from(name))
  const c = path.reduce((parent, name) => tree.child(parent, name), tree.root(Buffer.from(root)))
  const a = c.parent?.parent ?? c
  tree.fd(a)
  t.equal(openDescriptors(), before + 3, 'the root, c and a')
  const error = await failure(() => withoutDescriptors(() => tree.leave(c)))
  t.match(error, { code: 'SYSTEM_CALL', message: /EMFILE/ })
  t.equal(openDescriptors(), before + 2, 'c is closed all the same')
  t.same(fs.readdirSync(`/proc/self/fd/${tree.fd(c)}`), [], 'and found again by its name')
  tree.close()
  t.equal(openDescriptors(), before)
})
