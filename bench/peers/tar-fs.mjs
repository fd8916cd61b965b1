// The command line that tar-fs does not have: create DIRECTORY NAME [FILE], extract DIRECTORY [FILE].
import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import tar from 'tar-fs'

const [how, directory, ...rest] = process.argv.slice(2)
if (how === 'create') {
  const [name, file] = rest
  await pipeline(tar.pack(directory, { entries: [name] }), file ? createWriteStream(file) : process.stdout)
} else {
  await pipeline(rest[0] ? createReadStream(rest[0]) : process.stdin, tar.extract(directory))
}
