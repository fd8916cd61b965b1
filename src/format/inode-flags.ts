/** Inode flags by their numbers of linux/fs.h, which are those of archives: FORMAT.md, "Inode flags". */

export const FS_SYNC_FL = 0x8
export const FS_IMMUTABLE_FL = 0x10
export const FS_APPEND_FL = 0x20
export const FS_NODUMP_FL = 0x40
export const FS_NOATIME_FL = 0x80
export const FS_COMPR_FL = 0x4
export const FS_NOCOMP_FL = 0x400
export const FS_JOURNAL_DATA_FL = 0x4000
export const FS_NOTAIL_FL = 0x8000
export const FS_DIRSYNC_FL = 0x10000
export const FS_TOPDIR_FL = 0x20000
export const FS_NOCOW_FL = 0x800000
export const FS_DAX_FL = 0x2000000
export const FS_PROJINHERIT_FL = 0x20000000

const NAMES: readonly (readonly [number, string])[] = [
  [FS_COMPR_FL, 'compress'],
  [FS_SYNC_FL, 'sync'],
  [FS_IMMUTABLE_FL, 'immutable'],
  [FS_APPEND_FL, 'append-only'],
  [FS_NODUMP_FL, 'nodump'],
  [FS_NOATIME_FL, 'noatime'],
  [FS_NOCOMP_FL, 'nocompress'],
  [FS_JOURNAL_DATA_FL, 'journal-data'],
  [FS_NOTAIL_FL, 'notail'],
  [FS_DIRSYNC_FL, 'dirsync'],
  [FS_TOPDIR_FL, 'topdir'],
  [FS_NOCOW_FL, 'nocow'],
  [FS_DAX_FL, 'dax'],
  [FS_PROJINHERIT_FL, 'project-inherit'],
]

/** The flags that a user can set, and that an archive can hold. */
export const INODE_FLAGS = NAMES.reduce((all, [flag]) => all | flag, 0)

/** The names of flags, for people. */
export function flagNames(flags: number): string {
  const names = NAMES.filter(([flag]) => (flags & flag) !== 0).map(([, name]) => name)
  return names.length > 0 ? names.join(', ') : 'none'
}
