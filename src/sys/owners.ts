import { ffi, libcFunctions } from './koffi.js'

/** Users and groups by number and by name, as the system's name service knows them. Answers are kept. */

const libc = libcFunctions<{
  getpwuid(uid: number): unknown
  getgrgid(gid: number): unknown
  getpwnam(name: string): unknown
  getgrnam(name: string): unknown
}>({
  getpwuid: 'void *getpwuid(uint32_t uid)',
  getgrgid: 'void *getgrgid(uint32_t gid)',
  getpwnam: 'void *getpwnam(const char *name)',
  getgrnam: 'void *getgrnam(const char *name)',
})

const ID_OFFSET = 16 // struct passwd and struct group alike: name, password, id

export const userName = remember((uid: number) => nameOf(libc().getpwuid(uid)))
export const groupName = remember((gid: number) => nameOf(libc().getgrgid(gid)))
export const userId = remember((name: string) => idOf(libc().getpwnam(name)))
export const groupId = remember((name: string) => idOf(libc().getgrnam(name)))

function nameOf(record: unknown): Uint8Array | undefined {
  if (!record) return undefined
  const name = ffi().decode(record, 'char *') as string
  return name.length > 0 ? new TextEncoder().encode(name) : undefined
}

function idOf(record: unknown): number | undefined {
  return record ? (ffi().decode(record, ID_OFFSET, 'uint32_t') as number) : undefined
}

function remember<K, V>(look: (key: K) => V): (key: K) => V {
  const known = new Map<K, V>()
  return key => {
    if (known.has(key)) return known.get(key) as V
    const value = look(key)
    known.set(key, value)
    return value
  }
}
