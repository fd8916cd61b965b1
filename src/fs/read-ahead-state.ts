import type { MessagePort } from 'node:worker_threads'

/** What a walk gives to the thread that goes ahead of it. */
export interface ReadAheadData {
  /** Takes batches of files. */
  readonly port: MessagePort
  /** Numbers that both threads see, at the places below. */
  readonly state: Int32Array<ArrayBufferLike>
  /** Where it begins: an open directory, which stays the walk's. */
  readonly root: number
}

/** The place of the file that the walk came by last, among all of them. */
export const VISITED = 0
/** How many batches were sent, and how many are done with. */
export const SENT = 1
export const TAKEN = 2
/** Not zero when nothing is wanted any more. */
export const IS_OVER = 3
export const STATES = 4
