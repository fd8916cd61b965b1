// The gate of table A2, R2: what an extraction asks the kernel for. Once the target is open, everything is one name in
// a directory that is held open, so that nothing an archive says, and nothing others do, can lead elsewhere.
import * as fs from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { data, hole, type RawRow, reference, TYPE } from '../../fixtures/recipes/raw.js'
import { CLI, run, scratch } from '../cli/run.js'
import { tracing } from '../support/extractor.js'
import {
  beside,
  clearFlags,
  content,
  device,
  directory,
  empty,
  fifo,
  file,
  flags,
  type Ground,
  ground,
  hardlink,
  leftovers,
  METADATA,
  mode,
  owner,
  STRANGER,
  symlink,
  unsorted,
  xattrs,
} from '../support/hostile.js'
import { callsOf, type NamedPath, pathsOf, type TracedCall } from '../support/trace-log.js'

process.umask(0o022)

/** One of everything: more directories than are held open at a time, some of them deep, and links back to early ones. */
function rich(): RawRow[] {
  const rows: RawRow[] = []
  let ordinal = 0
  const add = (...made: readonly RawRow[]) => {
    rows.push(...made)
    ordinal += made.filter(({ kind }) => kind === 'entry').length
    return ordinal
  }
  const acl = Buffer.from(
    '0200000001000700ffffffff02000700e810000004000500ffffffff10000500ffffffff20000500ffffffff',
    'hex',
  )
  const attributes = xattrs(['system.posix_acl_access', acl], ['trusted.x', 'y'], ['user.x', 'y'])
  const linked = add(...file('aa', { flags: 1, fields: METADATA }, data(content(300_000))))
  add(...file('ab', { fields: [mode(0o4755), owner(STRANGER, 0), attributes] }, reference(0, 300_000)))
  add(...file('ac', {}, hole(100_000), reference(4096, 8192), hole(8192, 1)))
  add(symlink('ad', '../victim', 0, { fields: METADATA, flags: 1 }))
  add(
    fifo('ae', 0, METADATA, 1),
    device('af', TYPE.characterDevice, 1, 3),
    device('ag', TYPE.blockDevice, 7, 255),
  )
  add(hardlink('ah', linked))
  add(...file('ai', { fields: [mode(0o644), flags(0x10)] }, data(content(100, 'immutable'))))
  let parent = 0
  for (let i = 0; i < 90; i++) parent = add(directory('deep', parent, i % 2 ? METADATA : []))
  add(...file('bottom', { parent }, reference(0, 300_000)), hardlink('hard', linked, parent))
  for (let i = 0; i < 90; i++) {
    const wide = add(directory(`wide${i}`, 0, [mode(i % 3 ? 0o755 : 0o555)]))
    add(
      ...file('f', { parent: wide }, reference(0, 4096)),
      symlink('l', '../..', wide),
      fifo('p', wide, METADATA),
    )
  }
  add(...file('zz', { fields: METADATA }, data(content(5000, 'last'))))
  return rows
}

/** Runs the command below strace, and gives what it asked for from the moment on that the target is open. */
async function traced(t: Test, place: Ground, argv: readonly string[]) {
  const log = join(scratch(t), 'log')
  const strace = ['strace', '-f', '-qq', '-s', '4096', '-o', log, '-e', 'trace=%file,fchmod,fchown']
  const ended = await run([...strace, 'env', '-u', 'NODE_OPTIONS', process.execPath, CLI, ...argv], {
    cwd: place.base,
  })
  const calls = callsOf(fs.readFileSync(log, 'utf8'))
  const isTarget = ({ call, arguments: [, path] }: TracedCall) => call === 'openat' && path === '"target"'
  // An extraction first asks which filesystem it is on, of a descriptor that it uses for nothing else.
  const start = calls.findLastIndex(isTarget)
  t.ok(start > 0, 'the target is opened')
  t.equal(calls.filter(isTarget).length, argv[0] === 'extract' && !argv.includes('--salvage') ? 2 : 1, 'once')
  const after = calls.slice(start + 1)
  return {
    ...ended,
    calls: after,
    paths: pathsOf(after.filter(({ call }) => call !== 'fchmod' && call !== 'fchown')),
  }
}

/** What has nothing to do with any archive: what node and the C library ask of their own accord. */
const FIXED = new RegExp(
  [
    '^/$',
    '^/proc/(self|[0-9]+)/(stat|maps|cgroup|exe)$',
    '^/proc/(meminfo|version|cpuinfo|sys/vm/overcommit_memory)$',
    '^/sys/(fs/cgroup|devices/system/cpu)/[^.]*[a-z_.]*$',
    '^/etc/(passwd|group|nsswitch\\.conf|ld\\.so\\.cache|localtime)$',
    '^(/usr)?/lib[a-z0-9_/-]*/lib[a-z_0-9.-]+\\.so[0-9.]*$',
  ].join('|'),
)

function isConfined({ at, path }: NamedPath): boolean {
  if (at !== 'cwd') return !path.includes('/')
  return /^\/proc\/self\/fd\/\d+$/.test(path) || path === process.execPath || FIXED.test(path)
}

