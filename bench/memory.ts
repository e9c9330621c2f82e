import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { z } from 'zod';

/** The largest resident memory of this process in bytes. Linux hands `maxRSS` on from the process that started it, VmHWM not. */
export async function peakMemory(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  const kilobytes = /VmHWM:\s+(\d+) kB/.exec(status)?.[1];
  return 1024 * (kilobytes === undefined ? process.resourceUsage().maxRSS : Number(kilobytes));
}

/** Runs this program with other arguments in a process of its own, garbage collection at hand, and reads the last line it prints. */
export function inProcessOfItsOwn<T>(args: readonly string[], schema: z.ZodType<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--expose-gc', process.argv[1]!, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    let printed = '';
    child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(schema.parse(JSON.parse(printed.trim().split('\n').at(-1) ?? ''))) : reject(new Error(`'${args.join(' ')}' ended with ${code}`))));
  });
}
