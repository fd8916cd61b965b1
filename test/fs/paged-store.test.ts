import * as fs from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import v8 from 'node:v8'
import vm from 'node:vm'
import t from 'tap'
import { PAGE_SIZE } from '../../src/format/pages.js'
import { PagedStore } from '../../src/fs/paged-store.js'

const FEWEST = 16

/** Writes a number to each of so many new pages. */
function fill(store: PagedStore, pages: number): void {
  for (let i = 0; i < pages; i++) {
    const id = store.allocate()
    store.write(id).numbers.fill(i + 1)
  }
}

/** Whether each of them still has it. */
function isFilled(store: PagedStore, pages: number): boolean {
  for (let i = 0; i < pages; i++) if (store.read(i).numbers.some(number => number !== i + 1)) return false
  return true
}

/** The temporary files that are open. */
function unnamed(): string[] {
  const names = fs.readdirSync('/proc/self/fd').flatMap(fd => {
    try {
      return [fs.readlinkSync(`/proc/self/fd/${fd}`)]
    } catch {
      return [] // the one that lists them
    }
  })
  return names.filter(name => /reftar-.* \(deleted\)$/.test(name))
}

t.test('what was handed out stays as it is for seven requests more', t => {
  const store = new PagedStore(0)
  fill(store, 3 * FEWEST)
  t.ok(store.isSpilled)
  for (let i = 0; i < 3 * FEWEST; i++) {
    const { numbers } = store.read(i)
    for (let more = 1; more <= 7; more++) store.read((i + 5 * more) % (3 * FEWEST))
    if (numbers[0] !== i + 1) t.fail(`page ${i} has ${numbers[0]}`)
  }
  const fresh = store.allocate()
  t.ok(
    store.read(fresh).bytes.every(byte => byte === 0),
    'a new page is all zero, though its memory is not new',
  )
  store.close()
  t.end()
})

t.test('what is used stays, and what is not goes first', t => {
  const store = new PagedStore(FEWEST * PAGE_SIZE)
  fill(store, FEWEST)
  t.notOk(store.isSpilled)
  const used = store.read(0).bytes
  for (let i = 0; i < 100; i++) {
    store.allocate()
    if (store.read(0).bytes !== used) t.fail(`put away after ${i} more pages`)
  }
  store.close()
  t.end()
})

t.test('the temporary file has no name, and is closed with the store', t => {
  const before = unnamed().length
  const store = new PagedStore(0)
  fill(store, 2 * FEWEST)
  t.equal(unnamed().length, before + 1)
  t.ok(isFilled(store, 1))
  store.close()
  t.equal(unnamed().length, before)
  t.end()
})

t.test('it is closed when nobody has the store any more', async t => {
  v8.setFlagsFromString('--expose-gc')
  const collect = vm.runInNewContext('gc') as () => void
  const before = unnamed().length
  fill(new PagedStore(0), 2 * FEWEST)
  for (let tries = 0; tries < 100 && unnamed().length > before; tries++) {
    collect()
    await setTimeout(10)
  }
  t.equal(unnamed().length, before)
})

t.test('where there can be no temporary file, all of it stays in memory', t => {
  const { env } = process
  const before = Object.entries(env).find(([name]) => name === 'TMPDIR')
  Object.assign(env, { TMPDIR: '/nowhere' })
  t.teardown(() => {
    Reflect.deleteProperty(env, 'TMPDIR')
    if (before) Object.assign(env, Object.fromEntries([before]))
  })
  const store = new PagedStore(0)
  fill(store, 3 * FEWEST)
  t.notOk(store.isSpilled)
  t.ok(isFilled(store, 3 * FEWEST))
  store.close()
  t.end()
})
