// README.md and docs/COOKBOOK.md, tried as somebody does who reads them: every block of code is run, in a machine made up for
// the section that it is in; what is shown is said; every link leads somewhere.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import * as reftar from '../src/index.js'
import { anchors, type CodeBlock, codeBlocks, links } from './support/markdown.js'
import { needsRoot } from './support/own-filesystem.js'
import { s3Environment, s3Server } from './support/s3-server.js'
import { saysThat, stepsOf } from './support/sessions.js'
import { addBackupHost, addCommand, newWorld, type World } from './support/world.js'
import { fillWorld } from './support/world-files.js'

process.umask(0o022)

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TRIED = ['README.md', 'docs/COOKBOOK.md'].filter(name => fs.existsSync(join(ROOT, name)))

/** Blocks that are not run, by how they begin, and why. */
const NOT_RUN: Readonly<Record<string, string>> = {
  'reftar create [-f FILE]': 'a synopsis: test/cli/help.test.ts holds that --help has the same commands',
  'create treeSource ->': 'a picture of streams',
  'npm ci && npm test': 'it is what runs this',
  '$ reftar extract -f images.reftar -C /srv\n11 entries':
    'a terminal shows it for a moment: test/progress.test.ts',
  'reftar: 49.8 of 50.0 GiB':
    'it ends an extraction to a target that keeps no sharing: test/summaries.test.ts',
}

/** What is run in place of what is written. */
const INSTEAD: readonly (readonly [written: string, run: string, why: string])[] = [
  [
    'npm ci && npm run demo',
    `cd ${ROOT} && node --import tsx bench/demo.ts`,
    'everything is installed and built, and others use it right now',
  ],
]

/** Commands that end with another status than 0, by how they begin. */
const STATUS: Readonly<Record<string, number>> = {
  'reftar extract --salvage': 1,
  'reftar extract -f images.reftar -C /mnt/usb': 2,
}

/** What snippets of TypeScript take for granted, besides what they import and what reftar exports. */
const GIVEN: Readonly<Record<string, string>> = {
  createReadStream: "import { createReadStream } from 'node:fs'",
  createWriteStream: "import { createWriteStream } from 'node:fs'",
  pipeline: "import { pipeline } from 'node:stream/promises'",
  response:
    "import { Readable } from 'node:stream'\nconst response = Readable.from([Buffer.from('a line of a log\\n')])",
}

const used = new Set<string>()

/** The value for a text that begins like one of the keys, each of which must be needed. */
function lookUp<T>(table: Readonly<Record<string, T>>, text: string): T | undefined {
  const narrow = text.replace(/ +/g, ' ')
  const key = Object.keys(table).find(key => narrow.startsWith(key))
  if (key === undefined) return undefined
  used.add(key)
  return table[key]
}

for (const name of TRIED) {
  t.test(name, needsRoot, async t => {
    const blocks = codeBlocks(fs.readFileSync(join(ROOT, name), 'utf8'))
    t.ok(blocks.length > 5)
    const wanted = blocks.filter(({ text }) => lookUp(NOT_RUN, text) === undefined)
    for (const { language, line } of wanted)
      t.ok(['', 'sh', 'ts'].includes(language), `line ${line}: ${language}`)
    const scripts = compiled(
      t,
      wanted.filter(({ language }) => language === 'ts'),
    )
    for (const section of new Set(wanted.map(({ section }) => section))) {
      await t.test(section, async t => {
        const inSection = wanted.filter(block => block.section === section)
        const world = await worldFor(t, inSection)
        if (!world) return
        for (const block of inSection) {
          const script = scripts.get(block)
          if (script === undefined) await tryCommands(t, world, block)
          else await tryScript(t, world, block, script)
        }
      })
    }
  })
}

t.test('what is shown is compared with what is said', async t => {
  const said = 'a  4.0 MiB of 12 files\nb\nc\n'
  t.ok(saysThat(['a 16 B of 3 files', 'b', 'c'], said))
  t.ok(saysThat(['a 1.0 GiB of 3 files', '...'], said))
  t.ok(saysThat(['...', 'c'], said))
  for (const other of [
    ['a 4 MiB of 12 files', 'b'],
    ['...', 'b'],
    ['a of 12 files', '...'],
    ['b', '...'],
    [],
  ])
    t.notOk(saysThat(other, said), other.join(' / '))
})

t.test('what is written here of them is needed', async t => {
  const unused = [...Object.keys(NOT_RUN), ...Object.keys(STATUS), ...INSTEAD.map(([written]) => written)]
  t.same(
    unused.filter(key => !used.has(key)),
    [],
  )
})

