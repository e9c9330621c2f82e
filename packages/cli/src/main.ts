#!/usr/bin/env node
import { endWithParent } from '@espalier/train';
import { runCommand } from './program.ts';

endWithParent();
const stopping = new AbortController();

/** The first Ctrl-C ends the work after the current step, with a checkpoint; the second ends the process at once. */
function interrupt(): void {
  if (stopping.signal.aborted) process.exit(130);
  stopping.abort();
  process.stderr.write('\nespalier: stopping after this step; once more to stop at once\n');
}
process.on('SIGINT', interrupt);
process.on('SIGTERM', interrupt);
// Whoever reads may have read enough: `espalier inspect | head`.
process.stdout.on('error', (e: Error & { code?: string }) => {
  if (e.code !== 'EPIPE') throw e;
  process.exit(0);
});

process.exitCode = await runCommand(process.argv.slice(2), {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  bar: process.stderr.isTTY ? process.stderr : undefined,
  signal: stopping.signal,
});
