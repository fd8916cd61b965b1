import { ReftarError } from '../errors.js'
import { quotePath } from '../event.js'
import { latin1 } from '../format/latin1.js'
import type { Entry } from '../record.js'

/** Whatever the stages before have let through: only one component stays inside its directory. @throws UNSAFE_NAME */
export function checkName({ ordinal, name, type }: Entry): void {
  const text = latin1(name)
  if (text === '' && ordinal === 1 && type === 'directory') return
  if (text !== '' && text !== '.' && text !== '..' && !/[/\0]/.test(text)) return
  throw new ReftarError('UNSAFE_NAME', `entry ${ordinal} is named ${quotePath(name)}`, { path: name })
}

/** What an entry of its type has; records that no parser has checked may lack it. @throws BAD_STRUCTURE */
export function needed<T>({ ordinal, type }: Entry, field: T | undefined): T {
  if (field !== undefined) return field
  throw new ReftarError('BAD_STRUCTURE', `entry ${ordinal} is a ${type} and does not say of what`)
}
