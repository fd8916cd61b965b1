// Makes a compressed archive, and restores it.
//
//     tsx examples/compress.ts create images.reftar.br images
//     tsx examples/compress.ts extract images.reftar.br /srv/restored
import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { constants, createBrotliCompress, createBrotliDecompress, createGunzip, createGzip } from 'node:zlib'
import { create, extract } from 'reftar'

const [command, file = '', ...paths] = process.argv.slice(2)
const isBrotli = file.endsWith('.br')
/** Of 0 to 11: the last one, which is the default, takes a second for some hundred kilobytes. */
const brotli = { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } }

if (command === 'create') {
  const compressor = isBrotli ? createBrotliCompress(brotli) : createGzip()
  await pipeline(create(paths), compressor, createWriteStream(file))
} else {
  const decompressor = isBrotli ? createBrotliDecompress() : createGunzip()
  await pipeline(createReadStream(file), decompressor, extract(paths[0] ?? '.'))
}
