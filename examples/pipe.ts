// Makes an archive, and restores it, by plain pipe().
//
//     tsx examples/pipe.ts create images.reftar images
//     tsx examples/pipe.ts extract images.reftar /srv/restored
import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { create, extract } from 'reftar'

const [command, file = '', ...paths] = process.argv.slice(2)

const from: NodeJS.ReadableStream = command === 'create' ? create(paths) : createReadStream(file)
const to = command === 'create' ? createWriteStream(file) : extract(paths[0] ?? '.')

// pipe() hands on no errors: one of a source that nobody hears would be the end of the process.
from.on('error', error => to.destroy(error)).pipe(to)
await once(to, 'finish')
