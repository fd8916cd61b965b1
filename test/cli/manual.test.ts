// The man page is what help tells, and those who format it find nothing wrong with it.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { manualPage } from '../../man/page.js'
import { COMMANDS } from '../../src/cli/commands.js'
import { OPTIONS } from '../../src/cli/options.js'
import { isInstalled } from './run.js'

const PAGE = fileURLToPath(new URL('../../man/reftar.1', import.meta.url))
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

t.test('the man page is up to date: else npm run man makes it', async t => {
  t.equal(readFileSync(PAGE, 'utf8'), manualPage(COMMANDS, version))
})

t.test('it has the sections that people look for, and all options', async t => {
  const page = readFileSync(PAGE, 'utf8')
  const sections = Array.from(page.matchAll(/^\.SH (.*)$/gm), ([, title]) => title)
  t.same(sections, [
    'NAME',
    'SYNOPSIS',
    'DESCRIPTION',
    'COMMANDS',
    'OPTIONS',
    'EXIT STATUS',
    'ENVIRONMENT',
    'EXAMPLES',
    'SEE ALSO',
  ])
  const plain = page.replace(/\\f[BIR]/g, '').replaceAll('\\-', '-')
  for (const [name, option] of Object.entries(OPTIONS))
    t.match(plain, `--${name}${'value' in option ? `=${option.value}` : ''}\n`)
  for (const { name, examples } of COMMANDS) {
    t.match(plain, `.SS ${name}`)
    for (const { command } of examples) t.match(plain.replaceAll('\\(aq', "'"), `\n${command}\n`)
  }
})

t.test('no formatter finds anything wrong', async t => {
  const formatters: readonly (readonly [string, ...string[]])[] = [
    ['groff', '-man', '-Tutf8', '-ww', '-z', PAGE],
    ['mandoc', '-Tlint', '-Wstyle', PAGE],
  ]
  for (const [program, ...args] of formatters) {
    await t.test(program, { skip: isInstalled(program) ? false : 'is not installed' }, async t => {
      const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
      t.same([status, stdout + stderr], [0, ''])
    })
  }
})
