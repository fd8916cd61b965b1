import type { Command } from '../command.js'
import { meaningOf } from '../help.js'
import { OPTIONS, type OptionDeclaration, type OptionName } from '../options.js'
import { brief, type Completed, operandIs, valueIs } from './completed.js'

export function zshCompletion(commands: readonly Command[]): string {
  const lettered = commands.filter(({ letter }) => letter)
  return `#compdef reftar
# zsh completion of reftar

_reftar() {
  local curcontext=$curcontext context state state_descr line command
  typeset -A opt_args
  local -a commands=(
${commands.map(({ name, summary }) => `    ${quoted(`${name}:${summary}`)}`).join('\n')}
  )

  if (( CURRENT == 2 )); then
    if [[ $words[2] == -* ]]; then
      _arguments -s \\
${lettered.map(({ letter, summary }) => `        ${quoted(`-${letter}[${escaped(summary)}]`)} \\`).join('\n')}
        '--help[how to use it]' '--version[the version of reftar]'
    else
      _describe -t commands command commands
    fi
    return
  fi

  case $words[2] in
${commands.map(({ name, letter }) => `    (${letter ? `${name}|${letter}` : name}) command=${name}; shift words; (( CURRENT-- )) ;;`).join('\n')}
${lettered.map(({ name }) => `    (--${name}) command=${name} ;;`).join('\n')}
    (--*|*[^a-zA-Z-]*) ;;
${lettered.map(({ name, letter }) => `    (*${letter}*) command=${name} words[2]=-\${words[2]#-} ;;`).join('\n')}
  esac

  case $command in
${commands.map(command => `    (${command.name})\n      _arguments -s -S \\\n${specs(command, commands).join(' \\\n')} ;;`).join('\n')}
  esac
}

# As a file of its own that is loaded when it is needed, or read by the shell as it starts.
if [[ $funcstack[1] == _reftar ]]; then
  _reftar "$@"
else
  compdef _reftar reftar
fi
`
}

function specs(command: Command, commands: readonly Command[]): string[] {
  const { letter, name, operand, options } = command
  const operands = operandIs(command, commands)
  return [
    // Known, so that the letters beside it are, and not offered.
    ...(letter ? [`        '!-${letter}' '!--${name}'`] : []),
    ...options.map(option => `        ${optionSpec(command, option)}`),
    ...(operand && operands
      ? [`        ${quoted(`${operand.name === 'PATH' ? '*' : '1'}:${operand.name}:${action(operands)}`)}`]
      : []),
  ]
}

function optionSpec(command: Command, name: OptionName): string {
  const { letter, value, repeated }: OptionDeclaration = OPTIONS[name]
  const long = `--${name}${value ? '=' : ''}`
  const short = `-${letter}${value ? '+' : ''}`
  const given = value ? `:${value}:${action(valueIs(name))}` : ''
  const meaning = `[${escaped(brief(meaningOf(command, name)))}]${given}`
  const others = repeated ? '*' : letter ? `(-${letter} --${name})` : ''
  return letter ? `${quoted(others)}{${short},${long}}${quoted(meaning)}` : quoted(others + long + meaning)
}

function action(completed: Completed): string {
  if (completed === undefined) return ''
  if (completed === 'files') return '_files'
  if (completed === 'directories') return '_files -/'
  return `(${completed.join(' ')})`
}

function escaped(text: string): string {
  return text.replace(/[[\]:]/g, '\\$&')
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
