import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointError } from '@espalier/core';
import { afterAll, expect, it } from 'vitest';
import { fileSource } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-source-'));
const path = join(folder, 'x.bin');
afterAll(() => rmSync(folder, { recursive: true }));

it('reads any bytes of a file, in any order', async () => {
  writeFileSync(path, Uint8Array.from({ length: 1000 }, (_, i) => i % 256));
  const source = await fileSource(path);
  expect(source).toMatchObject({ name: path, size: 1000 });
  const target = new Uint8Array(4);
  await source.read(996, target);
  expect([...target]).toEqual([228, 229, 230, 231]);
  await source.read(0, target.subarray(1, 3));
  expect([...target]).toEqual([228, 0, 1, 231]);
  await source.read(1000, new Uint8Array(0));
  const all = [new Uint8Array(500), new Uint8Array(500)] as const;
  await Promise.all([source.read(500, all[1]), source.read(0, all[0])]);
  expect([all[0][499], all[1][0]]).toEqual([499 % 256, 500 % 256]);
  await source.close();
});

it('refuses bytes that the file has not, or no longer', async () => {
  writeFileSync(path, new Uint8Array(10));
  const source = await fileSource(path);
  await expect(source.read(8, new Uint8Array(4))).rejects.toThrow(CheckpointError);
  await expect(source.read(8, new Uint8Array(4))).rejects.toThrow(`${path}: bytes 8 to 12 were asked for, the file has 10`);
  await expect(source.read(-1, new Uint8Array(1))).rejects.toThrow(CheckpointError);
  truncateSync(path, 5);
  await expect(source.read(4, new Uint8Array(4))).rejects.toThrow(/it ended at byte 5 and had 10 when it was opened/);
  await source.close();
});

it('refuses what is no file', async () => {
  await expect(fileSource(folder)).rejects.toThrow(CheckpointError);
  await expect(fileSource(join(folder, 'absent'))).rejects.toThrow(/ENOENT.*absent/);
});
