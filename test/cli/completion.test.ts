// The shells themselves say what they would complete.
import { execFileSync, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { COMMANDS } from '../../src/cli/commands.js'
import { bashCompletion } from '../../src/cli/completion/bash.js'
import { fishCompletion } from '../../src/cli/completion/fish.js'
import { zshCompletion } from '../../src/cli/completion/zsh.js'
import { isInstalled, reftar, scratch } from './run.js'

/** What may be completed at the end of each line, as one process of the shell says: `LINE` before each, then words. */
type Complete = (lines: readonly string[]) => string[]

const NAMES = COMMANDS.map(({ name }) => name)
const FILES = ['a.reftar', 'b c', 'dir']

/** Where there are a few files. */
function place(t: Test): string {
  const cwd = scratch(t)
  fs.mkdirSync(join(cwd, 'dir'))
  for (const name of ['a.reftar', 'b c']) fs.writeFileSync(join(cwd, name), '')
  return cwd
}

function run(cwd: string, ...[program, ...args]: readonly [string, ...string[]]): string[] {
  const { NODE_OPTIONS: _, ...env } = process.env
  const { stdout, stderr, status } = spawnSync(program, args, { cwd, env, encoding: 'utf8' })
  if (status !== 0 || stderr !== '') throw new Error(`${program}: ${status} ${stderr}`)
  return stdout.split('\n').filter(line => line !== '')
}

/** What every shell must know. */
function check(t: Test, complete: Complete, isThere: (value: string) => string): void {
  const cases: readonly (readonly [line: string, completed: readonly string[]])[] = [
    ['reftar ', NAMES],
    ['reftar cre', ['create']],
    ['reftar create ', FILES],
    ['reftar create a', ['a.reftar']],
    ['reftar sharing ', FILES],
    ['reftar selftest ', ['dir']],
    ['reftar help ', NAMES],
    ['reftar completion ', ['bash', 'fish', 'zsh']],
    ['reftar create --dedup ', ['content', 'none', 'shared']],
    ['reftar create --dedup=', ['content', 'none', 'shared'].map(value => isThere(`--dedup=${value}`))],
    ['reftar x --reflink=e', [isThere('--reflink=exact')]],
    ['reftar create --exclude-v', ['--exclude-vcs-ignores']],
    ['reftar -cf a --exclude-', ['--exclude-caches', '--exclude-from', '--exclude-vcs-ignores']],
    ['reftar verify --ag', ['--against']],
    ['reftar verify --ded', []],
    ['reftar verify --against ', ['dir']],
    ['reftar extract -C ', ['dir']],
    ['reftar extract -f a.reftar -C ', ['dir']],
    ['reftar list -f ', FILES],
    ['reftar list --file ', FILES],
    ['reftar -xf ', FILES],
    ['reftar xf ', FILES],
    ['reftar -xf a.reftar -C ', ['dir']],
    ['reftar t -vf ', FILES],
    ['reftar --create -f ', FILES],
    ['reftar create --block-size ', []],
  ]
  const expected = [
    ...cases,
    ...COMMANDS.map(
      ({ name, options }) => [`reftar ${name} --`, options.map(option => `--${option}`)] as const,
    ),
  ]
  const words: string[][] = []
  for (const word of complete(expected.map(([line]) => line))) {
    if (word === 'LINE') words.push([])
    // Neither the slash behind a directory matters, nor the sign behind an option, nor that it may be named twice.
    else words.at(-1)?.push(word.replace(/^(--.*)=$|\/$/, '$1'))
  }
  t.equal(words.length, expected.length)
  for (const [index, [line, completed]] of expected.entries())
    t.same([...new Set(words[index])].sort(), [...completed].sort(), line)
}

const BASH = `
source "$1"
shift
for line in "$@"; do
  read -ra words <<<"\${line//=/ = }"
  [[ $line == *[\\ =] ]] && words+=('')
  [[ $line == *= ]] && unset 'words[-1]'
  COMP_WORDS=("\${words[@]}") COMP_CWORD=$((\${#words[@]} - 1))
  _reftar
  printf '%s\\n' LINE "\${COMPREPLY[@]}"
done
`

t.test('bash', async t => {
  const cwd = place(t)
  const script = join(cwd, 'dir/script')
  fs.writeFileSync(script, bashCompletion(COMMANDS))
  execFileSync('bash', ['-n', script])
  t.equal(
    run(cwd, 'bash', '-c', 'source "$1"; complete -p reftar', '-', script)[0],
    'complete -F _reftar reftar',
  )
  const complete: Complete = lines => run(cwd, 'bash', '-c', BASH, '-', script, ...lines)
  // What is after the equals sign is a word of its own.
  check(t, complete, value => value.replace(/.*=/, ''))
})

const FISH = `
source $argv[1]
for line in $argv[2..]
  echo LINE
  complete -C $line
end
`

t.test('fish', { skip: isInstalled('fish') ? false : 'is not installed' }, async t => {
  const cwd = place(t)
  const script = join(cwd, 'dir/script')
  fs.writeFileSync(script, fishCompletion(COMMANDS))
  execFileSync('fish', ['--no-execute', script])
  const complete: Complete = lines =>
    run(cwd, 'fish', '--no-config', '-c', FISH, script, ...lines).map(word => word.replace(/\t.*/, ''))
  check(t, complete, value => value)
})

/** A shell at a terminal, which says what it is about to show. */
const ZSH = `
zmodload zsh/zpty
zpty shell 'zsh -f -i'
zpty -w shell "PROMPT=; autoload -Uz compinit; compinit -D -u; source \${(q)1}"
zpty -w shell 'compadd() { (( \${argv[(I)-[OAD]*]} )) && { builtin compadd "$@"; return }; local -a hits; builtin compadd -A hits "$@"; (( $#hits )) && print -rl -- "HI""T:"\${^hits}; builtin compadd "$@" }'
zpty -w shell 'finished() { print FINI""SHED; comppostfuncs=(finished) }; bindkey -e; comppostfuncs=(finished)'
for line in "\${@[2,-1]}"; do
  zpty -w -n shell $'\\C-u'"$line"$'\\t'
  zpty -r shell output '*FINISHED*'
  print -r -- LINE
  print -r -- "$output"
done
`

t.test('zsh', { skip: isInstalled('zsh') ? false : 'is not installed' }, async t => {
  const cwd = place(t)
  const script = join(cwd, 'dir/script')
  fs.writeFileSync(script, zshCompletion(COMMANDS))
  execFileSync('zsh', ['-n', script])
  const complete: Complete = lines =>
    run(cwd, 'zsh', '-f', '-c', ZSH, '-', script, ...lines).flatMap(output => {
      if (output === 'LINE') return output
      const hit = /HIT:(\S.*?)\r?$/.exec(output)?.[1]?.replaceAll('\\', '')
      // A letter is another name of what has one.
      return hit === undefined || /^-.$/.test(hit) ? [] : hit
    })
  check(t, complete, value => value.replace(/.*=/, ''))
})

t.test('the command writes them', async t => {
  const scripts = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion }
  for (const [shell, script] of Object.entries(scripts)) {
    const { code, stdout, stderr } = await reftar(['completion', shell])
    t.match({ code, stderr }, { code: 0, stderr: '' })
    t.equal(stdout.toString(), script(COMMANDS))
  }
})