t.test('links', async t => {
  const documents = execFileSync('git', ['ls-files', '*.md'], { cwd: ROOT, encoding: 'utf8' })
    .trim()
    .split('\n')
  for (const name of documents) {
    for (const link of links(fs.readFileSync(join(ROOT, name), 'utf8'))) {
      if (/^https?:/.test(link)) continue
      const [path = '', anchor] = link.split('#')
      const file = path === '' ? join(ROOT, name) : join(ROOT, dirname(name), path)
      t.ok(fs.existsSync(file), `${name}: ${link}`)
      if (anchor !== undefined) t.ok(anchors(fs.readFileSync(file, 'utf8')).has(anchor), `${name}: ${link}`)
    }
  }
})

/** With the machines that some blocks speak to. */
async function worldFor(t: Test, blocks: readonly CodeBlock[]): Promise<World | undefined> {
  const world = newWorld(t)
  if (!world) return undefined
  const text = blocks.map(block => block.text).join('\n')
  await fillWorld(world, text)
  if (/\bssh backup\b/.test(text)) await addBackupHost(t, world)
  if (/\baws s3\b/.test(text)) {
    const server = await s3Server(t, join(world.here, '../home'))
    if (!server) return undefined
    const variables = Object.entries(s3Environment(server.port)).map(([name, value]) => `${name}=${value}`)
    const aws = `exec env ${variables.join(' ')} /usr/bin/aws --endpoint-url http://127.0.0.1:${server.port} "$@"`
    addCommand(world.bin, 'aws', aws)
    const { code, stderr } = await world.run('aws s3 mb s3://backups')
    t.equal(code, 0, stderr)
  }
  return world
}

async function tryCommands(t: Test, world: World, { text, line }: CodeBlock): Promise<void> {
  for (const { command, output } of stepsOf(text)) {
    const instead = INSTEAD.find(([written]) => command.trim() === written)
    if (instead) used.add(instead[0])
    const { code, stdout } = await world.run(`exec 2>&1\n${instead ? instead[1] : command}`)
    const said = stdout.toString()
    const [shown = ''] = command.trim().split('\n')
    const status = lookUp(STATUS, command) ?? 0
    t.equal(code, status, `line ${line}: ${shown}${code === status ? '' : `: ${said}`}`)
    if (output) t.equal(saysThat(output, said) || said, true, `line ${line}: says what is shown`)
  }
}

async function tryScript(t: Test, world: World, { line }: CodeBlock, script: string): Promise<void> {
  // Each begins with nothing restored, as none of them knows of the others.
  const { code, stderr } = await world.run(`rm -rf /restored/*\nnode ${script}`)
  t.same([code, stderr], [0, ''], `line ${line}`)
}

/** Type-checks snippets against the package as it is built; returns the file that each becomes. */
function compiled(t: Test, blocks: readonly CodeBlock[]): Map<CodeBlock, string> {
  const project = t.testdir({})
  const nameOf = ({ line }: CodeBlock) => `line-${line}`
  const modules = join(project, 'node_modules')
  fs.mkdirSync(modules)
  fs.symlinkSync(ROOT, join(modules, 'reftar'))
  for (const { text } of blocks) for (const name of packagesIn(text)) linkPackage(modules, name)
  const compilerOptions = {
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    module: 'NodeNext',
    target: 'ES2022',
    lib: ['ES2023'],
    types: ['node'],
    typeRoots: [join(ROOT, 'node_modules/@types')],
    outDir: 'made',
  }
  fs.writeFileSync(join(project, 'package.json'), JSON.stringify({ type: 'module' }))
  fs.writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions }))
  for (const block of blocks) fs.writeFileSync(join(project, `${nameOf(block)}.ts`), complete(block.text))
  if (blocks.length > 0) {
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
    t.doesNotThrow(() => execFileSync(process.execPath, [tsc, '-p', project], { stdio: 'pipe' }), 'types')
  }
  return new Map(blocks.map(block => [block, join(project, 'made', `${nameOf(block)}.js`)]))
}

function packagesIn(text: string): string[] {
  const names = Array.from(text.matchAll(/from '((?:@[\w-]+\/)?[\w-]+)/g), ([, name = '']) => name)
  return names.filter(name => name !== 'reftar' && name !== 'node')
}

function linkPackage(modules: string, name: string): void {
  const link = join(modules, name)
  fs.mkdirSync(dirname(link), { recursive: true })
  if (!fs.existsSync(link)) fs.symlinkSync(join(ROOT, 'node_modules', name), link)
}

/** A snippet with what it leaves out, because it stood in an earlier one. */
function complete(text: string): string {
  const isMissing = (name: string) =>
    new RegExp(`\\b${name}\\b`).test(text) &&
    !new RegExp(`(import|const|function)[^'=]*\\b${name}\\b`).test(text)
  const exported = Object.keys(reftar).filter(isMissing)
  const given = Object.keys(GIVEN).filter(isMissing)
  return [
    ...(exported.length > 0 ? [`import { ${exported.join(', ')} } from 'reftar'`] : []),
    ...given.map(name => GIVEN[name] ?? ''),
    text,
  ].join('\n')
}
