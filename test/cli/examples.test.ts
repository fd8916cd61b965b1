// What help gives as examples is run, one after the other. Where it names another machine, that is this one; and
// where it compresses, it may be another way.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { COMMANDS } from '../../src/cli/commands.js'
import { noise } from '../support/trees.js'
import { CLI, scratch, shell } from './run.js'

const place = scratch(t)
const srv = join(place, 'srv')

/** Where all is that examples name. */
const template = join(place, 'template')
for (const name of ['images', 'project', 'rescued', '.zfunc'])
  fs.mkdirSync(join(template, name), { recursive: true })
for (const name of ['.local/share/bash-completion/completions', '.config/fish/completions'])
  fs.mkdirSync(join(template, name), { recursive: true })
for (const name of ['a.img', 'b.img']) fs.writeFileSync(join(template, 'images', name), noise(300_000))
fs.writeFileSync(join(template, 'project/main.o'), 'object')
execFileSync(process.execPath, [CLI, '-cf', 'images.reftar', 'images'], { cwd: template })
const project = execFileSync(process.execPath, [CLI, '-c', 'project'], { cwd: template })
fs.writeFileSync(join(template, 'project.reftar.zst'), gzipSync(project))
const damaged = fs.readFileSync(join(template, 'images.reftar'))
damaged.fill(1, damaged.byteLength - 50_000, damaged.byteLength - 49_000)
fs.writeFileSync(join(template, 'damaged.reftar'), damaged)

/** Statuses that are not 0. */
const STATUSES: Record<string, number> = { 'reftar extract --salvage -f damaged.reftar -C /srv/rescued': 1 }

for (const { name, examples } of COMMANDS) {
  for (const { command } of examples) {
    t.test(command, async t => {
      fs.rmSync(srv, { recursive: true, force: true })
      execFileSync('cp', ['-a', template, srv])
      // What is restored is where it is not.
      if (name === 'extract')
        for (const tree of ['images', 'project']) fs.rmSync(join(srv, tree), { recursive: true })
      const ours = command
        .replace(
          /ssh backup '(.*?)'/,
          (_, remote) => `bash -c '${remote.replace('-C /srv', '-C /srv/rescued')}'`,
        )
        .replaceAll('zstd', 'gzip')
        .replaceAll('.gzip', '.zst')
        .replaceAll('/srv', srv)
      const script = `reftar() { "$NODE" "$CLI" "$@"; }; export -f reftar; HOME=${srv}; ${ours}`
      const { code, stderr } = await shell(script, { cwd: srv })
      t.equal(code, STATUSES[command] ?? 0, stderr)
    })
  }
}
