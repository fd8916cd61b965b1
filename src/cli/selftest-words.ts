import type { Ability, AbilityName } from '../selftest.js'

/** What each is, and what becomes of archives without it. */
const ABILITIES: Readonly<Record<AbilityName, readonly [what: string, without: string]>> = {
  clone: ['files share storage: FICLONERANGE', 'archives are restored to plain copies'],
  map: ['files tell where they lie: FIEMAP', 'what shares storage is found by its content only'],
  compressedExtents: [
    'compressed files tell it, too: BTRFS_IOC_TREE_SEARCH_V2',
    'only root may ask; the sharing of compressed files is not kept',
  ],
  holes: ['files tell where they have holes: SEEK_HOLE', 'holes are archived as zeros'],
  reserve: ['storage is reserved: fallocate', 'what is reserved is not restored'],
  unnamedFiles: ['files without a name: O_TMPFILE', 'create --snapshot reads files as they are'],
  renameToFree: [
    'names are given only where they are free: RENAME_NOREPLACE',
    'hard links do it, or a look before',
  ],
  exchange: [
    'two names change places: RENAME_EXCHANGE',
    'extract --overwrite takes more than one step for each name',
  ],
  anyNames: ['names of any bytes', 'names that are not text cannot be restored'],
  userXattrs: ['extended attributes: user.*', 'they are not restored'],
  trustedXattrs: ['extended attributes that only root may set: trusted.*', 'they are not restored'],
  acls: ['access control lists', 'they are not restored'],
  inodeFlags: ['inode flags: chattr', 'they are not restored'],
  owners: ['files are given to other owners: chown', 'they belong to whoever extracts them'],
  times: ['times to the nanosecond', 'they are rounded'],
  hardLinks: ['hard links', 'they cannot be restored'],
  symlinks: ['symbolic links', 'they cannot be restored'],
  fifos: ['FIFOs', 'they cannot be restored'],
  devices: ['device nodes: mknod', 'they are left out'],
}

/** The one who reads this may never have heard of any of it. */
export function abilityLine({ name, can, error, unit }: Ability): string {
  const [what, without] = ABILITIES[name]
  if (can) return `yes  ${what}${unit === undefined ? '' : `, in units of ${unit} bytes`}`
  return `no   ${what}${error === undefined ? '' : ` (${error})`}; ${without}`
}
