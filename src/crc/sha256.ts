import { createHash } from 'node:crypto'
import { libcFunctionAsync, libcFunctions } from '../sys/koffi.js'

/** Below this, in bytes, the way to another thread and back takes longer than the digest. */
const SMALL = 256 * 1024

/** A pointer. */
type Address = unknown

const openssl = libcFunctions<{
  newContext(): Address
  algorithm(): Address
  begin(context: Address, algorithm: Address, engine: null): number
  end(context: Address, digest: Uint8Array, length: null): number
  free(context: Address): void
}>({
  newContext: 'void *EVP_MD_CTX_new()',
  algorithm: 'const void *EVP_sha256()',
  begin: 'int EVP_DigestInit_ex(void *context, const void *algorithm, void *engine)',
  end: 'int EVP_DigestFinal_ex(void *context, void *digest, void *length)',
  free: 'void EVP_MD_CTX_free(void *context)',
})

const update = libcFunctionAsync<[Address, Uint8Array, number]>(
  'int EVP_DigestUpdate(void *context, const void *bytes, size_t length)',
)

/**
 * The SHA-256 (FIPS 180-4) of bytes in pieces, which must stay as they are until it resolves. Much is left to other threads, by
 * EVP_DigestInit(3) of the OpenSSL that node brings: node's own asynchronous digest copies to new memory, twice, which takes as
 * long as the digest.
 */
export async function sha256(pieces: readonly Uint8Array[]): Promise<Uint8Array> {
  const length = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0)
  return (length < SMALL ? undefined : await elsewhere(pieces)) ?? here(pieces)
}

/** Undefined where it cannot be made: node may hide its OpenSSL, and koffi may not load. */
async function elsewhere(pieces: readonly Uint8Array[]): Promise<Uint8Array | undefined> {
  let context: Address
  try {
    context = openssl().newContext()
  } catch {
    return undefined
  }
  const { algorithm, begin, end, free } = openssl()
  try {
    if (begin(context, algorithm(), null) !== 1) return undefined
    for (const piece of pieces) {
      const { result } = await update(context, piece, piece.byteLength)
      if (result !== 1) return undefined
    }
    const digest = Buffer.alloc(32)
    return end(context, digest, null) === 1 ? digest : undefined
  } finally {
    free(context)
  }
}

function here(pieces: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256')
  for (const piece of pieces) hash.update(piece)
  return hash.digest()
}
