import { type Command, command } from './command.js'
import { LIMITS } from './options.js'

const PATHS = "files and directories; stored as they are given, without a leading '/'"

const create = command({
  name: 'create',
  letter: 'c',
  summary: 'archive files and directories',
  description: [
    'What shares storage is stored once, and so is what is equal. Paths are stored as they are given, relative to -C, with their parents: a leading slash is left out.',
    'A GLOB is held against stored paths from any directory on; with a leading slash, only from the top. * stops at a slash, ** does not, and {a,b} and [a-z] work.',
    'An archive file gets its name when it is complete. On btrfs and XFS, data is cloned into it where that is possible.',
  ],
  operand: { name: 'PATH', isRequired: true, unless: 'files-from', meaning: PATHS },
  options: [
    'file',
    'directory',
    'verbose',
    'json',
    'progress',
    'no-progress',
    'block-size',
    'dedup',
    'no-digest',
    'paranoid',
    'snapshot',
    'files-from',
    'null',
    'exclude',
    'exclude-from',
    'exclude-vcs-ignores',
    'exclude-caches',
    'one-file-system',
    'numeric-owner',
    'fsync',
    'no-zero-copy',
    'help',
  ],
  wording: {
    file: "the archive; '-', the default, is stdout",
    'numeric-owner': 'store the numbers of users and groups, without their names',
    fsync: 'write the archive to disk before and after it gets its name',
    'no-zero-copy': 'write all data, even where it could be cloned into the archive',
  },
  examples: [
    { command: 'reftar create -f images.reftar images', meaning: 'archive a directory' },
    {
      command: "reftar create -C /srv images | ssh backup 'reftar extract -C /srv'",
      meaning: 'copy it to another machine, where it shares what it shared here',
    },
    { command: 'reftar create project | zstd > project.reftar.zst', meaning: 'compress it' },
    {
      command: "find images -name '*.img' -print0 | reftar create --null -T - -f images.reftar",
      meaning: 'archive what find finds',
    },
    {
      command: "reftar create -f src.reftar --exclude node_modules --exclude '*.o' project",
      meaning: 'leave some of it out',
    },
  ],
  load: async () => (await import('./create.js')).runCreate,
})

const extract = command({
  name: 'extract',
  letter: 'x',
  summary: 'restore all of an archive, or nothing',
  description: [
    'All of the archive is restored below a directory, or nothing of it. Nothing that exists is replaced unless --overwrite is given.',
    'What was shared is shared again where the filesystem can, and is copied where it cannot.',
  ],
  options: [
    'file',
    'directory',
    'verbose',
    'json',
    'progress',
    'no-progress',
    'reflink',
    'overwrite',
    'keep-existing',
    'keep-partial',
    'same-owner',
    'no-same-owner',
    'same-permissions',
    'no-same-permissions',
    'numeric-owner',
    'devices',
    'no-devices',
    'fsync',
    'no-zero-copy',
    'salvage',
    'force',
    ...LIMITS,
    'help',
  ],
  wording: {
    file: "the archive; '-', the default, is stdin",
    directory: "an existing directory to restore into; '.' by default",
    fsync: 'write everything to disk before and after it gets its names',
    'no-zero-copy': 'write all data, even where it could be cloned out of the archive',
  },
  examples: [
    { command: 'reftar extract -f images.reftar -C /srv', meaning: 'restore an archive below /srv' },
    { command: 'zstd -dc project.reftar.zst | reftar extract', meaning: 'restore a compressed one here' },
    {
      command: 'reftar extract --salvage -f damaged.reftar -C /srv/rescued',
      meaning: 'restore what is whole in a damaged one',
    },
  ],
  load: async () => (await import('./extract.js')).runExtract,
})

const list = command({
  name: 'list',
  letter: 't',
  summary: 'name what is in an archive, and check all of it',
  description: [
    'The names go to stdout, and every check is made that an extraction makes.',
    'With -v, a line is one of tar -tv, with another column after the size: how much of the data of the file is that of earlier files in the archive, because it shared storage with them or was found equal. Of files that share, the first has the data, and the others share it.',
  ],
  options: ['file', 'verbose', 'json', 'progress', 'no-progress', 'numeric-owner', ...LIMITS, 'help'],
  wording: {
    file: "the archive; '-', the default, is stdin",
    verbose: 'with mode, owner, size, how much of it is shared, time and links',
    'numeric-owner': 'show the numbers of users and groups, not their names',
  },
  examples: [
    { command: 'reftar list -v -f images.reftar', meaning: 'what is in an archive' },
    { command: "ssh backup 'cat images.reftar' | reftar list", meaning: 'the same, of one elsewhere' },
  ],
  load: async () => (await import('./list.js')).runList,
})

