// A real S3 server on loopback: OpenStack Swift, which is in Debian, and checks signatures, sizes of parts and their number.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { SkippableTest } from './filesystems.js'

const PYTHON = '/usr/bin/python3'
const SCRIPT = fileURLToPath(new URL('s3-server.py', import.meta.url))

export interface S3Server {
  readonly port: number
  /** Resolves when it is gone. */
  kill(): Promise<void>
}

/** For the environment of a client. */
export function s3Environment(port: number): Record<string, string> {
  return {
    AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test:tester',
    AWS_SECRET_ACCESS_KEY: 'testing',
  }
}

/**
 * Ends with the test. Where there is no Swift the test gets a skipped assertion, and in CI an error.
 *
 * @param directory - on a filesystem with extended attributes
 */
export async function s3Server(t: SkippableTest, directory: string): Promise<S3Server | undefined> {
  if (spawnSync(PYTHON, ['-c', 'import swift']).status !== 0) {
    const reason = `${PYTHON} finds no swift`
    const { CI } = process.env
    if (CI) throw new Error(`nothing may be skipped in CI, but ${reason}`)
    t.pass('S3', { skip: reason })
    return undefined
  }
  const child = spawn(PYTHON, [SCRIPT, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  t.teardown(() => void kill())
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the S3 server ended with ${code}`)
  })
  ended.catch(() => undefined)
  const [line] = await Promise.race([once(child.stdout, 'data'), ended])
  return { port: Number(line), kill }
}
