// What help and misuse look like where they are read.
import * as fs from 'node:fs'
import { basename, join } from 'node:path'
import t from 'tap'
import { COMMANDS } from '../../src/cli/commands.js'
import { commandHelp, programHelp } from '../../src/cli/help.js'
import { OPTIONS, type OptionDeclaration } from '../../src/cli/options.js'
import { CLI, reftar, run, scratch, shell } from './run.js'

const { version } = JSON.parse(fs.readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
const plain = (_: string, text: string) => text

t.test('help fits the terminal, and is plain text', async t => {
  for (const width of [60, 80, 100]) {
    const texts = [
      programHelp(COMMANDS, width, plain),
      ...COMMANDS.map(one => commandHelp(one, width, plain)),
    ]
    for (const text of texts) {
      t.notOk(/[^ -~\n]/.test(text), 'plain text')
      const lines = text.split('\n').map(line => (/^ {2}(#|.*reftar )/.test(line) ? '' : line))
      t.same(
        lines.filter(line => line.length > width),
        [],
        `no line but an example is longer than ${width} columns`,
      )
    }
  }
})

t.test('help tells all that a command takes, and gives examples', async t => {
  t.match(
    programHelp(COMMANDS, 80, plain),
    /^Usage: reftar COMMAND .*Commands:.*create.*Examples:.*reftar create/s,
  )
  for (const command of COMMANDS) {
    const text = commandHelp(command, 80, plain)
    t.match(text, new RegExp(`^Usage: reftar ${command.name}`))
    for (const name of command.options) t.match(text, `--${name}`, `${command.name} --${name}`)
    for (const { command: example } of command.examples) t.match(text, `  ${example}\n`)
  }
})

t.test('the command says it', async t => {
  const cases: readonly (readonly [
    argv: readonly string[],
    code: number,
    stdout: string | RegExp,
    stderr: string,
  ])[] = [
    [['--version'], 0, `${version}\n`, ''],
    [['--help'], 0, /^Usage: reftar COMMAND/, ''],
    [
      ['-ch'],
      2,
      '',
      "reftar: unknown option '-h': symbolic links are stored as links\nreftar: try 'reftar create --help'\n",
    ],
    [['help', 'x'], 0, /^Usage: reftar extract/, ''],
    [['fr\x1b[31m\nob'], 2, '', "reftar: unknown command 'fr\\033[31m\\nob'\nreftar: try 'reftar --help'\n"],
    [
      ['list', 'x'],
      2,
      '',
      "reftar: 'x' is one word too many: list takes no names\nreftar: try 'reftar list --help'\n",
    ],
    [
      ['create', '--block-size=1000', '-f', 'x', 'y'],
      2,
      '',
      'reftar: block size is 1000, expected a power of two from 512 to 65536\n',
    ],
  ]
  for (const [argv, code, stdout, stderr] of cases) {
    const ended = await reftar(argv)
    t.equal(ended.code, code, JSON.stringify(argv))
    t.match(ended.stdout.toString(), stdout)
    t.equal(ended.stderr, stderr)
  }
})

t.test('what says something of the command loads one file, and what runs two', async t => {
  const cwd = scratch(t)
  fs.writeFileSync(
    join(cwd, 'names.cjs'),
    "process.on('exit', () => console.error(Object.keys(require.cache).join('\\n')))",
  )
  const loaded = async (...argv: readonly string[]) => {
    const { stderr } = await run([process.execPath, '-r', './names.cjs', CLI, ...argv], { cwd })
    const files = stderr.split('\n').filter(line => line.endsWith('.cjs') && line.includes('/dist/'))
    return files.map(file => basename(file))
  }
  t.same(await loaded('--version'), ['cli.cjs'])
  t.same(await loaded('help', 'create'), ['cli.cjs'])
  t.same(await loaded('list', '-f', 'none'), ['cli.cjs', 'cli-list.cjs'])
})

t.test('the table of README names every option, and who takes it', async t => {
  const readme = fs.readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const told = new Map<string, string>()
  for (const [, options = '', of = ''] of readme.matchAll(/^\| (`-.*?`) \| (.*?) \|/gm)) {
    for (const [, term = ''] of options.matchAll(/`([^`]+)`/g)) told.set(term, of)
  }
  // Of help and completion there is nothing to tell.
  const takes = (name: string) => COMMANDS.filter(({ options }) => options.some(option => option === name))
  const all = takes('verbose').map(({ name }) => name)
  const declared = new Map<string, string>()
  for (const [name, option] of Object.entries<OptionDeclaration>(OPTIONS)) {
    if (name === 'help') continue
    const commands = takes(name).map(({ name }) => name)
    const of = commands.join() === all.join() ? 'all' : commands.join(', ')
    if (option.letter) declared.set(`-${option.letter}${option.value ? ` ${option.value}` : ''}`, of)
    declared.set(`--${name}${option.value ? `=${option.value}` : ''}`, of)
  }
  t.same(Object.fromEntries([...told].sort()), Object.fromEntries([...declared].sort()))
})

t.test('nobody takes what is said', async t => {
  for (const argv of ['help', 'create --help', 'completion zsh', '--version']) {
    const full = await shell(`"$NODE" "$CLI" ${argv} > /dev/full`)
    t.match(full, { code: 2, stderr: 'reftar: write: no space left on device (ENOSPC)\n' }, argv)
    const broken = await shell(`(sleep 0.1; exec "$NODE" "$CLI" ${argv}) | true`)
    t.match(broken, { code: 2, stderr: 'reftar: write: broken pipe (EPIPE)\n' }, argv)
  }
})
