// A process that creates and extracts when it is told to, so that strace can be attached in between.
import { createReadStream, createWriteStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { create } from '../../src/create.js'
import { ReftarError } from '../../src/errors.js'
import type { ReftarEvent } from '../../src/event.js'
import { extract } from '../../src/extract.js'
import type { FaultCommand, FaultResult } from './fault-process.js'

function closing(stream: NodeJS.EventEmitter): Promise<unknown> {
  return new Promise(resolve => stream.once('close', resolve))
}

async function perform({ operation, source, archive, target }: FaultCommand): Promise<FaultResult> {
  const told: string[] = []
  const onEvent = (event: ReftarEvent) => {
    if (event.type === 'problem' || event.type === 'note') told.push(event.message)
  }
  const streams =
    operation === 'create'
      ? ([create(['.'], { directory: source, onEvent }), createWriteStream(archive)] as const)
      : ([createReadStream(archive), extract(target, { onEvent })] as const)
  const closed = streams.map(stream => closing(stream as NodeJS.EventEmitter))
  const error = await pipeline(streams as never).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  await Promise.all(closed)
  if (error === undefined) return { ok: true, told }
  const { message } = error as Error
  return { ok: false, told, message, isNamed: error instanceof ReftarError || 'errno' in (error as object) }
}

console.log('{}')
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await perform(JSON.parse(line) as FaultCommand)))
}
