// Imports run downward only, and each package has one door.
import * as fs from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

const SOURCE = fileURLToPath(new URL('../src', import.meta.url))

interface Import {
  /** A file of src, or a package. */
  readonly to: string
  readonly isType: boolean
  readonly isReexport: boolean
}

/** What a file of src names in import, export from, import(), require() and their kind. */
function importsOf(file: string): Import[] {
  const text = fs.readFileSync(join(SOURCE, file), 'utf8')
  const parsed = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  const found: Import[] = []
  const add = (specifier: string, isType: boolean, isReexport: boolean) => {
    const isOurs = specifier.startsWith('.')
    const to = isOurs
      ? relative(SOURCE, join(SOURCE, dirname(file), specifier)).replace(/\.js$/, '.ts')
      : specifier
    found.push({ to, isType, isReexport })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const clause = node.importClause
      const named =
        clause?.namedBindings && ts.isNamedImports(clause.namedBindings) ? clause.namedBindings : undefined
      const isEachType = !clause?.name && named?.elements.every(element => element.isTypeOnly) === true
      add(node.moduleSpecifier.text, clause?.isTypeOnly === true || isEachType, false)
    } else if (
      ts.isExportDeclaration(node) &&
      node.moduleSpecifier &&
      ts.isStringLiteral(node.moduleSpecifier)
    ) {
      add(node.moduleSpecifier.text, node.isTypeOnly, true)
    } else if (ts.isCallExpression(node)) {
      // import(), require(), createRequire(...)(): whatever is called with the name of a package or a file.
      const [first] = node.arguments
      if (
        first &&
        ts.isStringLiteral(first) &&
        (isLoader(node.expression) || PACKAGES.includes(first.text))
      ) {
        add(first.text, false, false)
      }
    }
    ts.forEachChild(node, visit)
  }
  visit(parsed)
  return found
}

function isLoader(called: ts.Expression): boolean {
  return called.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(called) && called.text === 'require')
}

const { dependencies } = JSON.parse(fs.readFileSync(join(SOURCE, '../package.json'), 'utf8')) as {
  dependencies: Record<string, string>
}
const PACKAGES = Object.keys(dependencies)
/** They become a part of what is built. */
const BUNDLED = ['ignore', 'leven', 'picomatch']

const files = fs
  .readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts'))
const imports = new Map(files.map(file => [file, importsOf(file)]))

/** What is imported, as `file -> module`, by the files and of the modules asked for. */
function edges(from: (file: string) => boolean, to: (imported: Import) => boolean): string[] {
  return [...imports].flatMap(([file, all]) =>
    from(file) ? all.filter(to).map(imported => `${file} -> ${imported.to}`) : [],
  )
}

/** The parts of src, and what each may import besides itself. Whatever else stands on top of all. */
const BELOW: Record<string, readonly string[]> = {
  'errors.ts': [],
  'record.ts': [],
  'event.ts': ['errors.ts'],
  'steps.ts': [],
  format: ['errors.ts', 'record.ts'],
  sys: ['errors.ts', 'record.ts'],
  crc: ['format', 'sys'],
  dedup: ['errors.ts', 'record.ts', 'steps.ts', 'format'],
  fs: ['errors.ts', 'record.ts', 'event.ts', 'steps.ts', 'format', 'sys'],
  source: ['errors.ts', 'record.ts', 'event.ts', 'format', 'sys'],
  stream: ['errors.ts', 'record.ts', 'event.ts', 'steps.ts', 'format', 'crc', 'dedup', 'fs', 'source'],
  'create.ts': ['errors.ts', 'record.ts', 'event.ts', 'format', 'stream'],
  'extract.ts': ['record.ts', 'event.ts', 'format', 'stream'],
  'forecast.ts': ['errors.ts', 'event.ts', 'format', 'crc', 'fs', 'stream'],
  'list.ts': ['record.ts', 'event.ts', 'format', 'stream'],
  'duplicates.ts': ['record.ts', 'format', 'stream'],
  'sharing-report.ts': ['duplicates.ts', 'fs'],
  'sharing.ts': ['errors.ts', 'event.ts', 'fs', 'stream', 'duplicates.ts', 'sharing-report.ts'],
  'verify.ts': ['record.ts', 'event.ts', 'format', 'stream'],
  selftest: [
    'errors.ts',
    'event.ts',
    'format',
    'sys',
    'fs',
    'stream',
    'create.ts',
    'extract.ts',
    'verify.ts',
  ],
  'selftest.ts': ['errors.ts', 'event.ts', 'format', 'sys', 'selftest'],
}
/** What files of src/fs and src/stream may have from elsewhere is bound more closely. */
const HELPERS_OF_FORMAT = [
  'bytes',
  'latin1',
  'path',
  'pages',
  'number-table',
  'places',
  'data-space',
  'inode-flags',
  'xattrs',
].map(name => `format/${name}.ts`)

