import { mkdir, open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { EspalierError } from '@espalier/core';
import { z } from 'zod';
import { isCode } from './file-store.ts';

const FILE = '.running';
const Holder = z.object({ host: z.string(), pid: z.int().positive() });
/** A holder on another machine that has not been heard of for so long (seconds) is gone. */
const SILENCE = 60;

/**
 * Holds a directory for this process, so that no other works in it at the same time: a job may be given to a second worker
 * while the first has only lost its connection. A holder that is gone, killed with this machine's processes or silent for a
 * minute on another, is replaced. Gives what lets go of it. @throws EspalierError while another holds it.
 */
export async function holdDirectory(directory: string): Promise<() => Promise<void>> {
  await mkdir(directory, { recursive: true });
  const file = join(directory, FILE);
  for (let tries = 0; ; tries++) {
    try {
      const handle = await open(file, 'wx');
      await handle.writeFile(JSON.stringify({ host: hostname(), pid: process.pid }));
      await handle.close();
      break;
    } catch (e) {
      if (!isCode(e, 'EEXIST')) throw e;
      const holder = await holderOf(file);
      if (holder !== undefined || tries === 3) throw new EspalierError(`${directory} is being worked on by ${holder ?? 'another process'}. Wait for it to end, or end it.`, { cause: e });
      await rm(file, { force: true });
    }
  }
  const beat = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => {}), (1000 * SILENCE) / 6);
  beat.unref();
  return async () => {
    clearInterval(beat);
    await rm(file, { force: true });
  };
}

/** Who holds a directory, in words; undefined when they are gone. */
async function holderOf(file: string): Promise<string | undefined> {
  let text: string;
  let silent: number;
  try {
    text = await readFile(file, 'utf8');
    silent = (Date.now() - (await stat(file)).mtimeMs) / 1000;
  } catch (e) {
    if (isCode(e, 'ENOENT')) return undefined;
    throw e;
  }
  const parsed = Holder.safeParse(jsonOr(text));
  // Written in two steps: a file that is not whole yet is young.
  if (!parsed.success) return silent < SILENCE ? 'a process that has just begun' : undefined;
  const { host, pid } = parsed.data;
  if (host !== hostname()) return silent < SILENCE ? `process ${pid} on ${host}` : undefined;
  return pid !== process.pid && isAlive(pid) ? `process ${pid} here` : undefined;
}

function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0); // asks, sends nothing
    return true;
  } catch (e) {
    return isCode(e, 'EPERM');
  }
}
