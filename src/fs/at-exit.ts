/** What must not outlast this process, and how it goes. */
const undos = new Set<() => void>()

/**
 * Undoes something when the process ends before it was told to forget it. After an error that nobody catches, and after
 * `process.exit()`, nothing is waited for.
 *
 * @param undo - has no time to wait for anything either
 * @returns what makes it forget
 */
export function atExit(undo: () => void): () => void {
  if (undos.size === 0) process.on('exit', undoAll)
  undos.add(undo)
  return () => {
    undos.delete(undo)
    if (undos.size === 0) process.off('exit', undoAll)
  }
}

function undoAll(): void {
  for (const undo of undos) undo()
}
