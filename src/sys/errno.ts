import { constants } from 'node:os'

/** Error numbers of this system, as in errno(3). */
export const {
  EPERM,
  ENOENT,
  EEXIST,
  EINVAL,
  ENOTDIR,
  EXDEV,
  ENOTTY,
  EOPNOTSUPP,
  ENOSYS,
  ENXIO,
  ETXTBSY,
  EACCES,
  ELOOP,
  EBADF,
  ENODATA,
  ERANGE,
  E2BIG,
  EMLINK,
  EISDIR,
  EILSEQ,
} = constants.errno
