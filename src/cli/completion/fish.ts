import type { Command } from '../command.js'
import { meaningOf } from '../help.js'
import type { OptionName } from '../options.js'
import { brief, type Completed, letterOf, operandIs, takesValue, valueIs } from './completed.js'

export function fishCompletion(commands: readonly Command[]): string {
  const lettered = commands.filter(({ letter }) => letter)
  return `# fish completion of reftar

function __reftar_command
  set -l words (commandline -opc)
  switch "$words[2]"
${commands.map(({ name, letter }) => `    case ${letter ? `${name} ${letter} --${name}` : name}\n      echo ${name}`).join('\n')}
    case '--*'
${lettered.map(({ name, letter }) => `    case '*${letter}*'\n      string match -qr '^-?[a-zA-Z]+$' -- $words[2]; and echo ${name}`).join('\n')}
  end
end

function __reftar_is
  contains -- (__reftar_command) $argv
end

function __reftar_begins
  set -l command (__reftar_command)
  test -z "$command"
end

# In old manners, the file comes first behind letters without a dash.
function __reftar_wants_file
  set -l words (commandline -opc)
  test (count $words) -eq 2
  and string match -qr '^[a-zA-Z]*f[a-zA-Z]*$' -- $words[2]
  and not contains -- $words[2] ${commands.map(({ name }) => name).join(' ')}
end

complete -c reftar -f
complete -c reftar -n __reftar_wants_file -F
${commands.map(({ name, summary }) => `complete -c reftar -n '__reftar_begins' -a ${name} -d ${quoted(summary)}`).join('\n')}
complete -c reftar -n '__reftar_begins' -l version -d 'the version of reftar'
${lettered.map(({ name, letter, summary }) => `complete -c reftar -n '__reftar_begins; or __reftar_is ${name}' -s ${letter} -d ${quoted(summary)}`).join('\n')}
${commands.flatMap(command => lines(command, commands)).join('\n')}
`
}

function lines(command: Command, commands: readonly Command[]): string[] {
  const is = `complete -c reftar -n '__reftar_is ${command.name}'`
  const operand = operandIs(command, commands)
  return [
    ...command.options.map(name => `${is} ${optionWords(command, name)}`),
    ...(operand ? [`${is} ${action(operand, '-F')}`] : []),
  ]
}

function optionWords(command: Command, name: OptionName): string {
  const letter = letterOf(name)
  const value = takesValue(name) ? ` ${action(valueIs(name), '-r -F')}` : ''
  return `${letter ? `-s ${letter} ` : ''}-l ${name}${value} -d ${quoted(brief(meaningOf(command, name)))}`
}

function action(completed: Completed, files: string): string {
  if (completed === undefined) return '-x'
  if (completed === 'files') return files
  if (completed === 'directories') return "-x -a '(__fish_complete_directories)'"
  return `-x -a '${completed.join(' ')}'`
}

function quoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, '\\$&')}'`
}
