import { Converter, ReflectionKind } from 'typedoc'

/** docs/API.md, from the comments of what src/index.ts exports. */
export default {
  name: 'reftar',
  entryPoints: ['src/index.ts'],
  // In the order of what the compiler sees it writes some types: that is to be nothing else.
  tsconfig: 'tsconfig.docs.json',
  plugin: ['typedoc-plugin-markdown', tellMembers],
  out: 'docs',
  cleanOutputDir: false,
  outputFileStrategy: 'modules',
  entryFileName: 'API',
  readme: 'none',
  githubPages: false,
  // Neither line numbers nor commits: it changes only where a comment or a type does.
  disableSources: true,
  disableGit: true,
  excludeExternals: true,
  excludePrivate: true,
  groupOrder: ['Functions', 'Classes', 'Interfaces', 'Type Aliases'],
  sort: ['alphabetical'],
  hideBreadcrumbs: true,
  hidePageHeader: true,
  useCodeBlocks: true,
  useHTMLAnchors: true,
  parametersFormat: 'table',
  interfacePropertiesFormat: 'table',
  classPropertiesFormat: 'table',
  propertyMembersFormat: 'table',
  typeAliasPropertiesFormat: 'table',
  typeDeclarationFormat: 'table',
  tableColumnSettings: {
    hideInherited: true,
    hideOverrides: true,
    hideSources: true,
    hideModifiers: true,
    leftAlignHeaders: true,
  },
  treatWarningsAsErrors: true,
  validation: { invalidLink: true, notExported: true, notDocumented: true, rewrittenLink: true },
  intentionallyNotExported: ['SpaceMemory'],
  requiredToBeDocumented: ['Class', 'Function', 'Interface', 'TypeAlias', 'Variable', 'Method', 'Accessor'],
}

/** What is said of each string of a type goes below the type: the plugin leaves it out. */
function tellMembers(app) {
  app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    for (const { type, comment } of project.getReflectionsByKind(ReflectionKind.TypeAlias)) {
      if (type?.type !== 'union' || !type.types.every(member => member.type === 'literal')) continue
      for (const [i, parts] of (type.elementSummaries ?? []).entries()) {
        const text = `\n- \`${type.types[i].value}\`${parts.length > 0 ? ': ' : ''}`
        comment?.summary.push({ kind: 'text', text: i === 0 ? `\n${text}` : text }, ...parts)
      }
    }
  })
}
