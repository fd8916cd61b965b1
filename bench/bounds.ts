/** What the machine can do at best, measured without any archiver: what is left to gain shows against it. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadBlockKernel } from '../src/crc/block-kernel.js'
import { cloneRange } from '../test/support/fiemap.js'
import { MIB, regularFiles, writeRandomFile } from './corpora/files.js'
import { type Bound, median } from './figures.js'
import { type Command, runCommand, runPipeline } from './pipeline.js'
import { evict, type Place, remove, sync } from './place.js'
import { RandomBytes } from './random.js'

const CAT = ['sh', '-c', 'exec cat > /dev/null']
const SIZE = 512 * MIB
const FILES = 5000
const CLONES = 200
const ROUNDS = 5

export async function measureBounds(place: Place, reftar: Command): Promise<Bound[]> {
  const directory = join(place.directory, 'bounds')
  mkdirSync(directory)
  try {
    return [
      ...(await ofProcesses(reftar)),
      ...(await ofSums()),
      ...(await ofData(place, directory)),
      ...(await ofFiles(place, directory, reftar)),
    ].map(bound => ({ ...bound, filesystem: place.filesystem }))
  } finally {
    remove(directory)
  }
}

type Found = Omit<Bound, 'filesystem'>

async function ofProcesses(reftar: Command): Promise<Found[]> {
  const start = (command: Command) => seconds(() => runCommand(command))
  return [
    {
      name: "node's start: node -e 0",
      value: 1e3 * (await start([process.execPath, '-e', '0'])),
      unit: 'ms',
    },
    { name: "reftar's start: --version", value: 1e3 * (await start([...reftar, '--version'])), unit: 'ms' },
  ]
}

async function ofSums(): Promise<Found[]> {
  const bytes = new RandomBytes('bounds').bytes(4 * MIB)
  const kernel = await loadBlockKernel()
  const sha256 = await seconds(() => void createHash('sha256').update(bytes).digest())
  const sums = await seconds(() => void kernel.sum(bytes.subarray(0, MIB), 4096))
  return [
    speed('SHA-256 in one thread', bytes.byteLength, sha256),
    speed('CRC32, second hash and zero test of blocks', MIB, sums),
  ]
}

async function ofData(place: Place, directory: string): Promise<Found[]> {
  const [file, copy, clone] = ['data', 'copy', 'clone'].map(name => join(directory, name)) as [
    string,
    string,
    string,
  ]
  writeRandomFile(file, SIZE, 'bounds')
  const pipe = await seconds(() => runPipeline(['cat', file], CAT))
  const warm = await seconds(() => read(file))
  const write = await seconds(async () => {
    await runCommand(['dd', `if=${file}`, `of=${copy}`, 'bs=1M', 'status=none'])
    await sync(place)
  })
  await evict(place, directory)
  const cold = await seconds(() => read(file), 1)
  writeFileSync(clone, '')
  const cloning = await seconds(() => {
    for (let i = 0; i < CLONES; i++) cloneRange(file, 0, MIB, clone, i * MIB)
  })
  return [
    speed('cat FILE | cat, warm', SIZE, pipe),
    speed('read of the page cache, 1 MiB at a time', SIZE, warm),
    speed('read of the disk', SIZE, cold),
    speed('write and sync', SIZE, write),
    { name: 'open, open, clone of 1 MiB, close, close', value: (1e6 * cloning) / CLONES, unit: 'us' },
  ]
}

async function ofFiles(place: Place, directory: string, reftar: Command): Promise<Found[]> {
  const bytes = new RandomBytes('small').bytes(2048)
  const tree = (round: number) => join(directory, `files-${round}`)
  let round = 0
  const created = await seconds(async () => {
    mkdirSync(tree(++round))
    for (let i = 0; i < FILES; i++) writeFileSync(join(tree(round), String(i)), bytes)
    await sync(place)
  })
  const files = regularFiles(tree(1))
  const opened = await seconds(() => {
    for (const file of files) readFileSync(file)
  })
  return [
    { name: 'a file made of 2 KiB, synced at the end', value: (1e6 * created) / FILES, unit: 'us' },
    { name: 'a file of 2 KiB opened, read and closed', value: (1e6 * opened) / FILES, unit: 'us' },
    ...callsForEach('reftar create', [...reftar, 'create', '-C'], tree(1)),
    ...callsForEach('tar --create', ['tar', '--create', '--file=-', '-C'], tree(1)),
  ]
}

/** How many system calls an archiver makes for each file, where strace is there to count them. */
function callsForEach(name: string, command: Command, tree: string): Found[] {
  const empty = join(tree, 'empty')
  mkdirSync(empty)
  const [none, all] = [systemCalls([...command, empty, '.']), systemCalls([...command, tree, '.'])]
  remove(empty)
  if (none === undefined || all === undefined) return []
  return [{ name: `${name}: system calls for a file`, value: (all - none) / FILES, unit: '' }]
}

function systemCalls([program = '', ...args]: Command): number | undefined {
  const report = join(tmpdir(), `strace-${process.pid}`)
  // GNU tar reads no files when it sees that its output is /dev/null.
  spawnSync('sh', ['-c', 'strace -f -c -o "$0" "$@" | cat > /dev/null', report, program, ...args], {
    stdio: 'ignore',
  })
  if (!existsSync(report)) return undefined
  const total = /^\s*100\.00(?:\s+[\d.]+){2}\s+(\d+).* total$/m.exec(readFileSync(report, 'utf8'))
  rmSync(report)
  return total ? Number(total[1]) : undefined
}

function speed(name: string, bytes: number, inSeconds: number): Found {
  return { name, value: bytes / inSeconds / 1e9, unit: 'GB/s' }
}

function read(file: string): void {
  const fd = openSync(file, 'r')
  const buffer = Buffer.alloc(MIB)
  while (readSync(fd, buffer) > 0);
  closeSync(fd)
}

/** The median of a few rounds. */
async function seconds(work: () => unknown, rounds = ROUNDS): Promise<number> {
  const all: number[] = []
  for (let round = 0; round < rounds; round++) {
    const start = performance.now()
    await work()
    all.push((performance.now() - start) / 1000)
  }
  return median(all)
}
