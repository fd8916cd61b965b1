// A real sshd on loopback, with keys, configuration and port of its own, and the configuration of a client that knows it.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { CLI, scratch } from '../cli/run.js'
import type { SkippableTest } from './filesystems.js'

const SSHD = '/usr/sbin/sshd'
/** Where sshd of root locks up the part of itself that strangers talk to. */
const EMPTY = '/run/sshd'

export interface SshServer {
  /** For `ssh -F`: the host is called `target`, or `backup`. */
  readonly config: string
  /** A directory with the command `reftar`, which is in the PATH of the host. */
  readonly bin: string
  /** The processes that serve a connection, one each. */
  sessions(): number[]
}

/**
 * Ends with the test. Where there is no sshd the test gets a skipped assertion, and in CI an error.
 *
 * @param prefix - goes ahead of the command, which it runs in its place
 */
export async function sshServer(
  t: SkippableTest,
  prefix: readonly string[] = [],
): Promise<SshServer | undefined> {
  if (!fs.existsSync(SSHD)) {
    const reason = `no ${SSHD}`
    const { CI } = process.env
    if (CI) throw new Error(`nothing may be skipped in CI, but ${reason}`)
    t.pass('ssh', { skip: reason })
    return undefined
  }
  const directory = scratch(t)
  const file = (name: string, ...lines: readonly string[]) => {
    fs.writeFileSync(join(directory, name), lines.map(line => `${line}\n`).join(''))
    return join(directory, name)
  }
  const [hostKey, userKey] = ['host-key', 'user-key'].map(name => {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(directory, name)])
    return join(directory, name)
  })
  const bin = join(directory, 'bin')
  fs.mkdirSync(bin)
  fs.symlinkSync(CLI, join(bin, 'reftar'))
  if (process.getuid?.() === 0) fs.mkdirSync(EMPTY, { recursive: true, mode: 0o755 })
  const port = await freePort()
  const server = file(
    'sshd_config',
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${userKey}.pub`,
    // The directory of the keys is below one that everybody may write to.
    'StrictModes no',
    'UsePAM no',
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    'PidFile none',
    'LogLevel INFO',
    `SetEnv PATH=${bin}:${dirname(process.execPath)}:/usr/bin:/bin`,
  )
  const config = file(
    'ssh_config',
    'Host target backup',
    'HostName 127.0.0.1',
    `Port ${port}`,
    `IdentityFile ${userKey}`,
    'IdentitiesOnly yes',
    `UserKnownHostsFile ${file('known_hosts', `[127.0.0.1]:${port} ${fs.readFileSync(`${hostKey}.pub`, 'utf8')}`)}`,
    'StrictHostKeyChecking yes',
    'BatchMode yes',
    'LogLevel ERROR',
  )
  const [program = SSHD, ...args] = [...prefix, SSHD, '-D', '-e', '-f', server]
  const sshd = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  t.teardown(() => void sshd.kill())
  await listening(sshd)
  return { config, bin, sessions: () => childrenOf(sshd.pid ?? 0) }
}

/** One that nobody has now. */
async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  await once(probe.close(), 'close')
  return port
}

async function listening(sshd: ChildProcess): Promise<void> {
  let said = ''
  await new Promise<void>((resolve, reject) => {
    sshd.stderr?.setEncoding('utf8').on('data', text => {
      said += text
      if (said.includes('Server listening')) resolve()
    })
    sshd.on('error', reject)
    sshd.on('close', code => reject(new Error(`sshd ended with ${code}: ${said}`)))
  })
}

/** Those that are there now; none of a process that is gone. */
export function childrenOf(pid: number): number[] {
  try {
    const list = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    return list
      .split(' ')
      .filter(text => text !== '')
      .map(Number)
  } catch {
    return []
  }
}
