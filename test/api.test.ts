// docs/API.md is what the comments say, everything that is exported has one, and every link in it leads somewhere.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { anchors, links } from './support/markdown.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const { NODE_OPTIONS: _, ...env } = process.env

t.test('docs/API.md is up to date: else npm run docs makes it', async t => {
  const place = mkdtempSync(join(tmpdir(), 'reftar-api-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const command = [join(ROOT, 'node_modules/typedoc/bin/typedoc'), '--out', place, '--logLevel', 'Warn']
  const { status, stdout, stderr } = spawnSync(process.execPath, command, {
    cwd: ROOT,
    env,
    encoding: 'utf8',
  })
  t.same([status, stdout + stderr], [0, ''], 'without a warning')
  const made = readFileSync(join(place, 'API.md'), 'utf8')
  t.equal(readFileSync(join(ROOT, 'docs/API.md'), 'utf8'), made)
  const known = anchors(made)
  const internal = links(made).filter(link => link.startsWith('#'))
  t.ok(internal.length > 100)
  t.same(
    internal.filter(link => !known.has(link.slice(1))),
    [],
  )
})
