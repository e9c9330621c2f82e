import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fileStore, writeWhole } from './file-store.ts';

const made = { directory: '' };
beforeAll(async () => {
  made.directory = await mkdtemp(join(tmpdir(), 'espalier-store-'));
});
afterAll(() => rm(made.directory, { recursive: true }));

it('writes and reads files, and makes the folder', async () => {
  const store = fileStore(join(made.directory, 'a', 'b'));
  expect(await store.read('x.bin')).toBeUndefined();
  await store.write('x.bin', Uint8Array.of(1, 2, 3));
  expect(await store.read('x.bin')).toEqual(Uint8Array.of(1, 2, 3));
  await store.write('x.bin', Uint8Array.of(4));
  expect(await store.read('x.bin')).toEqual(Uint8Array.of(4));
  expect(await readdir(join(made.directory, 'a', 'b'))).toEqual(['x.bin']);
});

it('puts a new file in the place of the old one instead of writing into it', async () => {
  const path = join(made.directory, 'whole.txt');
  await writeFile(path, 'before');
  const before = await stat(path);
  await writeWhole(path, new TextEncoder().encode('after'));
  expect((await stat(path)).ino).not.toBe(before.ino);
  expect(await readFile(path, 'utf8')).toBe('after');
});

it('leaves no temporary file behind when it cannot write', async () => {
  const own = join(made.directory, 'c');
  await fileStore(join(own, 'taken')).write('file', Uint8Array.of(1));
  await expect(writeWhole(join(own, 'taken'), Uint8Array.of(2))).rejects.toThrow(); // a folder has that name
  expect(await readdir(own)).toEqual(['taken']);
});
