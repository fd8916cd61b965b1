// Compares what of two trees node:fs cannot read. Uses nothing of src/, so that it can be the judge of it.
import * as fs from 'node:fs'
import { getInodeFlags, getProject, getXattr, listXattrs, withFile } from './system-calls.js'

interface Attributes {
  /** Values in hexadecimal, by names as latin1. */
  readonly xattrs: ReadonlyMap<string, string>
  /** Those that a user can set; of a file or directory. */
  readonly flags: number
  /** The quota project; of a file or directory. */
  readonly project: number
}

/** scSiadAmjtDTCxP by the letters of chattr(1), and undeletable: the other flags are facts of the filesystem. */
const SETTABLE = 0x2283_c4ff
/** What XFS shows of a POSIX ACL in another form. */
const SHADOW = 'trusted.SGI_'

/** How the attributes of what is below `b` differ from those below `a`, of all names that are in both. */
export function attributeDifferences(a: string | Buffer, b: string | Buffer): string[] {
  const differences: string[] = []
  const walk = (inA: Buffer, inB: Buffer, above: string): void => {
    for (const name of fs.readdirSync(inA, { encoding: 'buffer' }).sort(Buffer.compare)) {
      const [pathA, pathB] = [join(inA, name), join(inB, name)]
      const statusB = fs.lstatSync(pathB, { throwIfNoEntry: false })
      if (statusB === undefined) continue
      const shown = `${above}${show(name)}`
      for (const difference of compare(attributesOf(pathA), attributesOf(pathB)))
        differences.push(`${shown}: ${difference}`)
      if (fs.lstatSync(pathA).isDirectory() && statusB.isDirectory()) walk(pathA, pathB, `${shown}/`)
    }
  }
  walk(Buffer.from(a), Buffer.from(b), '')
  return differences
}

function attributesOf(path: Buffer): Attributes {
  const xattrs = new Map<string, string>()
  for (const name of listXattrs(path)) {
    const text = name.toString('latin1')
    if (!text.startsWith(SHADOW)) xattrs.set(text, getXattr(path, name).toString('hex'))
  }
  const status = fs.lstatSync(path)
  if (!status.isFile() && !status.isDirectory()) return { xattrs, flags: 0, project: 0 }
  return withFile(path, fs.constants.O_RDONLY, fd => ({
    xattrs,
    flags: getInodeFlags(fd) & SETTABLE,
    project: getProject(fd),
  }))
}

function compare(a: Attributes, b: Attributes): string[] {
  const differences: string[] = []
  for (const name of new Set([...a.xattrs.keys(), ...b.xattrs.keys()])) {
    const [inA, inB] = [a.xattrs.get(name), b.xattrs.get(name)]
    if (inA !== inB) differences.push(`${JSON.stringify(name)}: ${inA ?? 'none'} != ${inB ?? 'none'}`)
  }
  if (a.flags !== b.flags) differences.push(`flags: 0x${a.flags.toString(16)} != 0x${b.flags.toString(16)}`)
  if (a.project !== b.project) differences.push(`project: ${a.project} != ${b.project}`)
  return differences
}

function join(directory: Buffer, name: Buffer): Buffer {
  return Buffer.concat([directory, Buffer.from('/'), name])
}

function show(name: Buffer): string {
  return name
    .toString('latin1')
    .replace(/[^ -~]|\\/g, byte => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
