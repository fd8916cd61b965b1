// What can be typed, and what is said of what cannot.
import t from 'tap'
import { parseCommandLine } from '../../src/cli/command-line.js'
import { COMMANDS } from '../../src/cli/commands.js'
import { OPTIONS } from '../../src/cli/options.js'
import { ReftarError } from '../../src/errors.js'

function parse(line: string) {
  return parseCommandLine(line === '' ? [] : line.split(' '))
}

/** The command, its operands, and the values that are not the defaults of that command. */
function asked(line: string) {
  const asked = parse(line)
  if (asked === 'version') return { version: true }
  const { command, operands, values } = asked
  const required = command.operand?.isRequired ? ' x' : ''
  const bare = parse(`${command.name}${required}`)
  const defaults = bare === 'version' ? {} : bare.values
  const given = Object.entries(values).filter(([key, value]) => String(value) !== String(defaults[key]))
  return { command: command.name, operands, ...Object.fromEntries(given) }
}

function refusal(line: string): string {
  try {
    return `taken as ${JSON.stringify(parse(line))}`
  } catch (error) {
    if (error instanceof ReftarError && error.code === 'INVALID_ARGUMENT') return error.message
    throw error
  }
}

t.test('as one types it to tar', async t => {
  const create = { command: 'create', operands: ['tree'], verbose: true, file: 'a' }
  for (const line of [
    '-cvf a tree',
    'cvf a tree',
    'c -vf a tree',
    'c -v -f a tree',
    '-c -v -f a tree',
    '-v -cf a tree',
    '-cvfa tree',
    '-cf a -v tree',
    '-cf a tree -v',
    '-cvf a -C . tree',
    'cvfC a . tree',
    'cfCv a . tree',
    '--create --verbose --file=a tree',
    '--create --file a tree --verbose',
    'create -v --file=a tree',
    '-v create -f a tree',
    '-cvf a -- tree',
    'create -vvf a tree',
    'create -f b -f a -v tree',
  ]) {
    t.same(asked(line), create, line)
  }
  const extract = { command: 'extract', operands: [], verbose: true, file: 'a', directory: 'out' }
  for (const line of [
    '-xvf a -C out',
    'xvf a -C out',
    'xfvC a out',
    'x -vfa -Cout',
    '--extract --verbose --file a --directory out',
    'extract -C out -vfa',
  ]) {
    t.same(asked(line), extract, line)
  }
  t.same(asked('-xpf a --numeric-owner --no-same-owner'), {
    command: 'extract',
    operands: [],
    file: 'a',
    samePermissions: true,
    numericOwner: true,
    sameOwner: false,
  })
  for (const line of ['-tvf a', 'tvf a', 'tfv a', 't -vf a', '-t -v --file=a', '--list -f a -v'])
    t.same(asked(line), { command: 'list', operands: [], verbose: true, file: 'a' }, line)
  t.same(asked('-cf - tree'), { command: 'create', operands: ['tree'] }, 'which is the default')
  t.same(asked('-cT names --null -T more'), {
    command: 'create',
    operands: [],
    filesFrom: ['names', 'more'],
    null: true,
  })
  t.same(asked('-cX patterns --exclude=-a --exclude b tree'), {
    command: 'create',
    operands: ['tree'],
    excludeFrom: ['patterns'],
    exclude: ['-a', 'b'],
  })
})

t.test('a name that is a command or a bundle is a name where a name stands', async t => {
  const operands = ['create', 'xf', 'c', '-v']
  t.same(asked('-cf a create xf c -- -v'), { command: 'create', file: 'a', operands })
  t.same(asked('create create xf c -- -v'), { command: 'create', operands })
  t.same(asked('create -'), { command: 'create', operands: ['-'] })
})

t.test('values', async t => {
  t.match(parse('extract'), {
    values: { file: '-', directory: '.', reflink: 'auto', zeroCopy: true, overwrite: false, verbose: false },
  })
  t.notOk(Object.hasOwn((parse('extract') as { values: object }).values, 'sameOwner'), 'it depends')
  t.same(asked('create --no-digest --block-size=512 --dedup none x'), {
    command: 'create',
    operands: ['x'],
    digest: false,
    blockSize: 512,
    dedup: 'none',
  })
  t.same(asked('extract --same-owner --no-same-owner'), {
    command: 'extract',
    operands: [],
    sameOwner: false,
  })
  t.same(asked('extract --no-same-owner --same-owner'), { command: 'extract', operands: [], sameOwner: true })
  t.same(asked('verify --max-size 5'), { command: 'verify', operands: [], maxSize: 5 })
})

t.test('help and the version can be asked for anywhere', async t => {
  for (const line of ['--help', '-h', 'help', '--help --frob'])
    t.same(asked(line), { command: 'help', operands: [] }, line)
  for (const line of [
    'create --help',
    '-c --help',
    'help create',
    'create -h tree',
    '--help create',
    'cf a --help',
  ])
    t.match(asked(line), { command: 'help', operands: ['create'] }, line)
  t.same(asked('help c'), { command: 'help', operands: ['c'] })
  for (const line of ['--version', '--version -v', 'create --version']) t.equal(parse(line), 'version', line)
})