const verify = command({
  name: 'verify',
  summary: 'check all of an archive, and compare it with a tree',
  description: [
    'Reads an archive and makes every check that an extraction makes, without writing anything.',
    'With --against, it is compared with a tree: content, metadata, holes, names, and whether what shared storage shares it there.',
  ],
  options: ['file', 'against', 'verbose', 'json', 'progress', 'no-progress', ...LIMITS, 'help'],
  wording: {
    file: "the archive; '-', the default, is stdin",
    verbose: 'name the entries, and say what was checked',
  },
  examples: [
    { command: 'reftar verify -f images.reftar', meaning: 'is it whole?' },
    { command: 'reftar verify -f images.reftar --against /srv', meaning: 'is what is below /srv the same?' },
  ],
  load: async () => (await import('./verify.js')).runVerify,
})

const sharing = command({
  name: 'sharing',
  summary: 'tell which files share storage',
  description: [
    'Reads the maps of files, and tells which ranges of which of them share storage, and what that saves.',
  ],
  operand: { name: 'PATH', isRequired: true, meaning: 'files and directories; what is in them counts' },
  options: ['directory', 'content', 'verbose', 'json', 'progress', 'no-progress', 'help'],
  wording: { verbose: 'every range and every file, not only the largest' },
  examples: [
    { command: 'reftar sharing images', meaning: 'what is shared among the files of a directory' },
    { command: 'reftar sharing --content images', meaning: 'and what would be, if equal data were shared' },
  ],
  load: async () => (await import('./sharing.js')).runSharing,
})

const selftest = command({
  name: 'selftest',
  summary: 'tell what can be done in a directory, and try it',
  description: [
    'Tries what the filesystem, the kernel and you can do together, and says what follows from what cannot be done, which is no failure.',
    'Then makes some files with all of it, archives and restores them, and compares bytes, metadata, and where on the disk they lie. Everything is removed in the end.',
  ],
  operand: {
    name: 'DIR',
    isRequired: false,
    meaning: 'an existing directory, with room for 50 MiB; the working directory by default',
  },
  options: ['verbose', 'json', 'help'],
  wording: { verbose: 'show which files lie on which blocks, before and after' },
  examples: [{ command: 'reftar selftest -v /srv', meaning: 'what files can share below /srv' }],
  load: async () => (await import('./selftest.js')).runSelftest,
})

const completion = command({
  name: 'completion',
  summary: 'write what makes a shell complete commands and options',
  description: [
    'The script is made of what reftar takes: make it anew after an update.',
    'A shell that reads it as it starts needs nothing else; a file where the shell looks for such scripts is read when it is needed.',
  ],
  operand: {
    name: 'SHELL',
    isRequired: true,
    choices: ['bash', 'zsh', 'fish'],
    meaning: 'bash, zsh or fish',
  },
  options: ['help'],
  examples: [
    {
      command: 'reftar completion bash > ~/.local/share/bash-completion/completions/reftar',
      meaning:
        'for bash with the package bash-completion; else in ~/.bashrc: source <(reftar completion bash)',
    },
    {
      command: 'reftar completion zsh > ~/.zfunc/_reftar',
      meaning: 'for zsh, where fpath has ~/.zfunc; or in ~/.zshrc: source <(reftar completion zsh)',
    },
    { command: 'reftar completion fish > ~/.config/fish/completions/reftar.fish', meaning: 'for fish' },
  ],
  load: async () => (await import('./completion.js')).runCompletion,
})

/** What the option of that name asks for, too. */
export const HELP = command({
  name: 'help',
  summary: 'tell how to use a command',
  description: [],
  operand: { name: 'COMMAND', isRequired: false, meaning: 'the name of one' },
  options: ['help'],
  examples: [],
  load: async () => (await import('./help.js')).runHelp,
})

/** In the order of help. */
export const COMMANDS: readonly Command[] = [
  create,
  extract,
  list,
  verify,
  sharing,
  selftest,
  completion,
  HELP,
]

/** By its name, or by its letter. */
export function findCommand(name: string): Command | undefined {
  return COMMANDS.find(command => command.name === name || command.letter === name)
}
