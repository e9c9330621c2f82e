/** Where a command prints and what may stop it. */
export interface Console {
  out(text: string): void; // results; with --json nothing else
  err(text: string): void; // messages and progress
  readonly bar: NodeJS.WriteStream | undefined; // the terminal that a progress bar may be drawn on
  readonly signal: AbortSignal; // Ctrl-C
}

/** Prints one JSON object on one line. */
export const printJson = (to: Console, value: object): void => to.out(`${JSON.stringify(value)}\n`);

/** What a download tells, and what stops it. */
export const downloads = (to: Console) => ({ note: (text: string) => to.err(`${text}\n`), signal: to.signal });
