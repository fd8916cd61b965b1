/** The archivers that are compared, each by the commands with which its users would do the same. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Command, reftarCommand } from './pipeline.js'

/** `name` in the directory `root` is archived. */
export interface Source {
  readonly root: string
  readonly name: string
  readonly corpus: string
}

export interface Tool {
  readonly name: string
  /** Undefined where it is not installed. */
  readonly version: string | undefined
  /** Whether it can take this corpus on this filesystem. */
  readonly takes?: (corpus: string, filesystem: string) => boolean
  /** Of the name that an archive has to have. */
  readonly suffix?: string
  /** What is to be there before an archive can be made. */
  readonly prepare?: (archive: string) => Command
  readonly createPipe?: (source: Source) => Command
  readonly createFile?: (source: Source, archive: string) => Command
  readonly extractPipe?: (target: string) => Command
  readonly extractFile?: (archive: string, target: string) => Command
  /** From one directory to another without an archive; else it is what goes through the pipe. */
  readonly copy?: (source: Source, target: string) => Command
}

const require = createRequire(import.meta.url)
const IS_ROOT = process.geteuid?.() === 0

export function allTools(cli: string | undefined): Tool[] {
  const reftar = reftarCommand(cli)
  return [
    {
      name: 'reftar',
      version: packageVersion('../package.json'),
      createPipe: ({ root, name }) => [...reftar, 'create', '-C', root, name],
      createFile: ({ root, name }, archive) => [...reftar, 'create', '-f', archive, '-C', root, name],
      extractPipe: target => [...reftar, 'extract', '-C', target],
      extractFile: (archive, target) => [...reftar, 'extract', '-f', archive, '-C', target],
    },
    {
      name: 'tar',
      version: versionOf('tar', '--version'),
      createPipe: source => ['tar', ...sparse(source), '--create', '--file=-', ...from(source)],
      createFile: (source, archive) => [
        'tar',
        ...sparse(source),
        '--create',
        `--file=${archive}`,
        ...from(source),
      ],
      extractPipe: target => ['tar', '--extract', '--file=-', '-C', target],
      extractFile: (archive, target) => ['tar', '--extract', `--file=${archive}`, '-C', target],
    },
    {
      name: 'bsdtar',
      version: versionOf('bsdtar', '--version'),
      createPipe: source => ['bsdtar', '-cf', '-', ...from(source)],
      createFile: (source, archive) => ['bsdtar', '-cf', archive, ...from(source)],
      extractPipe: target => ['bsdtar', '-xpf', '-', '-C', target],
      extractFile: (archive, target) => ['bsdtar', '-xpf', archive, '-C', target],
    },
    nodeTool('tar-fs'),
    nodeTool('tar', 'node tar'),
    {
      name: 'cp --reflink',
      version: versionOf('cp', '--version'),
      copy: ({ root, name }, target) => ['cp', '-a', '--reflink=always', join(root, name), `${target}/`],
    },
    {
      name: 'btrfs send',
      version: IS_ROOT ? versionOf('btrfs', '--version') : undefined,
      takes: (corpus, filesystem) => corpus === 'snapshots' && filesystem === 'btrfs',
      createPipe: source => ['sh', '-c', sends(source).join(' && ')],
      createFile: (source, archive) => ['sh', '-c', `{ ${sends(source).join(' && ')}; } > ${quote(archive)}`],
      extractPipe: target => ['btrfs', 'receive', '-q', target],
      extractFile: (archive, target) => ['btrfs', 'receive', '-q', '-f', archive, target],
    },
    {
      name: 'casync',
      version: versionOf('casync', '--version'),
      suffix: '.catar',
      createPipe: ({ root, name }) => ['casync', 'make', '--what=archive', '-', join(root, name)],
      createFile: ({ root, name }, archive) => ['casync', 'make', archive, join(root, name)],
      extractPipe: target => ['casync', 'extract', '--what=archive', '-', target],
      extractFile: (archive, target) => ['casync', 'extract', archive, target],
    },
    {
      name: 'borg',
      version: versionOf('borg', '--version'),
      prepare: archive => borg(archive, 'init', '-e', 'none', archive),
      createFile: ({ root, name }, archive) => within(root, borg(archive, 'create', `${archive}::a`, name)),
      extractFile: (archive, target) => within(target, borg(archive, 'extract', `${archive}::a`)),
    },
    {
      name: 'restic',
      version: versionOf('restic', 'version'),
      prepare: archive => restic(archive, 'init'),
      createFile: ({ root, name }, archive) => within(root, restic(archive, 'backup', name)),
      extractFile: (archive, target) => restic(archive, 'restore', 'latest', '--target', target),
    },
  ]
}

function nodeTool(module: string, name = module): Tool {
  const script = [process.execPath, fileURLToPath(new URL(`peers/${module}.mjs`, import.meta.url))]
  return {
    name,
    version: packageVersion(`../node_modules/${module}/package.json`),
    createPipe: ({ root, name }) => [...script, 'create', root, name],
    createFile: ({ root, name }, archive) => [...script, 'create', root, name, archive],
    extractPipe: target => [...script, 'extract', target],
    extractFile: (archive, target) => [...script, 'extract', target, archive],
  }
}

function from({ root, name }: Source): Command {
  return ['-C', root, name]
}

/** Without it, tar stores holes as zeros. */
function sparse({ corpus }: Source): Command {
  return corpus === 'holes' ? ['--sparse'] : []
}

/** One stream after the other: each snapshot as what differs from the one before. */
function sends({ root, name }: Source): string[] {
  const snapshots = readdirSync(join(root, name)).sort()
  return snapshots.map((snapshot, i) => {
    const parent = i > 0 ? `-p ${quote(join(root, name, snapshots[i - 1] ?? ''))}` : ''
    return `btrfs send -q ${parent} ${quote(join(root, name, snapshot))}`
  })
}

/** What it remembers of repositories is to be forgotten with this one. */
function borg(repository: string, ...command: string[]): Command {
  return ['env', `BORG_BASE_DIR=${repository}.base`, 'borg', ...command]
}

function restic(repository: string, ...command: string[]): Command {
  return ['env', 'RESTIC_PASSWORD=bench', 'restic', '-q', '--no-cache', '-r', repository, ...command]
}

function within(directory: string, command: Command): Command {
  return ['sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', directory, ...command]
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function versionOf(program: string, ...args: string[]): string | undefined {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8' })
  return status === 0 ? stdout.split('\n')[0]?.trim() : undefined
}

function packageVersion(file: string): string {
  return (require(file) as { version: string }).version
}
