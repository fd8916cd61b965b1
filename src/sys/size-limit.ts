import { readFileSync } from 'node:fs'

let isLimited: boolean | undefined

/** Whether files may not be of any size: getrlimit(2), RLIMIT_FSIZE, asked for once. To try is to be sent SIGXFSZ. */
export function hasSizeLimit(): boolean {
  isLimited ??= !/^Max file size\s+unlimited\s/m.test(limits())
  return isLimited
}

/** proc(5), /proc/pid/limits; nothing where it cannot be read. */
function limits(): string {
  try {
    return readFileSync('/proc/self/limits', 'latin1')
  } catch {
    return ''
  }
}
