import { INODE_FLAGS } from '../format/inode-flags.js'
import type { Metadata } from '../record.js'
import { getInodeFlags, getProject } from '../sys/inode-attributes.js'
import { listXattrs } from '../sys/xattr.js'
import { isBestowed } from './extended-attributes.js'

/**
 * What every new file of a directory has of its own accord, before anything is set: learned from the first that is to have
 * something, for the directory is private, and stays as it is until all its files are made.
 */
export class Bestowal {
  #flags: number | undefined
  #project: number | undefined
  #hasXattrs: boolean | undefined

  /** @param fd - a file that is new and empty @throws SYSTEM_CALL */
  learn(fd: number, { flags, project, xattrs }: Metadata): void {
    if (flags !== undefined) this.#flags ??= (getInodeFlags(fd) ?? 0) & INODE_FLAGS
    if (project !== undefined) this.#project ??= getProject(fd) ?? 0
    if (xattrs?.length === 0) this.#hasXattrs ??= listXattrs(fd)?.some(isBestowed) ?? false
  }

  /** Whether a new file has the attributes that it is to have, and no others. */
  suffices({ flags, project, xattrs }: Metadata): boolean {
    return (
      (flags === undefined || flags === this.#flags) &&
      (project === undefined || project === this.#project) &&
      (xattrs === undefined || (xattrs.length === 0 && this.#hasXattrs === false))
    )
  }
}
