// Names that come from files, as find makes them.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { reftar, scratch, shell } from './run.js'

const NOT_TEXT = Buffer.from([0x66, 0xff])

t.test('create archives what files name, as well', async t => {
  const cwd = scratch(t)
  fs.mkdirSync(join(cwd, 'tree/d'), { recursive: true })
  for (const name of ['a', '-v', ' # b ', 'line\nend', 'd/c', 'z'])
    fs.writeFileSync(join(cwd, 'tree', name), name)
  fs.writeFileSync(Buffer.concat([Buffer.from(`${cwd}/tree/`), NOT_TEXT]), '')
  const listed = async (script: string) => {
    const { code, stdout, stderr } = await shell(`cd tree; ${script} | "$NODE" "$CLI" -t`, { cwd })
    t.equal(code, 0, stderr)
    return stdout.toString().split('\n').slice(0, -1)
  }
  const all = [' # b ', '-v', 'a', 'd/', 'd/c', 'f\\377', 'line\\nend', 'z']

  t.same(await listed('find . -mindepth 1 -print0 | "$NODE" "$CLI" -c --null -T -'), all)
  t.same(
    await listed('find . -mindepth 1 ! -name line* | "$NODE" "$CLI" -cT -'),
    all.filter(name => !/line/.test(name)),
  )
  t.same(
    await listed(
      `printf 'a\\n\\n\\n-v\\n' > ../one; printf z > ../two; "$NODE" "$CLI" -c -T ../one -T ../two d`,
    ),
    ['-v', 'a', 'd/', 'd/c', 'z'],
  )
  t.same(await listed(`printf 'd/c' | "$NODE" "$CLI" create --files-from=-`), ['d/', 'd/c'])
})

t.test('a list that cannot be read, and one without a name', async t => {
  const cwd = scratch(t)
  fs.writeFileSync(join(cwd, 'empty'), '\n\n')
  for (const [argv, stderr] of [
    [['-cf', 'a', '-T', 'none'], "reftar: 'none': open: no such file or directory (ENOENT)\n"],
    [['-cf', 'a', '-T', 'empty'], 'reftar: no path, expected at least one\n'],
  ] as const) {
    const ended = await reftar(argv, { cwd })
    t.equal(ended.code, 2)
    t.equal(ended.stderr, stderr)
    t.same(fs.readdirSync(cwd), ['empty'], 'no archive')
  }
})
