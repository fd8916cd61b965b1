import { constants } from 'node:fs'
import { caught } from '../errors.js'
import { btrfsExtents } from '../sys/btrfs-extents.js'
import { cloneRange } from '../sys/clone-range.js'
import { openat, renameExchange, renameNoReplace } from '../sys/directory.js'
import * as errno from '../sys/errno.js'
import { fiemap } from '../sys/fiemap.js'
import { close, seekData, truncate, writeAt } from '../sys/file.js'
import { BTRFS, filesystemOf } from '../sys/filesystem.js'
import { errnoName, systemError } from '../sys/koffi.js'
import { statFd } from '../sys/status.js'
import { ATTRIBUTES, ODD_NAME, SPECIAL_FILES } from './features.js'
import type { Folder } from './folder.js'

/** What a filesystem, a kernel and a user can do together, or cannot. */
export interface Ability {
  readonly name: AbilityName
  readonly can: boolean
  /** The error that says that it cannot be, as EOPNOTSUPP; absent where there was none. */
  readonly error?: string
  /** Of clones: what their offsets must be multiples of, in bytes. */
  readonly unit?: number
}

export type AbilityName = keyof typeof PROBES | keyof typeof ATTRIBUTES | keyof typeof SPECIAL_FILES

/** False where it came to nothing. @throws SYSTEM_CALL where it cannot be */
type Probe = (folder: Folder) => boolean

/** These say that something cannot be; every other error says that it failed. */
const REFUSALS: ReadonlySet<number | undefined> = new Set([
  errno.EPERM,
  errno.EACCES,
  errno.EINVAL,
  errno.ENOTTY,
  errno.EOPNOTSUPP,
  errno.ENOSYS,
  errno.EXDEV,
  errno.EISDIR,
  errno.EMLINK,
  errno.EILSEQ,
])

const DATA = Buffer.alloc(128 * 1024, 'reftar ')
const NOTHING = Buffer.alloc(0)
const SPARSE = 1024 * 1024
/** What the blocks of filesystems have. */
const UNITS = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
const CURRENT = Buffer.from('.')
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY

const PROBES = {
  clone: folder => cloneOf(folder, 0, DATA.byteLength),
  map: folder => fiemap(folder.file(DATA), 0, DATA.byteLength).length > 0,
  compressedExtents(folder) {
    const fd = folder.file(DATA)
    return btrfsExtents(fd, statFd(fd).ino, 0, DATA.byteLength) !== undefined
  },
  holes(folder) {
    const fd = folder.file(NOTHING)
    truncate(fd, SPARSE)
    writeAt(fd, DATA, SPARSE)
    return seekData(fd, 0) === SPARSE
  },
  unnamedFiles(folder) {
    close(openat(folder.fd, CURRENT, O_TMPFILE | constants.O_RDWR, 0o600))
    return true
  },
  renameToFree(folder) {
    const [name, free, taken] = [folder.freeName(), folder.freeName(), folder.freeName()]
    folder.file(DATA, name)
    folder.file(DATA, taken)
    renameNoReplace(folder.fd, name, folder.fd, free)
    try {
      renameNoReplace(folder.fd, free, folder.fd, taken)
      return false
    } catch (error) {
      return caught(error).errno === errno.EEXIST
    }
  },
  exchange(folder) {
    const [one, other] = [folder.freeName(), folder.freeName()]
    folder.file(DATA, one)
    folder.file(DATA, other)
    renameExchange(folder.fd, one, folder.fd, other)
    return true
  },
  anyNames(folder) {
    folder.file(NOTHING, ODD_NAME)
    return true
  },
} satisfies Record<string, Probe>

/** Tries each that the filesystem is asked for, in a folder that is empty. @throws SYSTEM_CALL for what can be, and failed */
export function* abilitiesIn(folder: Folder): Generator<Ability, void, undefined> {
  const isBtrfs = filesystemOf(folder.fd).type === BTRFS
  for (const [name, probe] of Object.entries(allProbes())) {
    if (name === 'compressedExtents' && !isBtrfs) continue
    const { can, error } = attempt(() => probe(folder))
    const unit = name === 'clone' && can ? cloneUnit(folder) : undefined
    yield {
      name: name as AbilityName,
      can,
      ...(error !== undefined && { error }),
      ...(unit !== undefined && { unit }),
    }
  }
}

function allProbes(): Record<string, Probe> {
  const all: Record<string, Probe> = { ...PROBES }
  for (const [name, give] of Object.entries(ATTRIBUTES)) all[name] = folder => give(folder.file(DATA))
  for (const [name, make] of Object.entries(SPECIAL_FILES)) {
    all[name] = folder => {
      const file = folder.freeName()
      folder.file(NOTHING, file)
      make(folder.fd, folder.freeName(), file)
      return true
    }
  }
  return all
}

/** The smallest offset of which the kernel takes a clone. @throws SYSTEM_CALL */
function cloneUnit(folder: Folder): number | undefined {
  return UNITS.find(unit => attempt(() => cloneOf(folder, unit, unit)).can)
}

/** @throws SYSTEM_CALL */
function cloneOf(folder: Folder, offset: number, length: number): boolean {
  const error = cloneRange(folder.file(DATA), offset, length, folder.file(NOTHING), offset)
  if (error !== 0) throw systemError('ioctl(FICLONERANGE)', error)
  return true
}

function attempt(work: () => boolean): { readonly can: boolean; readonly error?: string } {
  try {
    return { can: work() }
  } catch (error) {
    const { errno: number } = caught(error)
    if (number === undefined || !REFUSALS.has(number)) throw error
    return { can: false, error: errnoName(number) }
  }
}
