/** Writes a text to stdout, and resolves once it is taken. @throws what writing does where nobody takes it */
export function print(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // Without a listener, the error would end the process, too.
    process.stdout.on('error', reject).write(text, error => (error ? reject(error) : resolve()))
  })
}
