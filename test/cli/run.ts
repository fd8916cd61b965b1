// Runs the built command as users do.
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'

export const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url))

export interface Ended {
  /** Undefined when a signal ended it. */
  readonly code: number | undefined
  readonly signal: NodeJS.Signals | undefined
  readonly stdout: Buffer
  /** As text, for no message holds anything else. */
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd?: string
  /** A file, or bytes for a pipe; nothing by default. */
  readonly stdin?: string | Uint8Array
}

export interface Running {
  readonly pid: number
  readonly ended: Promise<Ended>
  /** What it has said so far. */
  readonly stdout: () => string
  readonly stderr: () => string
  /** The write end of its stdin, which stays open. */
  feed(bytes: Uint8Array): void
  /** Closes it after that. */
  end(bytes: Uint8Array): void
  kill(signal: NodeJS.Signals): void
  /** Lets its stdout fill up. */
  pause(): void
  resume(): void
}

/** In a script, `"$NODE" "$CLI"` is the command. */
export function shell(script: string, options: RunOptions = {}): Promise<Ended> {
  return run(['bash', '-c', `set -o pipefail; ${script}`], options)
}

export function reftar(argv: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return run([process.execPath, CLI, ...argv], options)
}

/** With no more rights than a user who is not root has over the files of this one. */
export function unprivileged(argv: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const drop = process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-all', '--inh-caps=-all'] : []
  return run([...drop, process.execPath, CLI, ...argv], options)
}

export async function run(command: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const { stdin } = options
  const fd = stdin instanceof Uint8Array ? undefined : openSync(stdin ?? '/dev/null', 'r')
  try {
    const { child, ended } = start(command, options.cwd, fd ?? 'pipe')
    // It may end before it has read everything.
    child.stdin?.on('error', () => undefined).end(stdin)
    return await ended
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

/**
 * Starts the command with an open pipe for stdin.
 *
 * @param prefix - goes ahead of the command
 */
export function started(argv: readonly string[], cwd?: string, prefix: readonly string[] = []): Running {
  const { child, ended, stdout, stderr } = start([...prefix, process.execPath, CLI, ...argv], cwd, 'pipe')
  child.stdin?.on('error', () => undefined)
  return {
    pid: child.pid ?? 0,
    ended,
    stdout: () => Buffer.concat(stdout).toString(),
    stderr: () => Buffer.concat(stderr).toString(),
    feed: bytes => void child.stdin?.write(bytes),
    end: bytes => void child.stdin?.end(bytes),
    kill: signal => void child.kill(signal),
    pause: () => void child.stdout.pause(),
    resume: () => void child.stdout.resume(),
  }
}

function start([program = '', ...args]: readonly string[], cwd: string | undefined, stdin: number | 'pipe') {
  // The instrumentation of the test runner is not for this process.
  const { NODE_OPTIONS: _, FORCE_COLOR: __, ...inherited } = process.env
  const env = { ...inherited, TZ: 'UTC', NODE: process.execPath, CLI }
  const child = spawn(program, args, { cwd, env, stdio: [stdin, 'pipe', 'pipe'] }) as ChildProcessByStdio<
    Writable | null,
    Readable,
    Readable
  >
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', chunk => stdout.push(chunk))
  child.stderr.on('data', chunk => stderr.push(chunk))
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) =>
      resolve({
        code: code ?? undefined,
        signal: signal ?? undefined,
        stdout: Buffer.concat(stdout),
        stderr: Buffer.concat(stderr).toString(),
      }),
    )
  })
  return { child, ended, stdout, stderr }
}

/** A new directory, which goes when the test ends. */
export function scratch(t: { teardown(handler: () => void): unknown }): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'reftar-cli-')))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Whether there is a program of that name. */
export function isInstalled(program: string): boolean {
  return spawnSync('sh', ['-c', 'command -v "$0"', program]).status === 0
}

/** Resolves once a condition holds. */
export async function until(holds: () => boolean, milliseconds = 20_000): Promise<void> {
  const end = Date.now() + milliseconds
  while (!holds()) {
    if (Date.now() > end) throw new Error('waited in vain')
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}
