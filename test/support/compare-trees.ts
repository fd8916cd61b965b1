// Compares two trees, of which every name may be any string of bytes. Uses nothing of src/.
import * as fs from 'node:fs'
import koffi from 'koffi'

export type CompareOptions = {
  /** Compare where data and holes lie in regular files (default true). */
  holes?: boolean
  /** Compare the metadata of the two root directories themselves (default false). */
  root?: boolean
}

export type DataRange = { start: number; end: number }

const lib = koffi.load(null)
const lseek = lib.func('int64_t lseek(int fd, int64_t offset, int whence)')
const SEEK_DATA = 3
const SEEK_HOLE = 4
const ENXIO = 6

const CHUNK = 1024 * 1024
const chunkA = Buffer.alloc(CHUNK)
const chunkB = Buffer.alloc(CHUNK)

/** The data ranges of an open file as SEEK_DATA and SEEK_HOLE tell them, neighbours joined. */
export function dataRanges(fd: number, size: number): DataRange[] {
  const ranges: DataRange[] = []
  let at = 0
  while (at < size) {
    const start = Number(lseek(fd, at, SEEK_DATA))
    if (start < 0) {
      const errno = koffi.errno()
      if (errno === ENXIO) break
      throw new Error(`lseek(SEEK_DATA) failed: errno ${errno}`)
    }
    if (start >= size) break
    const end = Number(lseek(fd, start, SEEK_HOLE))
    if (end < 0) throw new Error(`lseek(SEEK_HOLE) failed: errno ${koffi.errno()}`)
    addRange(ranges, start, Math.min(end, size))
    at = end
  }
  return ranges
}

/** Lists how tree `b` differs from tree `a`, one line a difference; an empty list says that they are equal. */
export function compareTrees(
  a: string | Buffer,
  b: string | Buffer,
  { holes = true, root = false }: CompareOptions = {},
): string[] {
  const differences: string[] = []
  const linksA = new Map<string, string>()
  const linksB = new Map<string, string>()

  function compare(pathA: Buffer, pathB: Buffer, name: Buffer): void {
    const shown = name.length === 0 ? '.' : show(name)
    const report = (what: string, inA: unknown, inB: unknown): void => {
      differences.push(`${shown}: ${what}: ${inA} != ${inB}`)
    }
    const statA = fs.lstatSync(pathA, { bigint: true })
    const statB = fs.lstatSync(pathB, { bigint: true })
    const typeA = typeName(statA)
    const typeB = typeName(statB)
    if (typeA !== typeB) {
      report('type', typeA, typeB)
      return
    }
    if (name.length > 0 || typeA !== 'directory' || root) {
      const modeA = statA.mode & 0o7777n
      const modeB = statB.mode & 0o7777n
      if (modeA !== modeB) report('permissions', modeA.toString(8), modeB.toString(8))
      if (statA.uid !== statB.uid) report('uid', statA.uid, statB.uid)
      if (statA.gid !== statB.gid) report('gid', statA.gid, statB.gid)
      if (statA.mtimeNs !== statB.mtimeNs) report('mtime', statA.mtimeNs, statB.mtimeNs)
    }

    if (typeA === 'directory') {
      compareDirectories(pathA, pathB, name)
      return
    }
    const keyA = `${statA.dev}:${statA.ino}`
    const keyB = `${statB.dev}:${statB.ino}`
    const firstA = linksA.get(keyA)
    const firstB = linksB.get(keyB)
    if (firstA === undefined) linksA.set(keyA, shown)
    if (firstB === undefined) linksB.set(keyB, shown)
    if (firstA !== firstB) report('hard link to', firstA ?? 'nothing before', firstB ?? 'nothing before')

    if (typeA === 'symlink') {
      const targetA = fs.readlinkSync(pathA, { encoding: 'buffer' })
      const targetB = fs.readlinkSync(pathB, { encoding: 'buffer' })
      if (!targetA.equals(targetB)) report('target', show(targetA), show(targetB))
    } else if (typeA === 'character device' || typeA === 'block device') {
      if (statA.rdev !== statB.rdev) report('device', statA.rdev, statB.rdev)
    } else if (typeA === 'file') {
      if (statA.size !== statB.size) {
        report('size', statA.size, statB.size)
      } else if (statA.size > 0n && !(statA.dev === statB.dev && statA.ino === statB.ino)) {
        compareFiles(pathA, pathB, Number(statA.size), report)
      }
    }
  }

  function compareDirectories(pathA: Buffer, pathB: Buffer, name: Buffer): void {
    const namesA = sortedNames(pathA)
    const namesB = sortedNames(pathB)
    let indexA = 0
    let indexB = 0
    for (;;) {
      const nameA = namesA[indexA]
      const nameB = namesB[indexB]
      if (nameA === undefined && nameB === undefined) return
      const order =
        nameA === undefined ? 1 : nameB === undefined ? -1 : Math.sign(Buffer.compare(nameA, nameB))
      const entry = order <= 0 ? nameA : nameB
      if (entry === undefined) return
      if (order <= 0) indexA++
      if (order >= 0) indexB++
      const inner = name.length === 0 ? entry : join(name, entry)
      if (order !== 0) differences.push(`${show(inner)}: only in ${order < 0 ? 'the first' : 'the second'}`)
      else compare(join(pathA, entry), join(pathB, entry), inner)
    }
  }

  function compareFiles(
    pathA: Buffer,
    pathB: Buffer,
    size: number,
    report: (what: string, inA: unknown, inB: unknown) => void,
  ): void {
    const fdA = fs.openSync(pathA, 'r')
    try {
      const fdB = fs.openSync(pathB, 'r')
      try {
        const rangesA = dataRanges(fdA, size)
        const rangesB = dataRanges(fdB, size)
        const at = firstDifference(fdA, fdB, union(rangesA, rangesB))
        if (at >= 0) report(`content at ${at}`, byteAt(fdA, at), byteAt(fdB, at))
        if (holes && JSON.stringify(rangesA) !== JSON.stringify(rangesB)) {
          report('data ranges', showRanges(rangesA), showRanges(rangesB))
        }
      } finally {
        fs.closeSync(fdB)
      }
    } finally {
      fs.closeSync(fdA)
    }
  }

  compare(Buffer.from(a), Buffer.from(b), Buffer.alloc(0))
  return differences
}

