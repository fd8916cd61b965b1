import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { sha256 } from '../../src/crc/sha256.js'
import { run } from '../cli/run.js'
import { KIB, MIB, moduleCommand, noise } from '../support/trees.js'

function byNode(pieces: readonly Uint8Array[]): string {
  return createHash('sha256').update(Buffer.concat(pieces)).digest('hex')
}

async function digest(pieces: readonly Uint8Array[]): Promise<string> {
  return Buffer.from(await sha256(pieces)).toString('hex')
}

t.test('the known value', async t => {
  const abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
  t.equal(await digest([Buffer.from('abc')]), abc)
})

t.test('pieces of all sizes, as node makes it', async t => {
  for (const sizes of [
    [],
    [0],
    [1],
    [KIB, 0, 3],
    [256 * KIB - 1],
    [256 * KIB],
    [4 * MIB],
    [5, 2 * MIB, 0, 70 * KIB],
  ]) {
    const pieces = sizes.map((size, i) => noise(size, String(i)))
    t.equal(await digest(pieces), byNode(pieces), sizes.join(' and '))
  }
})

t.test('a part of a buffer', async t => {
  const all = noise(2 * MIB, 'all')
  const part = all.subarray(12_345, 12_345 + MIB)
  t.equal(await digest([part]), byNode([part]))
})

t.test('many at a time', async t => {
  const all = Array.from({ length: 24 }, (_, i) => [noise(MIB + i, `a${i}`), noise(i * KIB, `b${i}`)])
  t.same(await Promise.all(all.map(digest)), all.map(byNode))
})

t.test('the event loop goes on', async t => {
  let isMade = false
  const making = sha256([noise(64 * MIB, 'large')]).finally(() => {
    isMade = true
  })
  let turns = 0
  while (!isMade) {
    turns++
    await setImmediate()
  }
  await making
  t.ok(turns > 10, `it took ${turns} turns`)
})

t.test('where node hides its OpenSSL, and where koffi does not load', async t => {
  const script = (broken: string) => `
    const { createRequire } = await import('node:module')
    const koffi = createRequire(process.cwd() + '/src/sys/koffi.ts')('koffi')
    koffi.load = ${broken}
    const { sha256 } = await import('./src/crc/sha256.ts')
    console.log(Buffer.from(await sha256([Buffer.alloc(${MIB}, 'x')])).toString('hex'))`
  const expected = `${byNode([Buffer.alloc(MIB, 'x')])}\n`
  for (const broken of [
    `() => ({ func: () => { throw new Error('no such symbol') } })`,
    `() => { throw new Error('it cannot be loaded') }`,
    `() => ({ func: prototype => Object.assign(() => 0, { async: (...all) => all.at(-1)(null, 0) }) })`,
  ]) {
    const { code, stdout, stderr } = await run(moduleCommand(script(broken)))
    t.match({ code, stdout: String(stdout) }, { code: 0, stdout: expected }, stderr)
  }
})
