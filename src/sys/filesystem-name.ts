import { BTRFS, EXT4, F2FS, FUSE, XFS } from './filesystem.js'

/** The numbers of statfs(2), and linux/magic.h. */
const NAMES = new Map<number, string>([
  [BTRFS, 'btrfs'],
  [XFS, 'XFS'],
  // And its ancestors, which have the same number.
  [EXT4, 'ext4'],
  [F2FS, 'F2FS'],
  [0x01021994, 'tmpfs'],
  [0x794c7630, 'overlay'],
  [0x2fc12fc1, 'ZFS'],
  [0xca451a4e, 'bcachefs'],
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [FUSE, 'FUSE'],
  [0x01021997, '9P'],
  [0x00c36400, 'Ceph'],
  [0x7461636f, 'OCFS2'],
  [0x4d44, 'VFAT'],
  [0x2011bab0, 'exFAT'],
  [0x7366746e, 'NTFS'],
])

/** What people call a filesystem with this f_type of statfs(2); of one that is not known, the number itself. */
export function filesystemName(type: number): string {
  return NAMES.get(type) ?? `filesystem 0x${type.toString(16)}`
}
