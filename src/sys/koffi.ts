import { statSync } from 'node:fs'
import { createRequire as requireFrom } from 'node:module'
import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'
import type koffiModule from 'koffi'
import { ReftarError } from '../errors.js'
import { EOPNOTSUPP } from './errno.js'

type Koffi = typeof koffiModule

/** Asked for anew, it is made anew. */
const ERRORS = getSystemErrorMap()

let koffi: Koffi | undefined
let libc: ReturnType<Koffi['load']> | undefined

/** koffi, loaded at the first system call: what makes none must work where koffi cannot load. */
export function ffi(): Koffi {
  koffi ??= load()
  return koffi
}

function load(): Koffi {
  // After a synchronous status of a pipe, and until that of anything else, node does not follow symbolic links of packages.
  statSync('/')
  return requireFrom(import.meta.url)('koffi') as Koffi
}

/**
 * C functions by their prototypes, looked up when the first of them is wanted. Each is called directly, without a
 * wrapper that they would share: that one call site would be too polymorphic to be fast.
 */
export function libcFunctions<T extends object>(prototypes: { readonly [K in keyof T]: string }): () => T {
  let bound: T | undefined
  return () => {
    bound ??= Object.fromEntries(
      Object.entries<string>(prototypes).map(([name, prototype]) => [name, lookUp(prototype)]),
    ) as T
    return bound
  }
}

/** A C function, run on a thread of its own; resolves to what the function returned and to its errno. */
export function libcFunctionAsync<Arguments extends readonly unknown[]>(
  prototype: string,
): (...args: Arguments) => Promise<{ result: number; errno: number }> {
  let bound: ReturnType<typeof lookUp> | undefined
  return (...args) =>
    new Promise((resolve, reject) => {
      bound ??= lookUp(prototype)
      bound.async(...args, (error: Error | null, result: number) => {
        if (error) reject(error)
        else resolve({ result, errno: ffi().errno() })
      })
    })
}

function lookUp(prototype: string) {
  libc ??= ffi().load(null)
  return libc.func(prototype)
}

/** The errno of the last call: to be read by the very next statement. */
export function errno(): number {
  return ffi().errno()
}

/** As the kernel names it, ENOSPC for 28. */
export function errnoName(number: number): string {
  if (number === EOPNOTSUPP) return 'EOPNOTSUPP' // libuv knows it by its other name
  const known = ERRORS.get(-number)?.[0]
  // libuv does not know all of them.
  return (
    known ?? Object.entries(constants.errno).find(([, value]) => value === number)?.[0] ?? `errno ${number}`
  )
}

/** @param path - what the call was about, for the error */
export function systemError(syscall: string, number: number, path?: Uint8Array): ReftarError {
  // libuv speaks of a socket.
  const text = number === EOPNOTSUPP ? 'operation not supported' : ERRORS.get(-number)?.[1]
  const name = errnoName(number)
  const message = `${syscall}: ${text === undefined ? name : `${text} (${name})`}`
  return new ReftarError('SYSTEM_CALL', message, { errno: number, syscall, ...(path && { path }) })
}

/** Throws for a call that returned -1. */
export function check(result: number, syscall: string, path?: Uint8Array): number {
  if (result === -1) throw systemError(syscall, errno(), path)
  return result
}

/** The error of a node:fs call, as ours. */
export function fromNodeError(error: unknown): unknown {
  const { errno: number, syscall } = error as NodeJS.ErrnoException
  if (error instanceof ReftarError || typeof number !== 'number' || !syscall) return error
  return systemError(syscall, -number)
}

/** A C string. @throws INVALID_ARGUMENT when a zero byte would end it early */
export function cString(bytes: Uint8Array): Buffer {
  if (bytes.includes(0)) throw new ReftarError('INVALID_ARGUMENT', 'a path has a zero byte', { path: bytes })
  const string = Buffer.allocUnsafe(bytes.byteLength + 1)
  string.set(bytes)
  string[bytes.byteLength] = 0
  return string
}