t.test('what is misused is named, with what would be right', async t => {
  const misuses: Record<string, string> = {
    '': 'no command, expected one',
    '-f a': 'no command, expected one',
    '--json': 'no command, expected one',
    frob: "unknown command 'frob'",
    'frob --help': "unknown command 'frob'",
    'crate tree': "unknown command 'crate', did you mean 'create'?",
    verfiy: "unknown command 'verfiy', did you mean 'verify'?",
    lst: "unknown command 'lst', did you mean 'list'?",
    'help crate': "unknown command 'crate', did you mean 'create'?",
    '--frob': "unknown option '--frob'",
    'create --frob tree': "unknown option '--frob'",
    'create --exlude=x tree': "unknown option '--exlude', did you mean '--exclude'?",
    'extract --overwite': "unknown option '--overwite', did you mean '--overwrite'?",
    '--lits': "unknown option '--lits'",
    'create -q tree': "unknown option '-q'",
    'create --__proto__ tree': "unknown option '--__proto__'",
    'create --constructor=x tree': "unknown option '--constructor'",
    'list --reflink auto': "'--reflink' is an option of extract, not of list",
    '-tf a -C tree': "'-C' is an option of create, extract, sharing, not of list",
    'list tree': "'tree' is one word too many: list takes no names",
    'extract -f a tree': "'tree' is one word too many: extract takes no names",
    'help create list': "'list' is one word too many: help takes one",
    create: 'no PATH, expected at least one',
    'create -f': "'-f' needs a value: FILE",
    cvf: "'-f' needs a value: FILE",
    'create --json=x tree': "'--json' takes no value, found 'x'",
    'create -C tree -C tree a': "'-C' is given twice: all paths begin at one directory",
    'extract --reflink some': "'--reflink' is 'some', expected one of auto, exact, always, never",
    'create --block-size 4k tree': "'--block-size' is '4k', expected a whole number",
    'create --block-size -1 tree': "'--block-size' is '-1', expected a whole number",
    'extract --max-size 9007199254740993': "'--max-size' is '9007199254740993', expected a whole number",
    'extract --overwrite --keep-existing': "'--overwrite' and '--keep-existing' exclude each other",
    'extract --keep-existing --overwrite': "'--overwrite' and '--keep-existing' exclude each other",
    '-xcf a': "'-x' and '-c' are two commands, expected one",
    '--create -t': "'--create' and '-t' are two commands, expected one",
    'create -x': "'create' and '-x' are two commands, expected one",
  }
  for (const [line, message] of Object.entries(misuses)) t.equal(refusal(line), message, line)
})

t.test('options of tar that are none here are named, with what to do instead', async t => {
  const hints: Record<string, readonly [option: string, hint: RegExp]> = {
    '-czf a tree': ['-z', /compress in a pipe, as in 'reftar create DIR \| zstd > FILE'/],
    '-xJf a': ['-J', /compress in a pipe/],
    'czf a tree': ['-z', /compress in a pipe/],
    '-c --zstd -f a tree': ['--zstd', /compress in a pipe/],
    'create --use-compress-program=zstd tree': ['--use-compress-program', /compress in a pipe/],
    '-cSf a tree': ['-S', /holes are always kept/],
    '-chf a tree': ['-h', /symbolic links are stored as links/],
    'chf a tree': ['-h', /symbolic links are stored as links/],
    '-c --xattrs tree': ['--xattrs', /always stored and restored/],
    '-xkf a': ['-k', /nothing that exists is replaced/],
    '-x --skip-old-files -f a': ['--skip-old-files', /--keep-existing/],
    '-x --strip-components=1 -f a': ['--strip-components', /names are restored as they are stored/],
    '-df a': ['-d', /reftar verify --against/],
    '-rf a tree': ['-r', /never changed/],
  }
  for (const [line, [option, hint]] of Object.entries(hints)) {
    const message = refusal(line)
    t.ok(message.startsWith(`unknown option '${option}': `), message)
    t.match(message, hint, line)
  }
})

t.test('an option has one letter, and a letter one option or command', async t => {
  const letters = [...Object.values(OPTIONS), ...COMMANDS].flatMap(of =>
    'letter' in of ? (of.letter ?? []) : [],
  )
  t.ok(letters.length > 5)
  t.same(letters, [...new Set(letters)])
})

t.test('every option is one of some command', async t => {
  const taken = new Set(COMMANDS.flatMap(({ options }) => options))
  t.same(
    Object.keys(OPTIONS).filter(name => !taken.has(name as keyof typeof OPTIONS)),
    [],
  )
})

t.test('the examples of help can be typed', async t => {
  for (const { name, examples } of COMMANDS) {
    for (const { command } of examples) {
      const lines = command.match(/reftar [^|>]+/g) ?? []
      t.ok(lines.length > 0, command)
      for (const line of lines) {
        const words = line.replaceAll(/['"]/g, '').trim().split(/ +/).slice(1)
        t.doesNotThrow(() => parseCommandLine(words), line)
      }
      t.ok(
        lines.some(line => line.startsWith(`reftar ${name}`)),
        `of ${name}: ${command}`,
      )
    }
  }
})
