// Colours are for those who see them, and for those who ask.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { run, scratch, shell } from './run.js'

/** What the command writes to stderr, or to a terminal. */
async function said(environment: string, onTerminal: boolean, argv: string): Promise<string> {
  const command = `env -i TERM=xterm-256color ${environment} "$NODE" "$CLI" ${argv}`
  const { stdout, stderr } = await run(
    onTerminal ? ['script', '-qec', command, '/dev/null'] : ['bash', '-c', command],
  )
  return stdout.toString() + stderr
}

t.test('the beginning of an error is red on a terminal, and elsewhere where that is asked for', async t => {
  const red = '\x1b[31mreftar:\x1b[39m'
  const cases: readonly (readonly [environment: string, onTerminal: boolean, prefix: string])[] = [
    ['', true, red],
    ['', false, 'reftar:'],
    ['NO_COLOR=1', true, 'reftar:'],
    ['NO_COLOR=', true, red],
    ['TERM=dumb', true, 'reftar:'],
    ['FORCE_COLOR=1', false, red],
    ['FORCE_COLOR=1 NO_COLOR=1', false, red],
    ['FORCE_COLOR=0', true, 'reftar:'],
  ]
  for (const [environment, onTerminal, prefix] of cases) {
    for (const [argv, message] of [
      ['list -f /none', "'/none': open: no such file or directory (ENOENT)"],
      ['frob', "unknown command 'frob'"],
    ] as const) {
      const text = await said(environment, onTerminal, argv)
      t.ok(
        text.startsWith(`${prefix} ${message}`) && (prefix === red || !text.includes('\x1b[')),
        `${environment || 'nothing set'}, ${onTerminal ? 'a terminal' : 'a pipe'}: ${JSON.stringify(text)}`,
      )
    }
  }
})

t.test('a problem is yellow, a note has no colour, and JSON never has', async t => {
  const cwd = scratch(t)
  mkdirSync(join(cwd, 'out'))
  writeFileSync(join(cwd, 'file'), '')
  const colored = async (argv: string) => {
    const { stdout, stderr } = await shell(`FORCE_COLOR=1 "$NODE" "$CLI" ${argv}`, { cwd })
    t.notOk(stdout.toString().includes('\x1b['), stdout.toString())
    return stderr
  }
  t.equal(await colored('create -f a "$PWD/file"'), "reftar: leading '/' is left out of stored names\n")
  await colored('create -f a file')
  await colored('extract -f a -C out')
  for (const json of ['', '--json ']) {
    const stderr = await colored(`extract ${json}--keep-existing -f a -C out`)
    t.ok(stderr.startsWith("\x1b[33mreftar:\x1b[39m 'file'"), stderr)
  }
})

t.test('headings of help are bold on a terminal', async t => {
  t.ok((await said('', true, 'help')).startsWith('\x1b[1mUsage:\x1b[22m reftar'))
  t.ok((await said('', false, 'help')).startsWith('Usage: reftar'))
  t.ok((await said('NO_COLOR=1', true, 'help')).startsWith('Usage: reftar'))
})
