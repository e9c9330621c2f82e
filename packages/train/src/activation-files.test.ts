import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OptionsError } from '@espalier/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { activationFiles } from './activation-files.ts';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'activations-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const key = (n: number) => `${n.toString(16).padStart(2, '0')}${'ab'.repeat(31)}`;
const values = Float32Array.of(3, -0, NaN, 1e-40);

describe('activations in files', () => {
  it('outlive the store, bit for bit', async () => {
    const at = join(directory, 'kept');
    expect(await activationFiles(at).set(key(1), values)).toBe(true);
    const again = activationFiles(at);
    expect(await again.get(key(1))).toEqual(values);
    expect(await again.get(key(2))).toBeUndefined();
    expect(again.persistent).toBe(true);
  });

  it('that are damaged are removed and can be made again', async () => {
    const at = join(directory, 'damaged');
    const store = activationFiles(at);
    const path = join(at, '07', key(7));
    for (const damage of [(b: Buffer) => b.subarray(0, b.length - 1), (b: Buffer) => (b.writeUInt8(b.readUInt8(20) ^ 1, 20), b), (b: Buffer) => (b.writeUInt8(0, 0), b), () => Buffer.alloc(0)]) {
      await store.set(key(7), values);
      await writeFile(path, damage(await readFile(path)));
      expect(await store.get(key(7))).toBeUndefined();
      expect(await readdir(join(at, '07'))).toEqual([]);
    }
    expect(store.dropped).toBe(4);
    await store.set(key(7), values);
    expect(await store.get(key(7))).toEqual(values);
  });

  it('take no more room than they are given, files of before included', async () => {
    const at = join(directory, 'bounded');
    const store = activationFiles(at, { bytes: 60 }); // of two files
    expect([await store.set(key(1), values), await store.set(key(2), values), await store.set(key(3), values)]).toEqual([true, true, false]);
    expect(await activationFiles(at, { bytes: 60 }).set(key(3), values)).toBe(false);
    expect(await store.get(key(1))).toEqual(values);
  });

  it('need a folder', async () => {
    const path = join(directory, 'a-file');
    await writeFile(path, 'x');
    expect(() => activationFiles(path)).toThrow(OptionsError);
    expect(() => activationFiles(path)).toThrow(`activationFiles: '${path}' cannot be made a folder`);
  });
});
