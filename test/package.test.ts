// The package as it is published: packed, unpacked into projects of others, imported, required, type-checked, run.
import { execFileSync, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const MODULES = join(ROOT, 'node_modules')
const TSC = join(MODULES, 'typescript/bin/tsc')

// The instrumentation of the test runner is not for these processes.
const { NODE_OPTIONS: _, ...env } = process.env

const place = fs.mkdtempSync(join(tmpdir(), 'reftar-package-'))
t.teardown(() => fs.rmSync(place, { recursive: true, force: true }))
t.setTimeout(120_000)

const tarball = pack()
const contents = execFileSync('tar', ['-tf', tarball], { encoding: 'utf8' })
  .trim()
  .split('\n')
  .map(name => name.replace(/^package\//, ''))
  .sort()

function pack(): string {
  if (!fs.existsSync(join(ROOT, 'dist/index.d.cts')))
    execFileSync('npm', ['run', 'build'], { cwd: ROOT, env, stdio: 'pipe' })
  const packed = ['pack', '--ignore-scripts', '--json', '--pack-destination', place]
  const [{ filename }] = JSON.parse(
    execFileSync('npm', packed, { cwd: ROOT, env, encoding: 'utf8', stdio: 'pipe' }),
  ) as [{ filename: string }]
  return join(place, filename)
}

/** A project that has reftar, and of its dependencies those that are not left out. */
function project(name: string, type: 'module' | 'commonjs', leftOut: readonly string[] = []): string {
  const directory = join(place, name)
  const modules = join(directory, 'node_modules')
  const installed = join(modules, 'reftar')
  fs.mkdirSync(installed, { recursive: true })
  execFileSync('tar', ['-xf', tarball, '-C', installed, '--strip-components=1'])
  fs.writeFileSync(join(directory, 'package.json'), JSON.stringify({ name, type, private: true }))
  const { dependencies } = JSON.parse(fs.readFileSync(join(installed, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>
  }
  const wanted = [...Object.keys(dependencies), '@types/node', 'undici-types']
  for (const dependency of wanted) {
    if (leftOut.includes(dependency)) continue
    const link = join(modules, dependency)
    fs.mkdirSync(join(link, '..'), { recursive: true })
    fs.symlinkSync(join(MODULES, dependency), link)
  }
  fs.mkdirSync(join(directory, 'tree/below'), { recursive: true })
  fs.mkdirSync(join(directory, 'restored'))
  fs.writeFileSync(join(directory, 'tree/a'), 'content of a')
  fs.writeFileSync(join(directory, 'tree/below/b'), Buffer.alloc(100_000, 'b'))
  return directory
}

interface Run {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

function node(cwd: string, ...args: readonly string[]): Run {
  return spawnSync(process.execPath, args, { cwd, env, encoding: 'utf8' })
}

const ROUND_TRIP = `
async function main() {
  await pipeline(create(['tree']), fs.createWriteStream('archive'))
  const names = []
  const entries = list()
  await Promise.all([
    pipeline(fs.createReadStream('archive'), entries),
    (async () => { for await (const { path, size } of entries) names.push(Buffer.from(path) + ' ' + size) })(),
  ])
  await pipeline(fs.createReadStream('archive'), extract('restored'))
  console.log(JSON.stringify({ names, a: fs.readFileSync('restored/tree/a', 'utf8'), b: fs.statSync('restored/tree/below/b').size }))
}
main()
`
const EXPECTED = {
  names: ['tree 0', 'tree/a 12', 'tree/below 0', 'tree/below/b 100000'],
  a: 'content of a',
  b: 100_000,
}

const NAMES = `import fs from 'node:fs'
import { pipeline } from 'node:stream/promises'`

t.test('the package holds what is meant for it, and nothing else', async t => {
  const top = new Set(contents.map(name => name.split('/')[0]))
  const allowed = [
    'CHANGELOG.md',
    'SECURITY.md',
    'LICENSE',
    'README.md',
    'dist',
    'docs',
    'man',
    'package.json',
  ]
  t.same(
    [...top].filter(name => !allowed.includes(name ?? '')),
    [],
  )
  t.same(
    contents.filter(name => name.startsWith('dist/')),
    [
      'cli-create.cjs',
      'cli-extract.cjs',
      'cli-list.cjs',
      'cli-selftest.cjs',
      'cli-sharing.cjs',
      'cli-verify.cjs',
      'cli.cjs',
      'index.cjs',
      'index.cjs.map',
      'index.d.cts',
      'index.d.ts',
      'index.js',
      'index.js.map',
      'read-ahead-thread.cjs',
      'read-ahead-thread.cjs.map',
    ].map(name => `dist/${name}`),
  )
  for (const name of ['CHANGELOG.md', 'SECURITY.md', 'LICENSE', 'README.md']) {
    t.equal(contents.includes(name), fs.existsSync(join(ROOT, name)), `${name}, if there is one`)
  }
  const readable = contents.filter(name => name.startsWith('dist/') && !name.endsWith('.map'))
  for (const name of readable) {
    const text = fs.readFileSync(join(ROOT, name), 'utf8')
    t.notOk(text.includes(ROOT), `${name} has no path of the machine that built it`)
  }
})

t.test('it can be imported', async t => {
  const cwd = project('esm #1 %20?', 'module')
  fs.writeFileSync(
    join(cwd, 'main.js'),
    `${NAMES}\nimport { create, extract, list } from 'reftar'\n${ROUND_TRIP}`,
  )
  const { status, stdout, stderr } = node(cwd, 'main.js')
  t.equal(stderr, '')
  t.equal(status, 0)
  t.same(JSON.parse(stdout), EXPECTED)
})

t.test('it can be required', async t => {
  const cwd = project('commonjs #1 %20?', 'commonjs')
  const head = `const fs = require('node:fs')
const { pipeline } = require('node:stream/promises')
const { create, extract, list } = require('reftar')`
  fs.writeFileSync(join(cwd, 'main.js'), `${head}\n${ROUND_TRIP}`)
  const { status, stdout, stderr } = node(cwd, 'main.js')
  t.equal(stderr, '')
  t.equal(status, 0)
  t.same(JSON.parse(stdout), EXPECTED)
})

t.test(
  'without koffi it can be imported, and lists an archive; creating and extracting fail and say why',
  async t => {
    const whole = project('whole', 'module')
    fs.writeFileSync(
      join(whole, 'main.js'),
      `${NAMES}\nimport { create, extract, list } from 'reftar'\n${ROUND_TRIP}`,
    )
    t.equal(node(whole, 'main.js').status, 0)
    for (const type of ['module', 'commonjs'] as const) {
      const cwd = project(`bare-${type}`, type, ['koffi'])
      fs.copyFileSync(join(whole, 'archive'), join(cwd, 'archive'))
      const load = type === 'module' ? "await import('reftar')" : "require('reftar')"
      fs.writeFileSync(
        join(cwd, 'main.js'),
        `(async () => {
  const fs = await import('node:fs')
  const { pipeline } = await import('node:stream/promises')
  const { create, extract, list, extentDecoder, blockSplitter, crcDedup, extentEncoder, entrySource } = ${load}
  const told = error => ({ message: error.message.split('\\n')[0], code: error.code })
  const entries = list()
  let count = 0
  await pipeline(fs.createReadStream('archive'), entries, async source => { for await (const _ of source) count++ })
  const source = entrySource([{ entry: { path: 'a' }, body: [Buffer.from('content')] }])
  await pipeline(source, blockSplitter(), crcDedup(), extentEncoder(), fs.createWriteStream('made'))
  const created = await pipeline(create(['tree']), fs.createWriteStream('failed')).catch(told)
  const extracted = await pipeline(fs.createReadStream('archive'), extract('restored')).catch(told)
  console.log(JSON.stringify({ count, created, extracted, left: fs.readdirSync('restored') }))
})()`,
      )
      const { status, stdout, stderr } = node(cwd, 'main.js')
      t.equal(stderr, '', type)
      t.equal(status, 0, type)
      const { count, created, extracted, left } = JSON.parse(stdout)
      t.equal(count, 4, `${type}: listed`)
      t.match(created.message, /koffi/, `${type}: create names what is not there`)
      t.match(extracted.message, /koffi/, `${type}: extract names what is not there`)
      t.same(left, [], `${type}: nothing was extracted`)
    }
  },
)

t.test('the command runs', async t => {
  // In a URL, these characters would mean something.
  const cwd = project('command #1 %20?', 'module')
  const cli = join(cwd, 'node_modules/reftar/dist/cli.cjs')
  t.equal(fs.statSync(cli).mode & 0o111 ? 'executable' : 'not', 'executable')
  const { version } = JSON.parse(fs.readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  t.equal(node(cwd, cli, '--version').stdout, `${version}\n`)
  const created = node(cwd, cli, 'create', '-f', 'archive', 'tree')
  t.match(created, { status: 0, stdout: '', stderr: '' })
  t.match(node(cwd, cli, 'list', '-f', 'archive').stdout, 'tree/below/b\n')
  t.match(node(cwd, cli, 'extract', '-f', 'archive', '-C', 'restored'), { status: 0, stderr: '' })
  t.equal(fs.readFileSync(join(cwd, 'restored/tree/a'), 'utf8'), 'content of a')
  // The packages lie behind symbolic links, as some package managers have it.
  const piped = spawnSync('sh', ['-c', '"$NODE" "$CLI" create tree | cat | "$NODE" "$CLI" list'], {
    cwd,
    env: { ...env, NODE: process.execPath, CLI: cli },
    encoding: 'utf8',
  })
  t.match(piped, { status: 0, stdout: 'tree/below/b\n', stderr: '' })
})

const TYPED = `
async function main(): Promise<void> {
  await pipeline(create(['tree'], { directory: '.' }), fs.createWriteStream('archive'))
  await pipeline(fs.createReadStream('archive'), extract(Buffer.from('restored'), { reflink: 'exact' }))
  await pipeline(treeSource(['tree']), blockSplitter(), crcDedup(), extentEncoder(), fs.createWriteStream('archive'))
  const records: AsyncIterable<ArchiveRecord> = fs.createReadStream('archive').pipe(extentDecoder())
  for await (const record of records) {
    if (record.kind === 'entry') console.log(record.metadata.mode?.toString(8))
  }
  for await (const { path, size } of fs.createReadStream('archive').pipe(list())) console.log(path.byteLength + size)
  const sink: Sink<WriteSummary> = reflinkWriter('restored')
  console.log(sink.summary.clonedBytes)
  try {
    treeSource([])
  } catch (error) {
    if (error instanceof ReftarError && error.code === 'INVALID_ARGUMENT') console.log(error.message)
  }
}
void main()
`
const TYPED_NAMES =
  'blockSplitter, crcDedup, create, extentDecoder, extentEncoder, extract, list, ReftarError, reflinkWriter, treeSource, type ArchiveRecord, type Sink, type WriteSummary'

t.test('its types serve those who import and those who require', async t => {
  const options = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    module: 'NodeNext',
    target: 'ES2022',
    types: ['node'],
    esModuleInterop: true,
    noEmit: true,
  }
  for (const type of ['module', 'commonjs'] as const) {
    const cwd = project(`types-${type}`, type)
    const head = `import * as fs from 'node:fs'\nimport { pipeline } from 'node:stream/promises'\n`
    fs.writeFileSync(join(cwd, 'main.ts'), `${head}import { ${TYPED_NAMES} } from 'reftar'\n${TYPED}`)
    fs.writeFileSync(
      join(cwd, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: options, files: ['main.ts'] }),
    )
    const { status, stdout } = node(cwd, TSC, '-p', '.')
    t.equal(stdout, '', type)
    t.equal(status, 0, type)
  }
})
