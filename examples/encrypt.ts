// Makes an encrypted archive, and restores it: all of it where it is authentic, else nothing.
//
//     head -c 32 /dev/urandom > key
//     tsx examples/encrypt.ts seal key images.sealed images
//     tsx examples/encrypt.ts open key images.sealed /srv/restored
import { createCipheriv, createDecipheriv, type DecipherGCM, randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream, readFileSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { create, extract } from 'reftar'

const CIPHER = 'aes-256-gcm'
const NONCE_LENGTH = 12
const TAG_LENGTH = 16

const [command, keyFile = '', file = '', ...paths] = process.argv.slice(2)
const key = readFileSync(keyFile)

/** The nonce, what is encrypted, and the tag. A nonce is good for 64 GiB: more is an error. */
async function* seal(plain: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const nonce = randomBytes(NONCE_LENGTH)
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_LENGTH })
  yield nonce
  for await (const bytes of plain) yield cipher.update(bytes)
  cipher.final()
  yield cipher.getAuthTag()
}

/**
 * Nothing of what comes out is proven before its end, and where the tag is another one, this throws in place of that end.
 * It is what `extract` waits for before anything gets its name.
 */
async function* open(sealed: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let decipher: DecipherGCM | undefined
  let rest: Uint8Array = new Uint8Array()
  for await (const bytes of sealed) {
    rest = Buffer.concat([rest, bytes])
    if (!decipher && rest.byteLength >= NONCE_LENGTH) {
      // Without a length, tags of 4 bytes would do, too.
      const options = { authTagLength: TAG_LENGTH }
      decipher = createDecipheriv(CIPHER, key, rest.subarray(0, NONCE_LENGTH), options)
      rest = rest.subarray(NONCE_LENGTH)
    }
    const length = rest.byteLength - TAG_LENGTH
    if (!decipher || length <= 0) continue
    yield decipher.update(rest.subarray(0, length))
    rest = rest.subarray(length)
  }
  if (!decipher) throw new Error(`${file} is too short`)
  decipher.setAuthTag(rest)
  decipher.final()
}

if (command === 'seal') await pipeline(create(paths), seal, createWriteStream(file))
else await pipeline(createReadStream(file), open, extract(paths[0] ?? '.'))
