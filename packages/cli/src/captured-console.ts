import type { Console } from './console.ts';

/** A console that keeps what is printed, for programs that run commands inside themselves. */
export interface CapturedConsole extends Console {
  readonly printed: { out: string; err: string };
  /** The objects that `--json` printed. */
  objects(): unknown[];
}

/** Aborting the signal is Ctrl-C. */
export function capturedConsole(signal: AbortSignal = new AbortController().signal): CapturedConsole {
  const printed = { out: '', err: '' };
  return {
    printed, signal, bar: undefined,
    out: (text) => void (printed.out += text),
    err: (text) => void (printed.err += text),
    objects: () => printed.out.split('\n').filter(Boolean).map((line): unknown => JSON.parse(line)),
  };
}
