import fc from 'fast-check'
import t from 'tap'
import { addressesFollow, DataSpace } from '../../src/format/data-space.js'

t.test('each append begins at a fresh block, at its offset in the block', t => {
  const space = new DataSpace<string>(512)
  t.equal(space.append(0, 100, 'a'), 0)
  t.equal(space.size, 512)
  t.equal(space.append(188, 1000, 'b'), 512 + 188)
  t.equal(space.size, 512 * 4)
  t.equal(space.append(0, 512, 'c'), 512 * 4)
  t.same([...space.resolve(50, 50)], [{ place: 'a', skip: 50, length: 50 }])
  t.same([...space.resolve(701, 999)], [{ place: 'b', skip: 1, length: 999 }])
  for (const [address, length] of [
    [0, 101],
    [100, 1],
    [511, 1],
    [512, 1],
    [699, 2],
    [700, 1001],
    [2560, 1],
    [-1, 1],
    [0.5, 1],
    [Number.NaN, 1],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ] as const) {
    t.throws(
      () => [...space.resolve(address, length)],
      { code: 'DANGLING_REFERENCE' },
      `${address}, ${length}`,
    )
  }
  t.throws(() => [...new DataSpace().resolve(0, 1)], { code: 'DANGLING_REFERENCE' })
  t.end()
})

t.test('the rest of a piece from an address on', t => {
  const space = new DataSpace<string>(512)
  t.equal(space.at(0), undefined, 'of nothing')
  space.append(100, 50, 'a')
  space.append(0, 512, 'b')
  t.same(space.at(100), { place: 'a', skip: 0, length: 50 })
  t.same(space.at(149), { place: 'a', skip: 49, length: 1 })
  t.same(space.at(1000), { place: 'b', skip: 488, length: 24 })
  for (const address of [-1, 99, 150, 511, 1024]) t.equal(space.at(address), undefined, `${address}`)
  t.end()
})

t.test('rows are joined where their places follow one another', t => {
  const space = new DataSpace<number>(1, addressesFollow)
  space.append(0, 10, 1000)
  space.append(0, 10, 1010)
  space.append(0, 10, 2000)
  space.append(0, 10, 1020)
  t.same(
    [...space.resolve(5, 30)],
    [
      { place: 1000, skip: 5, length: 15 },
      { place: 2000, skip: 0, length: 10 },
      { place: 1020, skip: 0, length: 5 },
    ],
  )
  t.end()
})

t.test('resolving finds what a list of every byte finds', t => {
  const append = fc.record({ blocks: fc.nat(3), inBlock: fc.nat(7), length: fc.integer({ min: 1, max: 20 }) })
  fc.assert(
    fc.property(
      fc.array(append),
      fc.nat(200),
      fc.integer({ min: 1, max: 40 }),
      (appends, address, length) => {
        const space = new DataSpace<number>(8, addressesFollow)
        const bytes: (number | undefined)[] = []
        let place = 0
        for (const { inBlock, length, blocks } of appends) {
          place += blocks
          const start = space.append(inBlock, length, place)
          for (let i = 0; i < length; i++) bytes[start + i] = place + i
          place += length
        }
        const wanted = Array.from({ length }, (_, i) => bytes[address + i])
        let found: number[] | undefined
        try {
          found = [...space.resolve(address, length)].flatMap(({ place, skip, length }) =>
            Array.from({ length }, (_, i) => place + skip + i),
          )
        } catch {
          return wanted.includes(undefined)
        }
        return JSON.stringify(found) === JSON.stringify(wanted)
      },
    ),
  )
  t.end()
})

t.test('a space of many rows', t => {
  const space = new DataSpace<number>(512, addressesFollow)
  for (let i = 0; i < 10_000; i++) space.append(1, 100, i)
  for (let i = 0; i < 10_000; i++) {
    const pieces = [...space.resolve(512 * i + 11, 90)]
    if (pieces.length !== 1 || pieces[0]?.place !== i || pieces[0].skip !== 10) t.fail(`row ${i}`)
  }
  t.throws(() => [...space.resolve(512 * 5000 + 11, 91)], { code: 'DANGLING_REFERENCE' })
  t.end()
})
