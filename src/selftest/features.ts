import { linkat, makedev, mknodat, symlinkat } from '../sys/directory.js'
import { ENOTTY } from '../sys/errno.js'
import { changeOwner, preallocate, setModified } from '../sys/file.js'
import { getInodeFlags, setInodeFlags } from '../sys/inode-attributes.js'
import { systemError } from '../sys/koffi.js'
import { S_IFCHR, S_IFIFO, statFd } from '../sys/status.js'
import { setXattr } from '../sys/xattr.js'

/** What files can have, and not everywhere. Each is tried, and then given to a file that is archived. */

const FS_NODUMP_FL = 0x40
/** That of /dev/null. */
const NULL_DEVICE = { major: 1, minor: 3 }
const READABLE = 0o644
/** Of times, in which every digit counts. */
const TIME = { seconds: 1_000_000_000, nanoseconds: 123_456_789 }
/** An ACL by linux/posix_acl_xattr.h, as `user::rw-,user:1:r--,group::r--,mask::r--,other::r--`. */
const ACL = Buffer.from(
  '0200000001000600ffffffff020004000100000004000400ffffffff10000400ffffffff20000400ffffffff',
  'hex',
)

/** Does something to an open file; false where it came to nothing. @throws SYSTEM_CALL where it cannot be */
type Give = (fd: number) => boolean

export const ATTRIBUTES = {
  reserve: done(fd => preallocate(fd, 0, 1024 * 1024)),
  userXattrs: done(fd => setXattr(fd, Buffer.from('user.reftar'), Buffer.from('of a user'))),
  trustedXattrs: done(fd => setXattr(fd, Buffer.from('trusted.reftar'), Buffer.from('of root'))),
  acls: done(fd => setXattr(fd, Buffer.from('system.posix_acl_access'), ACL)),
  inodeFlags(fd) {
    const flags = getInodeFlags(fd)
    if (flags === undefined) throw systemError('ioctl(FS_IOC_GETFLAGS)', ENOTTY)
    setInodeFlags(fd, flags | FS_NODUMP_FL)
    return getInodeFlags(fd) === (flags | FS_NODUMP_FL)
  },
  owners: done(fd => changeOwner(fd, statFd(fd).uid + 1, statFd(fd).gid + 1)),
  times(fd) {
    setModified(fd, TIME, 'kept')
    return statFd(fd).modified.nanoseconds === TIME.nanoseconds
  },
} satisfies Record<string, Give>

/** Makes a name in an open directory, where `file` is that of a file. @throws SYSTEM_CALL where it cannot be */
type Make = (directory: number, name: Uint8Array, file: Uint8Array) => void

export const SPECIAL_FILES = {
  hardLinks: (directory, name, file) => linkat(directory, file, directory, name),
  symlinks: (directory, name, file) => symlinkat(file, directory, name),
  fifos: (directory, name) => mknodat(directory, name, S_IFIFO | READABLE, 0),
  devices: (directory, name) => mknodat(directory, name, S_IFCHR | READABLE, makedev(NULL_DEVICE)),
} satisfies Record<string, Make>

/** A name that is no text, and that no shell takes as it is. */
export const ODD_NAME = Buffer.from([0xff, 0x0a, 0x5c])

function done(work: (fd: number) => void): Give {
  return fd => {
    work(fd)
    return true
  }
}
