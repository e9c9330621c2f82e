import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { EspalierError } from '@espalier/core';
import { z } from 'zod';

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const Line = z.looseObject({ type: z.string() });
/** One line of `--json` output. */
export type JsonLine = z.infer<typeof Line>;

/**
 * Runs one `espalier` command in a process of its own, with `--json`, and hands on what it prints, line by line; the last
 * line is the result. Aborting the signal is Ctrl-C: the command saves and exits.
 * @throws EspalierError with the command's own message when it fails.
 */
export async function spawnEspalier(args: readonly string[], onLine: (line: JsonLine) => void = () => {}, signal?: AbortSignal): Promise<JsonLine> {
  const child = spawn(process.execPath, [main, ...args, '--json'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const interrupt = () => child.kill('SIGINT');
  signal?.addEventListener('abort', interrupt);
  const complaints: string[] = [];
  child.stderr.on('data', (chunk: Buffer) => complaints.push(chunk.toString()));
  const ended = new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve));
  let last: JsonLine | undefined;
  try {
    for await (const text of createInterface({ input: child.stdout })) {
      last = Line.parse(JSON.parse(text));
      onLine(last);
    }
    const code = await ended;
    if (code !== 0 || !last) throw new EspalierError(`espalier ${args.join(' ')} ended with code ${code}: ${complaints.join('').trim()}`);
    return last;
  } finally {
    signal?.removeEventListener('abort', interrupt);
    if (child.exitCode === null) child.kill();
  }
}
