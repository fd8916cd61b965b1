import type { Command } from '../command.js'
import { OPTIONS, type OptionName } from '../options.js'
import { type Completed, letterOf, operandIs, takesValue, valueIs } from './completed.js'

/** For bash 4.4 and newer, without the package bash-completion. */
export function bashCompletion(commands: readonly Command[]): string {
  const lettered = commands.filter(({ letter }) => letter)
  return `# bash completion of reftar

_reftar_paths() {
  mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
  compopt -o filenames 2>/dev/null
}

_reftar_words() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
  [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
}

_reftar() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} first=\${COMP_WORDS[1]}
  local command= bundle=
  COMPREPLY=()
  # An equals sign is a word of its own.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi

  if ((COMP_CWORD > 1)); then
    case $first in
${commands.map(({ name, letter }) => `      ${letter ? `${name} | ${letter} | --${name}` : name}) command=${name} ;;`).join('\n')}
      --* | *[!a-zA-Z-]*) ;;
${lettered.map(({ name, letter }) => `      *${letter}*) command=${name} bundle=$first ;;`).join('\n')}
    esac
  fi

  case $prev in
${valueCases(commands)}
  esac
  if [[ $COMP_CWORD -eq 2 && $bundle == [!-]*f* ]]; then
    _reftar_paths -f "$cur"
    return
  fi

  if [[ $cur == -* ]]; then
    case $command in
${commands.map(({ name, options }) => `      ${name}) _reftar_words '${options.map(optionWord).join(' ')}' "$cur" ;;`).join('\n')}
      *) _reftar_words '--help --version' "$cur" ;;
    esac
    return
  fi

  case $command in
${commands.flatMap(command => operandCase(command, commands)).join('\n')}
    '') _reftar_words '${commands.map(({ name }) => name).join(' ')}' "$cur" ;;
  esac
}

complete -F _reftar reftar
`
}

function optionWord(name: OptionName): string {
  return `--${name}${takesValue(name) ? '=' : ''}`
}

function valueCases(commands: readonly Command[]): string {
  const names = (Object.keys(OPTIONS) as OptionName[]).filter(takesValue)
  const taken = names.filter(name => commands.some(({ options }) => options.includes(name)))
  const long = taken.map(name => `    --${name}) ${action(valueIs(name))}; return ;;`)
  const short = taken.flatMap(name => {
    const letter = letterOf(name)
    return letter ? [`    -*${letter}) ${action(valueIs(name))}; return ;;`] : []
  })
  return [...long, '    --*) ;;', ...short].join('\n').replaceAll(' :; return', ' return')
}

function operandCase(command: Command, commands: readonly Command[]): string[] {
  const operand = operandIs(command, commands)
  return operand ? [`    ${command.name}) ${action(operand)} ;;`] : []
}

function action(completed: Completed): string {
  if (completed === undefined) return ':'
  if (completed === 'files') return '_reftar_paths -f "$cur"'
  if (completed === 'directories') return '_reftar_paths -d "$cur"'
  return `_reftar_words '${completed.join(' ')}' "$cur"`
}
