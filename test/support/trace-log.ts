// Reads what strace wrote down of the system calls that name something.

/** A name as it was passed to the kernel, and what it was relative to: a descriptor, or the working directory. */
export interface NamedPath {
  readonly call: string
  readonly line: string
  readonly at: number | 'cwd'
  readonly path: string
}

/** Where in the arguments a directory and a name stand, or a name alone. */
type Place = number | readonly [directory: number, name: number]

const PLACES: Readonly<Record<string, readonly Place[]>> = {
  access: [0],
  chmod: [0],
  chown: [0],
  execve: [0],
  faccessat: [[0, 1]],
  faccessat2: [[0, 1]],
  fchmodat: [[0, 1]],
  fchmodat2: [[0, 1]],
  fchownat: [[0, 1]],
  getcwd: [],
  getxattr: [0],
  lgetxattr: [0],
  link: [0, 1],
  linkat: [
    [0, 1],
    [2, 3],
  ],
  listxattr: [0],
  llistxattr: [0],
  lremovexattr: [0],
  lsetxattr: [0],
  lstat: [0],
  mkdir: [0],
  mkdirat: [[0, 1]],
  mknod: [0],
  mknodat: [[0, 1]],
  newfstatat: [[0, 1]],
  open: [0],
  openat: [[0, 1]],
  openat2: [[0, 1]],
  readlink: [0],
  readlinkat: [[0, 1]],
  removexattr: [0],
  rename: [0, 1],
  renameat: [
    [0, 1],
    [2, 3],
  ],
  renameat2: [
    [0, 1],
    [2, 3],
  ],
  rmdir: [0],
  setxattr: [0],
  stat: [0],
  statfs: [0],
  statx: [[0, 1]],
  // What a link leads to is no name that the kernel looks up.
  symlinkat: [[1, 2]],
  truncate: [0],
  unlink: [0],
  unlinkat: [[0, 1]],
  utimensat: [[0, 1]],
}

/** The arguments of a call, which may hold strings, structures and lists; of one that is not finished, those so far. */
function argumentsOf(text: string): string[] {
  const found = ['']
  let depth = 0
  for (const token of text.match(/"(?:[^"\\]|\\.)*"(?:\.\.\.)?|[\s\S]/g) ?? []) {
    if ('([{'.includes(token)) depth++
    if (')]}'.includes(token) && depth-- === 0) break
    if (token === ',' && depth === 0) found.push('')
    else found.push((found.pop() ?? '') + token)
  }
  return found.map(argument => argument.trim())
}

export interface TracedCall {
  readonly call: string
  readonly arguments: readonly string[]
  readonly line: string
}

/** The calls of a log, without what is not one. */
export function callsOf(log: string): TracedCall[] {
  return log.split('\n').flatMap(line => {
    const [, call, rest] = /^(?:\d+ +)?(\w+)\((.*)$/.exec(line) ?? []
    return call === undefined || rest === undefined ? [] : [{ call, arguments: argumentsOf(rest), line }]
  })
}

/** All that calls name; a call that is not known here throws, for it might name something. */
export function pathsOf(calls: readonly TracedCall[]): NamedPath[] {
  return calls.flatMap(({ call, arguments: all, line }) => {
    const places = PLACES[call]
    if (!places) throw new Error(`it is not known what ${call} names: ${line}`)
    return places.flatMap(place => {
      const [directory, name] =
        typeof place === 'number' ? ['AT_FDCWD', all[place]] : [all[place[0]], all[place[1]]]
      // As utimensat(2) of a descriptor.
      if (name === undefined || name === 'NULL') return []
      if (!/^".*"$/.test(name)) throw new Error(`a name is cut short: ${line}`)
      const at = directory === 'AT_FDCWD' ? 'cwd' : Number(directory)
      if (Number.isNaN(at)) throw new Error(`a descriptor is no number: ${line}`)
      return { call, line, at, path: name.slice(1, -1) } as const
    })
  })
}
