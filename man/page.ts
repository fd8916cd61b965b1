import type { Command } from '../src/cli/command.js'
import { meaningOf, usagesOf } from '../src/cli/help.js'
import { OPTIONS, type OptionDeclaration, type OptionName } from '../src/cli/options.js'
import { DESCRIPTION, ENVIRONMENT, EXIT_STATUS, SHORT_FORMS, SUMMARY } from '../src/cli/program.js'
import { wrap } from '../src/cli/wrap.js'

/** Of the last change that somebody should read the page for. */
const DATE = '2026-11-26'
/** Of the source, in columns. */
const WIDTH = 80

/** The man page of what help tells, in the macros of man(7). */
export function manualPage(commands: readonly Command[], version: string): string {
  return [
    '.\\" Made by npm run man.',
    `.TH REFTAR 1 ${DATE} "reftar ${version}" "User Commands"`,
    // An option is not to be cut in two.
    '.nh',
    '.ad l',
    '.SH NAME',
    `reftar \\- ${SUMMARY}`,
    '.SH SYNOPSIS',
    '.nf',
    ...[...SHORT_FORMS, ...commands.flatMap(command => usagesOf(command).slice(0, 1))].map(synopsis),
    '.fi',
    '.SH DESCRIPTION',
    ...paragraphs(DESCRIPTION).slice(1),
    '.SH COMMANDS',
    ...commands.flatMap(commandSection),
    '.SH OPTIONS',
    ...(Object.keys(OPTIONS) as OptionName[]).flatMap(name => optionEntry(name, commands)),
    ...entry('--version', 'tell the version'),
    '.SH EXIT STATUS',
    ...EXIT_STATUS.flatMap(([status, meaning]) => entry(status, meaning)),
    ...paragraphs(['Interrupted, it cleans up, and dies by the signal.']),
    '.SH ENVIRONMENT',
    ...ENVIRONMENT.flatMap(([name, meaning]) => entry(name, meaning)),
    '.SH EXAMPLES',
    ...commands.flatMap(({ examples }) => examples.flatMap(exampleEntry)).slice(1),
    '.SH SEE ALSO',
    '.BR tar (1),',
    '.BR cp (1),',
    '.BR ssh (1),',
    '.BR zstd (1),',
    '.BR filefrag (8),',
    '.BR ioctl_ficlonerange (2),',
    '.BR btrfs (5),',
    '.BR xfs (5)',
    '',
  ].join('\n')
}

function synopsis(usage: string): string {
  const [, words = '', rest = ''] = /^(reftar -?[a-z]+)(.*)/.exec(usage) ?? []
  return bold(words) + escaped(rest)
}

function commandSection(command: Command): string[] {
  const { name, letter, summary, description, operand, options } = command
  return [
    `.SS ${name}${letter ? `, ${letter}` : ''}`,
    ...paragraphs([sentence(summary), ...description]).slice(1),
    ...(operand ? paragraphs([`${operand.name} is ${operand.meaning}.`]) : []),
    '.PP',
    ...wrap(`Options: ${options.map(option => bold(`--${option}`)).join(', ')}`, WIDTH),
  ]
}

/** Where commands word its meaning in their own ways, each of them. */
function optionEntry(name: OptionName, commands: readonly Command[]): string[] {
  const { letter, value }: OptionDeclaration = OPTIONS[name]
  const takers = commands.filter(({ options }) => options.includes(name))
  const meanings = [...new Set(takers.map(command => meaningOf(command, name)))]
  const [first = '', ...others] = meanings.map(meaning => {
    const own = takers.filter(command => meaningOf(command, name) === meaning)
    return meanings.length === 1 ? meaning : `of ${own.map(command => command.name).join(', ')}: ${meaning}`
  })
  const argument = (separator: string) => (value ? `${separator}\\fI${value}\\fR` : '')
  const short = letter ? `${bold(`-${letter}`)}${argument(' ')}, ` : ''
  return [
    '.TP',
    `${short}${bold(`--${name}`)}${argument('=')}`,
    ...prose(sentence(first)),
    ...others.flatMap(other => ['.br', ...prose(sentence(other))]),
  ]
}

function exampleEntry({ command, meaning }: Command['examples'][number]): string[] {
  return [...paragraphs([sentence(meaning)]), '.RS 4', '.nf', literal(escaped(command)), '.fi', '.RE']
}

function entry(term: string, meaning: string): string[] {
  return ['.TP', bold(term), ...prose(sentence(meaning))]
}

function paragraphs(texts: readonly string[]): string[] {
  return texts.flatMap(text => ['.PP', ...prose(text)])
}

function sentence(meaning: string): string {
  const whole = meaning.charAt(0).toUpperCase() + meaning.slice(1)
  return /[.?]$/.test(whole) ? whole : `${whole}.`
}

function bold(term: string): string {
  return `\\fB${escaped(term)}\\fR`
}

/** Lines of the source, none of which begins a macro. */
function prose(text: string): string[] {
  return wrap(escaped(text), WIDTH).map(literal)
}

function literal(line: string): string {
  return line.replace(/^[.']/, '\\&$&')
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\e').replaceAll("'", '\\(aq').replaceAll('-', '\\-')
}
