/**
 * Raw bytes as text, a character for each: a name as a key, and many names in little memory. A copy of the bytes, because
 * asking a short array for its buffer gives it one, of ten times its size, for good.
 */
export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

/** The raw bytes again. */
export function latin1Bytes(text: string): Uint8Array {
  return Buffer.from(text, 'latin1')
}
