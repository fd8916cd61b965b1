import { ReftarError } from '../errors.js'
import {
  FS_APPEND_FL,
  FS_COMPR_FL,
  FS_IMMUTABLE_FL,
  FS_NOCOMP_FL,
  FS_NOCOW_FL,
  flagNames,
  INODE_FLAGS,
} from '../format/inode-flags.js'
import type { Metadata } from '../record.js'
import { EOPNOTSUPP } from '../sys/errno.js'
import { EXT4, F2FS, XFS } from '../sys/filesystem.js'
import {
  forbidChanges,
  getInodeFlags,
  getProject,
  getXfsAttributes,
  setInodeFlags,
  setProject,
} from '../sys/inode-attributes.js'
import { systemError } from '../sys/koffi.js'
import type { OnFailure } from './extended-attributes.js'

/** Inode flags and quota projects: capture, apply and compare, of open files and directories. */

type Attributes = Pick<Metadata, 'flags' | 'project'>

/** They say how data is stored, so they come before the first byte. */
const EARLY = FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL
/** Nothing can be changed, linked or renamed after them. */
const LATE = FS_IMMUTABLE_FL | FS_APPEND_FL

const WITH_PROJECTS = [EXT4, F2FS]

/** @param filesystem - f_type of statfs(2) @throws SYSTEM_CALL */
export function captureAttributes(fd: number, filesystem: number): Attributes {
  if (filesystem === XFS) return getXfsAttributes(fd)
  const attributes: { -readonly [K in keyof Attributes]: Attributes[K] } = {}
  const flags = getInodeFlags(fd)
  if (flags !== undefined) attributes.flags = flags & INODE_FLAGS
  const project = WITH_PROJECTS.includes(filesystem) ? getProject(fd) : undefined
  if (project !== undefined) attributes.project = project
  return attributes
}

/** For a file that is empty: how its data is to be stored. What cannot be is told by {@link applyFlags}. */
export function applyEarlyFlags(fd: number, { flags }: Attributes): void {
  if (flags === undefined) return
  const found = getInodeFlags(fd)
  const wanted = flags & EARLY
  if (found === undefined || (found & EARLY) === wanted) return
  setEach(fd, (found & ~EARLY) | wanted, wanted)
}

/** All flags but those that must come last. @throws SYSTEM_CALL */
export function applyFlags(fd: number, { flags }: Attributes, onFailure: OnFailure): void {
  if (flags !== undefined) makeFlags(fd, flags & ~LATE, onFailure)
}

/** What can be set only when everything else is done, and the file has its name; undefined for nothing. @throws SYSTEM_CALL */
export function lateAttributes(fd: number, { flags, project }: Attributes): Attributes | undefined {
  const isLate = flags !== undefined && (flags & LATE) !== 0
  // A project of the target can keep what has another one from being moved into it.
  const isOther = project !== undefined && (getProject(fd) ?? 0) !== project
  if (!isLate && !isOther) return undefined
  return { ...(isLate && { flags }), ...(isOther && { project }) }
}

/** @throws SYSTEM_CALL */
export function applyLateAttributes(fd: number, { flags, project }: Attributes, onFailure: OnFailure): void {
  if (project !== undefined) attempt(`project ${project}`, onFailure, () => setProject(fd, project))
  if (flags === undefined) return
  attempt(`inode flags ${flagNames(flags & LATE)}`, onFailure, () => {
    forbidChanges(fd, flags)
    if (((getInodeFlags(fd) ?? 0) & LATE) !== (flags & LATE)) throw refused(EOPNOTSUPP)
  })
}

/** In words. @throws SYSTEM_CALL */
export function attributeDifferences(fd: number, { flags, project }: Attributes): string[] {
  const out: string[] = []
  const foundFlags = (getInodeFlags(fd) ?? 0) & INODE_FLAGS
  if (flags !== undefined && flags !== foundFlags)
    out.push(`has inode flags ${flagNames(foundFlags)}, expected ${flagNames(flags)}`)
  if (project !== undefined && project !== (getProject(fd) ?? 0))
    out.push(`has project ${getProject(fd) ?? 0}, expected ${project}`)
  return out
}

function attempt(what: string, onFailure: OnFailure, work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof ReftarError)) throw error
    onFailure(what, error)
  }
}

function makeFlags(fd: number, wanted: number, onFailure: OnFailure): void {
  const found = getInodeFlags(fd)
  if (found === undefined) {
    if (wanted !== 0) onFailure(`inode flags ${flagNames(wanted)}`, refused(EOPNOTSUPP))
    return
  }
  if ((found & INODE_FLAGS) === wanted) return
  const error = setEach(fd, (found & ~INODE_FLAGS) | wanted, wanted)
  const missing = wanted ^ ((getInodeFlags(fd) ?? 0) & INODE_FLAGS)
  if (missing !== 0) onFailure(`inode flags ${flagNames(missing)}`, error ?? refused(EOPNOTSUPP))
}

/** All at once, else one after the other, so that one which cannot be does not keep the others away. */
function setEach(fd: number, all: number, wanted: number): ReftarError | undefined {
  let last = trySet(fd, all)
  if (!last) return undefined
  let flags = all & ~wanted
  trySet(fd, flags)
  for (let bit = 1; bit <= wanted && bit > 0; bit *= 2) {
    if (!(wanted & bit)) continue
    const error = trySet(fd, flags | bit)
    if (error) last = error
    else flags |= bit
  }
  return last
}

function trySet(fd: number, flags: number): ReftarError | undefined {
  try {
    setInodeFlags(fd, flags >>> 0)
    return undefined
  } catch (error) {
    if (error instanceof ReftarError) return error
    throw error
  }
}

function refused(errno: number): ReftarError {
  return systemError('ioctl(FS_IOC_SETFLAGS)', errno)
}