const partOf = (file: string): string => file.split('/')[0] ?? file

t.test('every import runs downward', async t => {
  t.ok(files.length > 30, 'the files are found')
  for (const [part, allowed] of Object.entries(BELOW)) {
    const wrong = edges(
      file => partOf(file) === part,
      ({ to }) => files.includes(to) && partOf(to) !== part && !allowed.includes(partOf(to)),
    )
    t.same(wrong, [], part)
  }
  const parts = new Set(files.map(partOf))
  t.same(
    [...parts].filter(part => !Object.hasOwn(BELOW, part)).sort(),
    ['cli', 'cli.ts', 'index.ts'],
    'no other part',
  )
  t.same(
    edges(
      file => partOf(file) === 'fs',
      ({ to }) => partOf(to) === 'format' && !HELPERS_OF_FORMAT.includes(to),
    ),
    [],
    'of the format, src/fs takes the helpers only',
  )
})

t.test('every file that is imported is there', async t => {
  t.same(
    edges(
      () => true,
      ({ to }) => to.endsWith('.ts') && !files.includes(to),
    ),
    [],
  )
})

t.test('no file imports itself by way of others', async t => {
  const done = new Set<string>()
  const cycles: string[] = []
  const walk = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) {
      cycles.push([...way.slice(way.indexOf(file)), file].join(' -> '))
      return
    }
    if (done.has(file)) return
    // A type is gone when the program runs, and yet a cycle of types is a knot to those who read.
    for (const { to } of imports.get(file) ?? []) if (files.includes(to)) walk(to, [...way, file])
    done.add(file)
  }
  for (const file of files) walk(file, [])
  t.same(cycles, [])
})

t.test('each package has one door', async t => {
  const importers = (name: string) =>
    edges(
      () => true,
      ({ to }) => to === name || to.startsWith(`${name}/`),
    ).map(edge => edge.split(' -> ')[0] ?? edge)
  t.same([...new Set(importers('koffi'))], ['sys/koffi.ts'], 'koffi')
  t.same([...new Set(importers('hash-wasm').map(partOf))], ['crc'], 'hash-wasm')
  t.same(importers('streamx'), ['stream/stage.ts', 'stream/watch.ts'], 'streamx')
  t.same([...new Set(importers('leven').map(partOf))], ['cli'], 'leven')
  for (const name of BUNDLED) t.equal(new Set(importers(name)).size, 1, name)
  const others = edges(
    () => true,
    ({ to }) => !files.includes(to) && !to.startsWith('node:') && !to.startsWith('.') && !isKnown(to),
  )
  t.same(others, [], 'no other package, and the modules of node by their full names')
})

function isKnown(specifier: string): boolean {
  return [...PACKAGES, ...BUNDLED].some(name => specifier === name || specifier.startsWith(`${name}/`))
}

t.test('koffi is loaded by the first call, not by an import', async t => {
  t.same(
    edges(
      () => true,
      ({ to, isType }) => to === 'koffi' && !isType,
    ).length,
    1,
    'one place loads it',
  )
  const text = fs.readFileSync(join(SOURCE, 'sys/koffi.ts'), 'utf8')
  t.match(text, /import type .* from 'koffi'/)
})

t.test('the format is pure: no files, no streams, no system calls', async t => {
  const impure = edges(
    file => ['format', 'record.ts', 'errors.ts', 'event.ts'].includes(partOf(file)),
    ({ to }) => !files.includes(to),
  )
  t.same(impure, [])
})

t.test('records and errors stand on nothing', async t => {
  t.same(
    edges(
      file => ['record.ts', 'errors.ts'].includes(file),
      ({ isType }) => !isType,
    ),
    [],
  )
})

t.test('index.ts only exports again', async t => {
  const parsed = ts.createSourceFile(
    'index.ts',
    fs.readFileSync(join(SOURCE, 'index.ts'), 'utf8'),
    ts.ScriptTarget.Latest,
  )
  t.ok(parsed.statements.every(statement => ts.isExportDeclaration(statement) && statement.moduleSpecifier))
  t.ok(
    parsed.statements.every(
      statement =>
        ts.isExportDeclaration(statement) &&
        statement.exportClause &&
        ts.isNamedExports(statement.exportClause),
    ),
    'by name',
  )
})

t.test('the command line stands on what everyone can have', async t => {
  const inside = edges(
    file => partOf(file) === 'cli' || file === 'cli.ts',
    ({ to, isType }) => !isType && ['fs', 'format', 'crc'].includes(partOf(to)),
  )
  t.same(inside, [])
})
