// The command line that tar of npm does not have: create DIRECTORY NAME [FILE], extract DIRECTORY [FILE].
import { pipeline } from 'node:stream/promises'
import { create, extract } from 'tar'

const [how, cwd, ...rest] = process.argv.slice(2)
if (how === 'create') {
  const [name, file] = rest
  if (file) await create({ cwd, file }, [name])
  else await pipeline(create({ cwd }, [name]), process.stdout)
} else if (rest[0]) {
  await extract({ cwd, file: rest[0] })
} else {
  await pipeline(process.stdin, extract({ cwd }))
}
