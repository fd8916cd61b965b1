// A process that ends in the middle, because nobody catches an error or by process.exit(), leaves nothing behind; and the
// rollback that a pipeline does not wait for is done.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { run, scratch } from './cli/run.js'
import { archive, KIB, MIB, noise } from './support/trees.js'

const MODULE = `
  import { createReadStream } from 'node:fs'
  import { pipeline } from 'node:stream/promises'
  import { archiveFile, blockSplitter, extract, treeSource } from 'reftar'
  const chunks = async function* (end) {
    for await (const chunk of createReadStream('ARCHIVE')) yield chunk
    end?.()
    throw new Error('enough')
  }
  const records = async function* (end) {
    for await (const record of treeSource(['.'], { directory: 'SOURCE' }).pipe(blockSplitter())) yield record
    end?.()
    throw new Error('enough')
  }
`

/** What it does, and its exit status. */
const ENDS: Record<string, readonly [script: string, code: number]> = {
  'extract, of a function that fails': [`await pipeline(() => chunks(), extract('TARGET'))`, 1],
  'extract, of a web stream that fails': [
    `await pipeline(ReadableStream.from(chunks()), extract('TARGET'))`,
    1,
  ],
  'extract, and process.exit()': [
    `await pipeline(() => chunks(() => process.exit(7)), extract('TARGET'))`,
    7,
  ],
  'archiveFile, and process.exit()': [
    `await pipeline(() => records(() => process.exit(7)), archiveFile('TARGET/archive'))`,
    7,
  ],
  'two at a time': [
    `await Promise.all([pipeline(() => chunks(), extract('TARGET')), pipeline(() => records(), archiveFile('TARGET/archive'))])`,
    1,
  ],
}

t.test('a process that ends in the middle', async t => {
  const directory = scratch(t)
  const [source, file, target] = ['source', 'archive', 'target'].map(name => join(directory, name)) as [
    string,
    string,
    string,
  ]
  fs.mkdirSync(join(source, 'd'), { recursive: true })
  for (let i = 0; i < 500; i++) fs.writeFileSync(join(source, `d/${i}`), noise(9 * KIB, i))
  fs.writeFileSync(join(source, 'large'), noise(9 * MIB))
  const { bytes } = await archive(['.'], { directory: source })
  // All of it but the end: everything is made, and nothing is published.
  fs.writeFileSync(file, bytes.subarray(0, -100))
  for (const [what, [script, code]] of Object.entries(ENDS)) {
    fs.mkdirSync(target)
    const text = (MODULE + script)
      .replaceAll('SOURCE', source)
      .replaceAll('ARCHIVE', file)
      .replaceAll('TARGET', target)
    const ended = await run([process.execPath, '--input-type=module', '-e', text])
    t.match(ended, { code, stderr: code === 1 ? /Error: enough/ : '' }, what)
    t.same(fs.readdirSync(target), [], `${what}: nothing is left`)
    fs.rmSync(target, { recursive: true })
  }
})
