import { latin1Bytes } from '../format/latin1.js'
import { AT_REMOVEDIR, readDirectory, unlinkat } from '../sys/directory.js'
import { changeModeAt } from '../sys/file.js'
import { S_IFDIR, statAt, typeOf } from '../sys/status.js'
import type { Directory, DirectoryTree } from './directory-tree.js'

const OWNER_CAN_CHANGE = 0o700

/**
 * Removes a directory that this run made in `parent`, and all that is in it, without following any link.
 *
 * @throws SYSTEM_CALL
 */
export function removeTree(tree: DirectoryTree, parent: Directory, root: Directory): void {
  const stack = [{ parent, directory: root, names: readDirectory(tree.fd(root)) }]
  for (let frame = stack.at(-1); frame; frame = stack.at(-1)) {
    const text = frame.names.pop()
    const { parent, directory } = frame
    if (text !== undefined) {
      const name = latin1Bytes(text)
      const fd = tree.fd(directory)
      const status = statAt(fd, name)
      if (typeOf(status) === S_IFDIR) {
        if ((status.mode & OWNER_CAN_CHANGE) !== OWNER_CAN_CHANGE) changeModeAt(fd, name, OWNER_CAN_CHANGE)
        const child = tree.child(directory, name)
        stack.push({ parent: directory, directory: child, names: readDirectory(tree.fd(child)) })
      } else {
        unlinkat(fd, name)
      }
      continue
    }
    stack.pop()
    tree.leave(directory)
    unlinkat(tree.fd(parent), directory.name, AT_REMOVEDIR)
  }
}
