// Runs the examples as their users do.
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Ended } from '../cli/run.js'

const TSX = import.meta.resolve('tsx')

export interface Example {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly ended: Promise<Ended>
}

export interface ExampleOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** Its stdin is a pipe, and to be ended by who wants it to end. */
export function startExample(
  name: string,
  argv: readonly string[],
  { cwd, env }: ExampleOptions = {},
): Example {
  const file = fileURLToPath(new URL(`../../examples/${name}.ts`, import.meta.url))
  // The instrumentation of the test runner is not for this process.
  const { NODE_OPTIONS: _, ...inherited } = process.env
  // The SDK of AWS tells which versions of node it will want one day.
  const options = ['--no-warnings', '--import', TSX, file, ...argv]
  const child = spawn(process.execPath, options, { cwd, env: { ...inherited, ...env }, stdio: 'pipe' })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', chunk => stdout.push(chunk))
  child.stderr.on('data', chunk => stderr.push(chunk))
  child.stdin.on('error', () => undefined)
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
  return { child, ended }
}

/** @param stdin - nothing by default */
export function example(
  name: string,
  argv: readonly string[],
  { stdin, ...options }: ExampleOptions & { readonly stdin?: Uint8Array } = {},
): Promise<Ended> {
  const { child, ended } = startExample(name, argv, options)
  child.stdin.end(stdin)
  return ended
}
