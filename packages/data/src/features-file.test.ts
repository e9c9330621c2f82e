import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readSafetensors, writeSafetensors } from '@espalier/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readFeatures, writeFeatures } from './features-file.ts';
import type { Regions } from './featuriser.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'espalier-features-'));
});
afterAll(() => rm(folder, { recursive: true }));

const regions = (count: number, size: number): Regions => ({
  features: Float32Array.from({ length: count * size }, (_, i) => i + count),
  boxes: Float32Array.from({ length: count * 4 }, (_, i) => i),
  width: 100 + count,
  height: 50,
});

describe('features file', () => {
  it('gives back each image with its own number of regions', async () => {
    const file = path.join(folder, 'a.safetensors');
    await writeFeatures(file, 'detector', [['x', regions(2, 3)], ['y', regions(3, 3)], ['none', regions(0, 3)]]);
    const read = await readFeatures(file, { size: 3, by: 'test' });
    expect([read.images, read.size, read.source]).toEqual([['x', 'y', 'none'], 3, 'detector']);
    expect(read.regions('x')).toEqual(regions(2, 3));
    expect(read.regions('y')).toEqual(regions(3, 3));
    expect(read.regions('none').boxes.length).toBe(0);
    expect(() => read.regions('z')).toThrow("no regions of image 'z'");
  });

  it('is a safetensors file with the documented tensors, and no temporary file stays', async () => {
    const file = path.join(folder, 'b.safetensors');
    await writeFeatures(file, 'detector', [['x', regions(2, 3)]]);
    const { tensors, metadata } = readSafetensors(await readFile(file));
    expect([...tensors].map(([name, { shape, dtype }]) => `${name} ${dtype} ${shape.join('x')}`).sort()).toEqual(['boxes F32 1x2x4', 'counts I32 1', 'features F32 1x2x3', 'sizes F32 1x2']);
    expect(metadata).toEqual({ format: 'espalier-features/1', source: 'detector', images: '["x"]' });
    expect((await readdir(folder)).filter((name) => name.endsWith('.partial'))).toEqual([]);
  });

  it('says which width it has and who wants another', async () => {
    const file = path.join(folder, 'c.safetensors');
    await writeFeatures(file, 'grid', [['x', regions(1, 192)]]);
    await expect(readFeatures(file, { size: 2048, by: 'lxmert base (visual_feat_dim)' })).rejects.toThrow('192 numbers per region, but lxmert base (visual_feat_dim) takes 2048');
    await expect(writeFeatures(path.join(folder, 'd.safetensors'), 'grid', [['x', regions(1, 4)], ['y', regions(1, 5)]])).rejects.toThrow("image 'y' has 5 numbers per region, those before it 4");
    await expect(writeFeatures(path.join(folder, 'd.safetensors'), 'grid', [])).rejects.toThrow('no regions to write');
  });

  it('refuses missing, foreign, cut and non-finite files by name', async () => {
    const at = (name: string) => path.join(folder, name);
    await expect(readFeatures(at('nowhere'))).rejects.toThrow('nowhere cannot be read');
    await writeFile(at('foreign'), writeSafetensors(new Map([['features', { shape: [1], data: new Float32Array(1) }]])));
    await expect(readFeatures(at('foreign'))).rejects.toThrow("'format' is 'missing'");
    await writeFeatures(at('whole'), 'grid', [['x', regions(2, 3)]]);
    const bytes = await readFile(at('whole'));
    await writeFile(at('cut'), bytes.subarray(0, bytes.length - 5));
    await expect(readFeatures(at('cut'))).rejects.toThrow('cut');
    await writeFeatures(at('nan'), 'grid', [['x', { ...regions(1, 2), features: Float32Array.of(1, NaN) }]]);
    await expect(readFeatures(at('nan'))).rejects.toThrow("tensor 'features' holds NaN at place 1");
  });
});
