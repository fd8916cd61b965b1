import { WriteStream } from 'node:tty'
import { styleText } from 'node:util'

/** A text as it is, or between the codes that make a terminal show it in a style. */
export type Style = (format: 'bold' | 'red', text: string) => string

const PLAIN: Style = (_, text) => text
// Newer versions of node would ask stdout, whichever stream it is for.
const STYLED: Style = (format, text) => styleText(format, text, { validateStream: false })

/** As node does it: NO_COLOR, FORCE_COLOR and TERM count, and a stream that is no terminal has no colours. */
export function styler(stream: NodeJS.WriteStream): Style {
  const { FORCE_COLOR } = process.env
  const hasColors =
    FORCE_COLOR === undefined ? stream.isTTY && stream.hasColors() : WriteStream.prototype.hasColors()
  return hasColors ? STYLED : PLAIN
}