function isTame({ call, arguments: all }: TracedCall): boolean {
  const text = all.join()
  if (call !== 'openat') return call !== 'open' && call !== 'creat' && call !== 'openat2'
  if (text.includes('O_CREAT')) return text.includes('O_EXCL') && text.includes('O_NOFOLLOW')
  // Of fixed paths, the system's own.
  return (
    all[0] === 'AT_FDCWD' || (text.includes('O_NOFOLLOW') && !/O_WRONLY|O_RDWR|O_TRUNC|O_APPEND/.test(text))
  )
}

/** The calls that follow a symbolic link of their own accord, unless they are told not to. */
function followsLinks({ call, arguments: all }: TracedCall): boolean {
  const text = all.join()
  if (/^(fchownat|fchmodat2?|utimensat|statx|newfstatat)$/.test(call) && all[0] !== 'AT_FDCWD')
    return !/AT_SYMLINK_NOFOLLOW|AT_EMPTY_PATH/.test(text) && all[1] !== 'NULL'
  return call === 'linkat' && text.includes('AT_SYMLINK_FOLLOW')
}

function checkCalls(t: Test, what: string, calls: readonly TracedCall[], paths: readonly NamedPath[]): void {
  t.ok(paths.filter(({ at }) => at !== 'cwd').length > 10, `${what}: ${paths.length} names`)
  const lines = (list: readonly { readonly line: string }[]) => list.map(({ line }) => line)
  t.same(lines(paths.filter(path => !isConfined(path))), [], `${what}: one name in a directory that is open`)
  t.same(lines(calls.filter(call => !isTame(call))), [], `${what}: nothing is opened through a link`)
  t.same(lines(calls.filter(followsLinks)), [], `${what}: nothing follows a link`)
  const ran = calls.filter(({ call }) => call === 'execve')
  t.same(lines(ran), [], `${what}: no program is run`)
  const made = calls.filter(({ call }) => call === 'mkdirat')
  t.same(
    lines(made.filter(({ arguments: all }) => all[2]?.startsWith('0700') !== true)),
    [],
    `${what}: private`,
  )
}

/** Opens of what must not be opened: a FIFO waits, and a device acts. */
function opensOf(calls: readonly TracedCall[], names: readonly string[]): string[] {
  return calls.flatMap(({ call, arguments: [, name = '', how = ''], line }) =>
    call === 'openat' && names.includes(name) && !how.includes('O_PATH') ? [line] : [],
  )
}

/** So that the immutable file can be removed. */
function unlock(place: Ground): void {
  clearFlags(join(place.target, 'ai'))
}

t.test('R2 every name is one component of a directory that is held open', tracing, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  t.teardown(() => unlock(place))
  const rows = rich()
  const half = rows.length - 200
  // Of a segment that is damaged, nothing is let through.
  const segments = [{ rows: rows.slice(0, half) }, { rows: rows.slice(half, -3) }, { rows: rows.slice(-3) }]
  const whole = unsorted([], { segments })
  fs.writeFileSync(join(place.base, 'whole'), whole)
  const damaged = whole.slice()
  damaged[damaged.byteLength - 200] = (damaged.at(-200) ?? 0) ^ 1
  fs.writeFileSync(join(place.base, 'damaged'), damaged)
  const before = beside(place)
  const steps: readonly (readonly [argv: readonly string[], status: number, isToBeEmpty?: boolean])[] = [
    [['extract', '-f', 'damaged', '-C', 'target', '--keep-partial'], 2],
    [['extract', '-f', 'whole', '-C', 'target'], 0, true],
    [['verify', '-f', 'whole', '--against', 'target'], 0],
    [['extract', '-f', 'whole', '-C', 'target'], 2],
    [['extract', '-f', 'whole', '-C', 'target', '--keep-existing'], 1],
    [['extract', '-f', 'whole', '-C', 'target', '--overwrite', '--fsync'], 0],
    [['extract', '-f', 'damaged', '-C', 'target', '--salvage'], 1, true],
  ]
  for (const [argv, status, isToBeEmpty] of steps) {
    const what = argv.join(' ')
    if (argv[0] === 'extract') unlock(place)
    if (isToBeEmpty) empty(place.target)
    const { code, stderr, calls, paths } = await traced(t, place, argv)
    t.equal(code, status, `${what}: ${stderr.slice(0, 300)}`)
    checkCalls(t, what, calls, paths)
    t.same(opensOf(calls, ['"ae"', '"af"', '"ag"', '"p"']), [], `${what}: no FIFO and no device is opened`)
    t.same(leftovers(place.target), [], what)
  }
  t.same(beside(place), before)
})

t.test('M7 programs that the process runs get none of its descriptors', tracing, async t => {
  const place = ground(t, 'xfs')
  if (!place) return
  fs.writeFileSync(join(place.base, 'whole'), unsorted(rich()))
  t.teardown(() => unlock(place))
  for (const argv of [
    ['extract', '-f', 'whole', '-C', 'target'],
    ['verify', '-f', 'whole', '--against', 'target'],
  ]) {
    const { calls } = await traced(t, place, argv)
    const opened = calls.filter(
      ({ call, arguments: [at], line }) => call === 'openat' && at !== 'AT_FDCWD' && / = \d+$/.test(line),
    )
    t.ok(opened.length > 20)
    t.same(
      opened.filter(({ line }) => !line.includes('O_CLOEXEC')).length,
      0,
      `${argv[0]}: of ${opened.length} descriptors`,
    )
  }
})
