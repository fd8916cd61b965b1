import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import packageJson from '../package.json' with { type: 'json' }
import { runCreate } from './cli/create.js'
import { runExtract } from './cli/extract.js'
import { runList } from './cli/list.js'
import { escapeText } from './cli/output.js'
import { FATAL } from './cli/run.js'
import { runSharing } from './cli/sharing.js'
import { runVerify } from './cli/verify.js'
import { ReftarError } from './errors.js'

const program = new Command('reftar')
  .description('archives that keep shared storage shared')
  .version(packageJson.version)
  .exitOverride()
  .configureOutput({
    outputError: (text, write) => write(`reftar: ${escapeText(asMessage(text))}\n`),
  })
  .showSuggestionAfterError(false)
  .showHelpAfterError("reftar: try 'reftar --help'")

const file = () => new Option('-f, --file <file>', "the archive; '-' for stdin or stdout").default('-')
const verbose = () => new Option('-v, --verbose', 'name the entries').default(false)
const json = () => new Option('--json', 'one JSON object a line, the last one the summary').default(false)

program
  .command('create')
  .description('archive files and directories')
  .argument('<path...>', "what to archive; names are stored as given, without a leading '/'")
  .addOption(file())
  .option('-C, --directory <directory>', 'where relative paths begin', '.')
  .addOption(verbose())
  .addOption(json())
  .option('--block-size <bytes>', 'a power of two from 512 to 65536', wholeNumber, 4096)
  .addOption(
    new Option('--dedup <how>', 'what is stored once: equal content, only shared storage, or nothing')
      .choices(['content', 'shared', 'none'])
      .default('content'),
  )
  .option('--no-digest', 'leave the SHA-256 of the data out')
  .option('--paranoid', 'read and compare shared storage instead of trusting its addresses', false)
  .option('--snapshot', 'read clones of files, so that each is stored as it was at one moment', false)
  .option('--fsync', 'write the archive to disk before and after it gets its name', false)
  .option('--no-zero-copy', 'write all data, even where it could be cloned into the archive')
  .option('--numeric-owner', 'store numbers of users and groups, without their names', false)
  .option('--one-file-system', 'leave out what is on other filesystems', false)
  .option('--exclude <pattern>', 'leave out what matches a glob (may be repeated)', collect, [])
  .option('--exclude-from <file>', 'leave out what matches the globs in a file, one a line', collect, [])
  .option('--exclude-vcs-ignores', "leave out what the tree's .gitignore files name", false)
  .option('--exclude-caches', 'leave out what is in directories with a CACHEDIR.TAG', false)
  .action(runCreate)

const extractCommand = program
  .command('extract')
  .description('restore an archive: all of it, or nothing')
  .addOption(file())
  .option('-C, --directory <directory>', 'an existing directory to restore into', '.')
  .addOption(verbose())
  .addOption(json())
  .addOption(
    new Option('--reflink <how>', 'what becomes of references')
      .choices(['auto', 'exact', 'always', 'never'])
      .default('auto'),
  )
  .addOption(
    new Option('--overwrite', 'replace what exists, and set the metadata of directories that do')
      .default(false)
      .conflicts('keepExisting'),
  )
  .option('--keep-existing', 'leave what exists as it is, and name it', false)
  .option('--keep-partial', 'after an error, keep the entries that are whole', false)
  .option('--same-owner', 'restore owners (the default for root)')
  .option('--no-same-owner', 'files belong to whoever extracts them')
  .option('--same-permissions', 'restore exact modes (the default)')
  .option('--no-same-permissions', 'subtract the umask from modes')
  .option('--numeric-owner', 'go by the numbers of users and groups, not their names', false)
  .option('--devices', 'make device nodes (the default for root)')
  .option('--no-devices', 'leave device nodes out')
  .option('--fsync', 'write everything to disk before and after it gets its names', false)
  .option('--no-zero-copy', 'write all data, even where it could be cloned out of the archive')
  .option('--salvage', 'restore what is whole in a damaged archive, and name what is lost', false)

const listCommand = program
  .command('list')
  .description('name what is in an archive, and check all of it')
  .addOption(file())
  .addOption(new Option('-v, --verbose', 'with type, mode, owner, size and time').default(false))
  .addOption(json())

program
  .command('sharing')
  .description('tell which files share storage')
  .argument('<path...>', 'files and directories; what is in them counts')
  .option('-C, --directory <directory>', 'where relative paths begin', '.')
  .option('--content', 'read all of it too, and find what is equal but not shared', false)
  .addOption(new Option('-v, --verbose', 'every range and every file, not only the largest').default(false))
  .addOption(json())
  .action(runSharing)

const verifyCommand = program
  .command('verify')
  .description('check all that an extraction would, and write nothing')
  .addOption(file())
  .option('--against <directory>', 'compare it with the tree below a directory')
  .addOption(verbose())
  .addOption(json())

withLimits(extractCommand).action(runExtract)
withLimits(listCommand).action(runList)
withLimits(verifyCommand).action(runVerify)

/** The limits of every command that reads an archive, as cli/limits.ts names them. */
function withLimits(command: Command): Command {
  return command
    .option('--max-entries <count>', 'take no archive with more entries', wholeNumber)
    .option('--max-references <count>', 'take no archive with more references', wholeNumber)
    .option('--max-depth <count>', 'take no archive with more directories within each other', wholeNumber)
    .option('--max-size <bytes>', 'take no archive with more bytes in all files together', wholeNumber)
    .option(
      '--max-expansion <bytes>',
      'take no archive with more bytes of files for each of its own',
      wholeNumber,
    )
}

/** What commander says, in the manner of all other messages. */
function asMessage(text: string): string {
  return text
    .replace(/^error: |\n$/g, '')
    .replace(/\.$/, '')
    .replace(/\. [A-Z]/g, join => `, ${join.slice(2).toLowerCase()}`)
}

function wholeNumber(text: string): number {
  const number = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number))
    throw new InvalidArgumentError('expected a whole number')
  return number
}

function collect(value: string, earlier: readonly string[]): string[] {
  return [...earlier, value]
}

try {
  if (process.argv.length <= 2) program.error('error: no command, expected one')
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : FATAL
  } else if (error instanceof ReftarError) {
    process.stderr.write(`reftar: ${error.message}\n`)
    process.exitCode = FATAL
  } else {
    throw error
  }
}
