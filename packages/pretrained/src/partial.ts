import { createHash } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { EspalierError } from '@espalier/core';
import { statIfThere } from './directory.ts';
import { codeOf, reasonOf } from './errors.ts';

/** A file in the making, this process's own. It ends by `publish`, `discard` or `release`; after one of them the others do nothing. */
export interface Partial {
  readonly path: string;
  readonly received: number; // bytes it holds
  write(bytes: Uint8Array): Promise<void>;
  /** Forgets what it holds. */
  restart(): Promise<void>;
  /** Makes it the file, on the disk to the last byte. */
  publish(): Promise<void>;
  discard(): Promise<void>;
  /** Leaves it for the next who wants the file. */
  release(): Promise<void>;
}

/*
 * Partial files are `FILE.espalier-OWNER.incomplete`. Nobody writes to a file of another owner: a renaming, which only one
 * of several can win, makes it one's own first. Free for the taking are files that were released, those of processes of
 * this machine that are no more, and those of other machines that have not grown for an hour.
 */
const machine = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
const ABANDONED = 60 * 60 * 1000; // milliseconds
let opened = 0;

/** Begins a file, or goes on with the longest partial one that nobody writes to. */
export async function openPartial(file: string): Promise<Partial> {
  const named = (owner: string) => `${file}.espalier-${owner}.incomplete`;
  const path = named(`${machine}-${process.pid}-${++opened}`);
  await mkdir(dirname(file), { recursive: true });
  const found = await adopt(file, path);
  const handle = await open(path, found === undefined ? 'wx+' : 'r+');
  let received = found ?? 0;
  let ended = false;
  const end = async (finish: () => Promise<void>) => {
    if (ended) return;
    ended = true;
    await finish();
  };
  const onDisk = async (write: () => Promise<unknown>) => {
    try {
      await write();
    } catch (cause) {
      const space = codeOf(cause) === 'ENOSPC' ? ' The disk is full: make space, or give cacheDir another one.' : '';
      throw new EspalierError(`fetchPretrained: ${file} cannot be written after ${received} bytes (${reasonOf(cause)}).${space}`, { cause });
    }
  };
  return {
    path,
    get received() {
      return received;
    },
    write: (bytes) =>
      onDisk(async () => {
        for (let done = 0; done < bytes.length; ) done += (await handle.write(bytes, done, bytes.length - done, received + done)).bytesWritten;
        received += bytes.length;
      }),
    restart: () =>
      onDisk(async () => {
        await handle.truncate(0);
        received = 0;
      }),
    publish: () =>
      end(async () => {
        await onDisk(() => handle.sync());
        await handle.close();
        await rename(path, file);
        for (const { name } of await freeOf(file)) await rm(name, { force: true });
      }),
    discard: () =>
      end(async () => {
        await handle.close();
        await rm(path, { force: true });
      }),
    release: () =>
      end(async () => {
        await handle.close();
        const other = await statIfThere(named('free'));
        if (received > (other?.size ?? 0)) await rename(path, named('free'));
        else await rm(path, { force: true });
      }),
  };
}

/** Makes the longest free partial file one's own and gives its length; undefined when there is none. */
async function adopt(file: string, path: string): Promise<number | undefined> {
  for (const { name } of await freeOf(file)) {
    try {
      await rename(name, path);
      return (await stat(path)).size;
    } catch (e) {
      if (codeOf(e) !== 'ENOENT') throw e; // another was quicker
    }
  }
  return undefined;
}

/** Partial files that nobody writes to, the longest first. */
async function freeOf(file: string): Promise<{ readonly name: string; readonly size: number }[]> {
  const prefix = `${basename(file)}.espalier-`;
  const free = [];
  for (const entry of await readdir(dirname(file))) {
    if (!entry.startsWith(prefix) || !entry.endsWith('.incomplete')) continue;
    const name = join(dirname(file), entry);
    const found = await statIfThere(name);
    if (found && isFree(entry.slice(prefix.length, -'.incomplete'.length), found.mtimeMs)) free.push({ name, size: found.size });
  }
  return free.sort((a, b) => b.size - a.size);
}

function isFree(owner: string, grown: number): boolean {
  if (owner === 'free') return true;
  const [where, pid] = owner.split('-');
  if (where === machine && !isAlive(Number(pid))) return true;
  return where !== machine && Date.now() - grown > ABANDONED;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0); // no signal is sent
    return true;
  } catch (e) {
    return codeOf(e) !== 'ESRCH';
  }
}
