// A selftest that could not fail would be none: here something goes wrong behind its back, each time something else.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type SelftestStep, selftest } from '../../src/selftest.js'
import { scratch } from '../cli/run.js'
import { testDirectory } from '../support/filesystems.js'
import { injected, loggedCalls } from '../support/injected.js'
import { MIB, noise, overwrite } from '../support/trees.js'

process.umask(0o022)

type When = SelftestStep['type']

/** Runs a selftest, and does something to its files after one of its steps; returns the problems that it tells. */
async function sabotaged(
  t: Test,
  when: When,
  sabotage: (own: string, way: string) => void,
  onWay = 'stream',
): Promise<string[] | undefined> {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return undefined
  const problems: string[] = []
  let done = 0
  const { problems: count } = await selftest(directory, {
    onStep(step) {
      const way = 'way' in step ? step.way : onWay
      if (step.type !== when || way !== onWay) return
      done++
      const [own = ''] = fs.readdirSync(directory)
      sabotage(join(directory, own), join(directory, own, way))
    },
    onEvent(event) {
      if (event.type === 'problem') problems.push(event.message)
    },
  })
  t.equal(done, 1, 'it was done')
  t.equal(count, problems.length)
  t.same(fs.readdirSync(directory), [], 'nothing is left')
  return problems
}

/** Writes into a file, whose times stay. */
function stealthily(file: string, position: number, bytes: Uint8Array): void {
  const { atime, mtime } = fs.statSync(file)
  overwrite(file, position, bytes)
  fs.utimesSync(file, atime, mtime)
}

const cases: readonly [what: string, when: When, how: (own: string, way: string) => void, told: RegExp[]][] =
  [
    [
      'a byte of a file that was made',
      'made',
      own => overwrite(join(own, 'source/images/web'), 100, Buffer.from([1])),
      [/^'images\/web': does not have the bytes that were written$/],
    ],
    [
      'a file that was made shares less',
      'made',
      own => {
        const file = join(own, 'source/images/db')
        overwrite(file, 0, fs.readFileSync(file).subarray(0, MIB))
      },
      [/^'images': have 9965174 bytes in common on the disk, expected 11013750$/],
    ],
    [
      'a source that changed after it was archived',
      'archived',
      own => overwrite(join(own, 'source/reports/june'), 0, noise(5000)),
      [/^'reports\/june': differs at byte 0$/, /'reports\/june': has time /],
    ],
    [
      'a byte of a file that was restored',
      'restored',
      (_, way) => stealthily(join(way, 'images/web'), 4 * MIB, Buffer.from([1])),
      [
        /^'images\/web': differs at byte 4194304$/,
        /^'images\/web': does not have the bytes that were written$/,
      ],
    ],
    [
      'the mode of a file that was restored',
      'restored',
      (_, way) => fs.chmodSync(join(way, 'oddities/small'), 0o666),
      [/^'oddities\/hardLinks': has mode 0666, expected 0600$/],
    ],
    [
      'a name that was not restored',
      'restored',
      (_, way) => fs.rmSync(join(way, 'oddities/fifos')),
      [/^'oddities\/fifos': is not there$/],
    ],
    [
      'a restored file that shares less',
      'restored',
      (_, way) => {
        const file = join(way, 'images/db')
        stealthily(file, 0, fs.readFileSync(file).subarray(0, MIB))
      },
      [
        /^'images\/template': shares 1048576 of 2097152 bytes at 0, expected all$/,
        /^'images': have 9965174 bytes in common/,
      ],
    ],
  ]

for (const way of ['stream', 'zeroCopy']) {
  for (const [what, when, how, told] of cases) {
    if (way === 'zeroCopy' && when !== 'restored') continue
    t.test(`${what}: ${way}`, async t => {
      const problems = await sabotaged(t, when, how, way)
      if (problems === undefined) return
      for (const message of told)
        t.ok(
          problems.some(problem => message.test(problem)),
          `${message}: ${problems}`,
        )
    })
  }
}

t.test('an archive that was damaged', async t => {
  for (const way of ['stream', 'zeroCopy']) {
    const damage = (own: string) => overwrite(join(own, `${way}.reftar`), 2 * MIB, noise(100))
    await t.rejects(sabotaged(t, 'archived', damage, way), { code: 'CHECKSUM_MISMATCH' })
  }
})

t.test('clones that the kernel refuses, or only pretends to make', async t => {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return
  const log = join(scratch(t), 'log')
  const argv = ['selftest', directory]
  const { calls, code } = await loggedCalls(log, ['ioctl'], argv)
  t.equal(code, 0)
  const clones = calls.filter(({ line }) => line.includes('FICLONERANGE') && line.includes('images/'))
  const made = clones.find(({ line }) => line.includes('source/images/db'))?.when ?? 0
  const restored =
    clones.find(({ line }) => line.includes('/stream/') && line.includes('images/db'))?.when ?? 0
  t.ok(made > 0 && restored > made)

  const pretended = await injected('ioctl', 'retval=0', made, argv)
  t.match(pretended, { code: 1, stderr: /'images\/db': does not have the bytes that were written/ })
  const failed = await injected('ioctl', 'error=EIO', made, argv)
  t.match(failed, { code: 2, stderr: /^reftar: 'images\/db': ioctl\(FICLONERANGE\): .*EIO\)\n$/ })

  const copied = await injected('ioctl', 'error=EOPNOTSUPP', restored, argv)
  t.match(copied, { code: 1, stderr: /'images': have \d+ bytes in common on the disk, expected 11013750\n/ })
  t.match(copied.stdout.toString(), /\n\d things? did not come out right\n$/)
  const empty = await injected('ioctl', 'retval=0', restored, argv)
  t.match(empty, { code: 1, stderr: /'images\/\w+': does not have the bytes that were written/ })
  t.same(fs.readdirSync(directory), [], 'nothing is left')
})
