import { type Duplex, getStreamError, isStreamx, type Readable, type Writable } from 'streamx'
import { ReftarError } from '../errors.js'

/** Under plain `.pipe()` nobody tells the destination that its source died: without this it would wait for ever. */
export function watchSource<T extends Writable | Duplex>(stream: T): T {
  stream.on('pipe', (readable: unknown) => {
    const source = readable as NodeJS.ReadableStream
    const onClose = () => {
      const error = new ReftarError('PREMATURE_CLOSE', 'the source closed before it ended')
      stream.destroy(errorOf(source) ?? error)
    }
    source.once('close', onClose)
    source.once('end', () => source.off('close', onClose))
    stream.on('unpipe', gone => {
      if (gone === source) source.off('close', onClose)
    })
  })
  return stream
}

/**
 * Under plain `.pipe()` streamx destroys a source with its destination, and gives it the error of that. It is the
 * destination that tells it: told once more by the source, where nobody listens, it would be the end of the process.
 */
export function watchDestination<T extends Readable | Duplex>(stream: T): T {
  stream.on('piping', (writable: unknown) => {
    const destination = writable as NodeJS.WritableStream
    const mute = () => void stream.on('error', () => undefined)
    destination.once('close', mute)
    if (isStreamx(writable as Writable)) return
    // Of a stream of node, the listener of streamx and this one would hide an error that nobody else hears.
    destination.prependListener('error', () => {
      destination.off('close', mute)
      if (destination.listenerCount('error') > 2) mute()
    })
  })
  return stream
}

function errorOf(source: NodeJS.ReadableStream): Error | null {
  const { errored } = source as { errored?: Error | null }
  return errored ?? getStreamError(source as unknown as Readable)
}
