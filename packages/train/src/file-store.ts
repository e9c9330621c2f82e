import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Store } from '@espalier/core';

/** A directory of files. Made at the first write; a file is either as it was or whole, whenever the process ends. */
export const fileStore = (directory: string): Store => ({
  read: (name) => readIfThere(join(directory, name)),
  write: (name, bytes) => writeWhole(join(directory, name), bytes),
});

/** Writes to another name in the same folder, forces it to disk, renames. The folder is made when it is missing. */
export const writeWhole = (path: string, bytes: Uint8Array): Promise<void> => writeWholeBy(path, (write) => write(bytes));

/** `writeWhole` of bytes that come piece by piece. When `fill` throws, nothing is left behind. */
export async function writeWholeBy(path: string, fill: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>): Promise<void> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true });
  const temporary = join(directory, `.tmp-${process.pid}-${basename(path)}`);
  try {
    const file = await open(temporary, 'w');
    try {
      await fill((bytes) => file.writeFile(bytes));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (e) {
    await rm(temporary, { force: true });
    throw e;
  }
  await syncDirectory(directory);
}

/** Forces a folder's names to disk, where the system can. */
export async function syncDirectory(directory: string): Promise<void> {
  try {
    const handle = await open(directory, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (e) {
    // Windows cannot open folders; its renames are journalled.
    if (!isCode(e, 'EPERM', 'EISDIR', 'EACCES', 'EINVAL')) throw e;
  }
}

/** A file's bytes, or undefined when there is no such file. */
export async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (e) {
    if (isCode(e, 'ENOENT', 'ENOTDIR')) return undefined;
    throw e;
  }
}

/** Whether an error is a system's of one of these codes. */
export const isCode = (e: unknown, ...codes: readonly string[]): boolean => e instanceof Error && 'code' in e && codes.some((code) => code === e.code);
