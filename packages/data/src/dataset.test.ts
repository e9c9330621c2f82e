import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { answerTypeOf, limit, splitByImage, type VqaRecord } from './dataset.ts';
import { componentRegions } from './component-regions.ts';
import { openData } from './open-data.ts';
import { questionOnlyAccuracy } from './question-only.ts';
import { writeShapes } from './shapes/shapes-files.ts';

const record = (n: number, image: string, question = 'what?', answer = 0): VqaRecord => ({ id: `train/${n}`, image, question, scores: [[answer, 1]], answerType: 'other', questionType: 'other' });

describe('limit', () => {
  const all = Array.from({ length: 100 }, (_, i) => i);
  it('takes a seeded sample in order, a smaller one within a larger', () => {
    expect(limit(all, 10, 1)).toEqual(limit(all, 10, 1));
    expect(limit(all, 10, 1)).not.toEqual(limit(all, 10, 2));
    expect(limit(all, 10, 1)).toEqual([...limit(all, 10, 1)].sort((a, b) => a - b));
    expect(new Set(limit(all, 30, 1)).size).toBe(30);
    expect(limit(all, 30, 1)).toEqual(expect.arrayContaining([...limit(all, 10, 1)]));
    expect(limit(all, 1000, 1)).toBe(all);
    expect(() => limit(all, 0, 1)).toThrow('sample of 0 records');
  });
});

describe('splitByImage', () => {
  const records = Array.from({ length: 200 }, (_, n) => record(n, `i${n % 50}`));
  it('holds out a tenth of the images, whatever the order and number of questions', () => {
    const { train, validation } = splitByImage(records, 7);
    const images = new Set(validation.map((r) => r.image));
    expect([images.size, validation.length, train.length]).toEqual([5, 20, 180]);
    const fewer = splitByImage(records.slice(0, 60).reverse(), 7);
    expect(new Set(fewer.validation.map((r) => r.image))).toEqual(images);
  });

  it('leaves at least one image on each side', () => {
    expect(splitByImage([record(0, 'a'), record(1, 'b')], 0).validation.length).toBe(1);
    expect(() => splitByImage([record(0, 'a')], 0)).toThrow('needs at least two training images');
  });
});

describe('answerTypeOf', () => {
  it('goes by the answer', () => {
    expect(['yes', 'no', '3', '12', 'red', 'yes please'].map(answerTypeOf)).toEqual(['yes/no', 'yes/no', 'number', 'number', 'other', 'other']);
  });
});

describe('questionOnlyAccuracy', () => {
  it('is the best answer per question of train, and the overall best for new questions', () => {
    const train = [record(0, 'a', 'q', 1), record(1, 'a', 'q', 1), record(2, 'a', 'q', 2), record(3, 'a', 'p', 2)];
    const test = [record(0, 'b', 'q', 1), record(1, 'b', 'q', 2), record(2, 'b', 'p', 2), record(3, 'b', 'new', 1)];
    expect(questionOnlyAccuracy(train, test)).toBe(0.75);
    expect(questionOnlyAccuracy(train, [{ ...test[0]!, scores: [[1, 0.3]] }])).toBeCloseTo(0.3, 10);
  });
});

describe('openData', () => {
  it('opens what the spec names', async () => {
    const generated = await openData('shapes:12', { seed: 5, featuriser: componentRegions() });
    expect(generated.name).toBe('shapes:12');
    expect(new Set([...generated.splits.train, ...generated.splits.validation].map((r) => r.image)).size).toBe(12);
    const root = await mkdtemp(path.join(tmpdir(), 'espalier-open-'));
    await writeShapes(path.join(root, 'x'), { train: 12, seed: 5 });
    const read = await openData(`easy-vqa:${path.join(root, 'x')}`, { seed: 5 });
    await rm(root, { recursive: true });
    expect(read.splits).toEqual(generated.splits);
  });

  it('names the nearest kind and what a kind needs', async () => {
    await expect(openData('shape:3')).rejects.toThrow("data 'shape:3': no kind of data 'shape'. Did you mean 'shapes'?");
    await expect(openData('shapes:many')).rejects.toThrow("'many' is no number of images");
    await expect(openData('easy-vqa')).rejects.toThrow('the directory is missing');
    await expect(openData('vqa2:')).rejects.toThrow('the directory is missing');
    await expect(openData('shapes:1')).rejects.toThrow('shapes: train:');
    await expect(openData('shapes:9', { demand: { size: 2048, by: 'vl-bert base' } })).rejects.toThrow('192 numbers per region, but vl-bert base takes 2048');
    await expect(openData('shapes:9', { featuriser: 'file' })).rejects.toThrow('it has no features file');
  });
});
