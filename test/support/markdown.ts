// What a document of this project has that can be tried: its blocks of code, and its links.
import MarkdownIt from 'markdown-it'

export interface CodeBlock {
  /** The heading that it stands below. */
  readonly section: string
  /** What is written behind a fence; empty for an indented block. */
  readonly language: string
  readonly text: string
  /** Of its first line, for people. */
  readonly line: number
}

const markdown = new MarkdownIt()

/** In their order. */
export function codeBlocks(document: string): CodeBlock[] {
  const tokens = markdown.parse(document, {})
  let section = ''
  return tokens.flatMap(({ type, content, info, map }, i) => {
    if (type === 'heading_open') section = tokens[i + 1]?.content ?? ''
    if (type !== 'fence' && type !== 'code_block') return []
    const [first = 0] = map ?? []
    return [{ section, language: info.trim(), text: content, line: type === 'fence' ? first + 2 : first + 1 }]
  })
}

/** Where its links and pictures lead. */
export function links(document: string): string[] {
  const inline = markdown.parse(document, {}).flatMap(({ children }) => children ?? [])
  return inline.flatMap(token => {
    const target = token.attrGet('href') ?? token.attrGet('src')
    return target === null ? [] : [target]
  })
}

/** The names of its headings in links, as GitHub makes them. */
export function anchors(document: string): Set<string> {
  const tokens = markdown.parse(document, {})
  const seen = new Map<string, number>()
  const names = tokens.flatMap(({ type }, i) => {
    if (type !== 'heading_open') return []
    const name = (tokens[i + 1]?.content ?? '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-')
    const before = seen.get(name) ?? 0
    seen.set(name, before + 1)
    return [before === 0 ? name : `${name}-${before}`]
  })
  const ids = Array.from(document.matchAll(/<a id="([^"]+)">/g), ([, id = '']) => id)
  return new Set([...names, ...ids])
}
