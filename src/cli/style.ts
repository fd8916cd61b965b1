import { WriteStream } from 'node:tty'
import { styleText } from 'node:util'

/** A text as it is, or between the codes that make a terminal show it in a style. */
export type Style = (format: 'bold' | 'red' | 'yellow', text: string) => string

/** As many as the plainest terminal with colours has. */
const COLORS = 16

const PLAIN: Style = (_, text) => text
// Newer versions of node would ask stdout, whichever stream it is for.
const STYLED: Style = (format, text) => styleText(format, text, { validateStream: false })

/** As node does it, but for NO_COLOR, which says nothing when it is empty (https://no-color.org). */
export function styler(stream: NodeJS.WriteStream): Style {
  return hasColors(stream) ? STYLED : PLAIN
}

function hasColors(stream: NodeJS.WriteStream): boolean {
  const { NO_COLOR, FORCE_COLOR, ...others } = process.env
  if (FORCE_COLOR !== undefined) return WriteStream.prototype.hasColors(COLORS, { ...others, FORCE_COLOR })
  return !NO_COLOR && stream.isTTY && stream.hasColors(COLORS, others)
}
