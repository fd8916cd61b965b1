import { EINVAL, ENOSYS, ENOTTY, EOPNOTSUPP, EPERM, ETXTBSY, EXDEV } from '../sys/errno.js'

/** These say that a clone cannot be; every other error says that it failed. */
export const CANNOT: ReadonlySet<number> = new Set([
  EOPNOTSUPP,
  ENOTTY,
  EXDEV,
  EINVAL,
  EPERM,
  ETXTBSY,
  ENOSYS,
])
/** These say it of every file of the two filesystems. */
export const NEVER_CAN: ReadonlySet<number> = new Set([EOPNOTSUPP, ENOTTY, EXDEV, ENOSYS])