function firstDifference(fdA: number, fdB: number, ranges: readonly DataRange[]): number {
  for (const { start, end } of ranges) {
    for (let at = start; at < end; at += CHUNK) {
      const length = Math.min(CHUNK, end - at)
      const partA = readFully(fdA, chunkA, length, at)
      const partB = readFully(fdB, chunkB, length, at)
      if (partA.equals(partB)) continue
      for (let index = 0; index < length; index++) {
        if (partA[index] !== partB[index]) return at + index
      }
    }
  }
  return -1
}

function readFully(fd: number, buffer: Buffer, length: number, position: number): Buffer {
  let done = 0
  while (done < length) {
    const got = fs.readSync(fd, buffer, done, length - done, position + done)
    if (got === 0) break
    done += got
  }
  return buffer.subarray(0, done)
}

function byteAt(fd: number, position: number): string {
  const byte = Buffer.alloc(1)
  return fs.readSync(fd, byte, 0, 1, position) === 1 ? `0x${byte.toString('hex')}` : 'end of file'
}

function addRange(ranges: DataRange[], start: number, end: number): void {
  const last = ranges.at(-1)
  if (last !== undefined && start <= last.end) last.end = Math.max(last.end, end)
  else ranges.push({ start, end })
}

function union(a: readonly DataRange[], b: readonly DataRange[]): DataRange[] {
  const result: DataRange[] = []
  for (const { start, end } of [...a, ...b].sort((x, y) => x.start - y.start)) addRange(result, start, end)
  return result
}

function showRanges(ranges: readonly DataRange[]): string {
  const shown = ranges.slice(0, 8).map(({ start, end }) => `${start}-${end}`)
  if (ranges.length > shown.length) shown.push(`... (${ranges.length} ranges)`)
  return `[${shown.join(' ')}]`
}

function sortedNames(directory: Buffer): Buffer[] {
  return fs.readdirSync(directory, { encoding: 'buffer' }).sort(Buffer.compare)
}

function join(directory: Buffer, name: Buffer): Buffer {
  return Buffer.concat([directory, Buffer.from('/'), name])
}

function typeName(stat: fs.BigIntStats): string {
  if (stat.isFile()) return 'file'
  if (stat.isDirectory()) return 'directory'
  if (stat.isSymbolicLink()) return 'symlink'
  if (stat.isFIFO()) return 'fifo'
  if (stat.isSocket()) return 'socket'
  if (stat.isCharacterDevice()) return 'character device'
  if (stat.isBlockDevice()) return 'block device'
  return 'unknown'
}

/** Bytes as text: UTF-8 where they are that and hold no control characters, else with \xNN. */
function show(bytes: Buffer): string {
  const text = bytes.toString('utf8')
  if (Buffer.from(text).equals(bytes) && !/[\p{Cc}\\]/u.test(text)) return text
  return Array.from(bytes, byte =>
    byte >= 0x20 && byte < 0x7f && byte !== 0x5c
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, '0')}`,
  ).join('')
}
