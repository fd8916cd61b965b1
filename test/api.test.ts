// docs/API.md is what the comments say, everything that is exported has one, and every link in it leads somewhere.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

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
  const anchors = new Set(Array.from(made.matchAll(/^#+ (.+)$/gm), ([, title = '']) => anchorOf(title)))
  for (const [, id = ''] of made.matchAll(/<a id="([^"]+)">/g)) anchors.add(id)
  const links = Array.from(made.matchAll(/\]\(#([^)]+)\)/g), ([, anchor = '']) => anchor)
  t.ok(links.length > 100)
  const counted = links.filter(link => !anchors.has(link) && !anchors.has(link.replace(/-\d+$/, '')))
  t.same(counted, [])
})

/** As GitHub makes it of a heading. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\w -]/g, '')
    .replaceAll(' ', '-')
}
