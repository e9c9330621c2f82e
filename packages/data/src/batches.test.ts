import { describe, expect, it } from 'vitest';
import type { VqaExamples } from '@espalier/vl-models';
import { batches, type BatchOptions } from './batches.ts';
import type { VqaRecord } from './dataset.ts';
import type { Regions } from './featuriser.ts';
import { prefetched } from './prefetch.ts';
import { cachedRegions } from './region-cache.ts';

/** Image 'n' has n regions of two numbers, all n. */
const regionsOf = (image: string): Regions => {
  const n = Number(image);
  return { features: new Float32Array(2 * n).fill(n), boxes: new Float32Array(4 * n).fill(10 * n), width: 100 + n, height: n };
};
const record = (n: number, image = 1 + (n % 5)): VqaRecord => ({
  id: `train/${n}`, image: String(image), question: Array.from({ length: 1 + (n % 6) }, () => 'w').join(' '), scores: [[n % 3, 0.5]], answerType: 'other', questionType: 'other',
});
const records = Array.from({ length: 23 }, (_, n) => record(n));
const data = { answers: ['a', 'b', 'c'], featureSize: 2, regions: (image: string) => Promise.resolve(regionsOf(image)) };
const tokenizer = { encode: (text: string) => text.split(' ').filter((w) => w).map((_, i) => 7 + i) };
const options: BatchOptions = { data, tokenizer, batchSize: 4 };

async function collect(from: readonly VqaRecord[], change: Partial<BatchOptions> = {}): Promise<VqaExamples[]> {
  const all: VqaExamples[] = [];
  for await (const batch of batches(from, { ...options, ...change })) all.push(batch);
  return all;
}
const idsOf = (list: readonly VqaExamples[]) => list.flatMap((b) => b.ids);

describe('batches', () => {
  it('pads a batch to its buckets with zeros', async () => {
    const [batch] = await collect([record(0), record(5)], { batchSize: 2 });
    expect(batch).toEqual({
      ids: ['train/0', 'train/5'],
      questions: Int32Array.of(7, 0, 0, 0, 0, 0, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0),
      questionLength: 8,
      features: Float32Array.of(1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0),
      boxes: Float32Array.from({ length: 32 }, (_, i) => (i % 16 < 4 ? 10 : 0)),
      regionCounts: Int32Array.of(1, 1),
      regions: 4,
      featureSize: 2,
      imageSizes: Float32Array.of(101, 1, 101, 1),
      targets: Float32Array.of(0.5, 0, 0, 0, 0, 0.5),
      answers: 3,
    });
  });

  it('takes features of whole images where all of a batch have them', async () => {
    const whole = (image: string): Regions => ({ ...regionsOf(image), ...(image !== '3' && { imageFeature: Float32Array.of(Number(image), 0.5) }) });
    const given = { data: { ...data, regions: (image: string) => Promise.resolve(whole(image)) }, batchSize: 2 };
    const [with1, without] = [(await collect([record(0, 1), record(1, 2)], given))[0]!, (await collect([record(0, 1), record(1, 3)], given))[0]!];
    expect(with1.imageFeatures).toEqual(Float32Array.of(1, 0.5, 2, 0.5));
    expect(without.imageFeatures).toBeUndefined();
  });

  it('gives shapes as multiples of the buckets, or a fixed number of regions', async () => {
    const list = await collect(records, { questionBucket: 3, regionBucket: 2 });
    expect(list.every((b) => b.questionLength % 3 === 0 && b.regions % 2 === 0)).toBe(true);
    expect(list.map((b) => b.regions)).toContain(4);
    expect(new Set((await collect(records, { regions: 9 })).map((b) => b.regions))).toEqual(new Set([9]));
    await expect(collect(records, { regions: 3 })).rejects.toThrow('an image of batch 0 has 4 regions, but regions is 3');
  });

  it('holds every record once, and the last batch is smaller or dropped', async () => {
    const list = await collect(records);
    expect(idsOf(list)).toEqual(records.map((r) => r.id));
    expect(list.map((b) => b.ids.length)).toEqual([4, 4, 4, 4, 4, 3]);
    expect((await collect(records, { dropLast: true })).map((b) => b.ids.length)).toEqual([4, 4, 4, 4, 4]);
    expect(batches(records, options).count).toBe(6);
    expect(batches(records, { ...options, dropLast: true, start: 2 }).count).toBe(3);
  });

  it('shuffles by seed and epoch', async () => {
    const ids = async (seed: number, epoch: number) => idsOf(await collect(records, { shuffle: { seed, epoch } })).join();
    expect(await ids(1, 0)).toBe(await ids(1, 0));
    expect(new Set([await ids(1, 0), await ids(1, 1), await ids(2, 0)]).size).toBe(3);
    expect((await ids(1, 0)).split(',').sort()).toEqual(records.map((r) => r.id).sort());
  });

  it('continues at any batch as the whole epoch does, without asking for the images before', async () => {
    const whole = await collect(records, { shuffle: { seed: 4, epoch: 2 } });
    const asked: string[] = [];
    const counting = { ...data, regions: (image: string) => (asked.push(image), data.regions(image)) };
    const rest = await collect(records, { shuffle: { seed: 4, epoch: 2 }, start: 4, data: counting });
    expect(rest).toEqual(whole.slice(4));
    expect(asked.length).toBe(7);
    expect(await collect(records, { start: 6 })).toEqual([]);
  });

  it('does not depend on prefetch', async () => {
    const of = (prefetch: number) => collect(records, { prefetch, shuffle: { seed: 1, epoch: 0 } });
    expect(await of(0)).toEqual(await of(5));
  });

  it('makes at most two batches more than were asked for, and none before the first is', async () => {
    let asked = 0;
    const slow = { ...data, regions: async (image: string) => (asked++, await Promise.resolve(), regionsOf(image)) };
    const iterator = batches(records, { ...options, data: slow })[Symbol.asyncIterator]();
    const settle = () => new Promise((resolve) => setImmediate(resolve));
    await settle();
    expect(asked).toBe(0);
    for (const made of [3, 4, 5, 6, 6, 6]) {
      await iterator.next();
      await settle();
      expect(Math.ceil(asked / 4)).toBe(made);
    }
    expect((await iterator.next()).done).toBe(true);
  });

  it('can be iterated again, and stopped early', async () => {
    const list = batches(records, options);
    for await (const batch of list) {
      expect(batch.ids.length).toBe(4);
      break;
    }
    let seen = 0;
    for await (const batch of list) seen += batch.ids.length;
    expect(seen).toBe(23);
  });

  it('cuts long questions and counts them', async () => {
    const list = batches(records, { ...options, questionLimit: 4 });
    for await (const batch of list) expect(batch.questionLength).toBe(4);
    expect(list.cut()).toBe(records.filter((r) => r.question.split(' ').length > 4).length);
  });

  it('throws for what cannot be a batch, naming it', async () => {
    expect(() => batches([], options)).toThrow('0 records make no batch of 4');
    expect(() => batches(records.slice(0, 3), { ...options, dropLast: true })).toThrow('is dropped');
    expect(() => batches(records, { ...options, batchSize: 0 })).toThrow('batchSize is 0');
    expect(() => batches(records, { ...options, prefetch: -1 })).toThrow('prefetch is -1');
    expect(() => batches(records, { ...options, start: 7 })).toThrow('cannot start at batch 7 of 6');
    await expect(collect([{ ...record(1), question: '' }])).rejects.toThrow("record train/1: the question '' has no words");
    await expect(collect(records, { data: { ...data, featureSize: 3 } })).rejects.toThrow("record train/0: image '1' has 2 numbers for 1 regions, expected 3 for each");
  });
});

describe('prefetched', () => {
  it('throws a failure where its item would come', async () => {
    const make = (i: number) => (i === 2 ? Promise.reject(new Error('no 2')) : Promise.resolve(i));
    const iterator = prefetched(make, 0, 5, 3);
    expect([(await iterator.next()).value, (await iterator.next()).value]).toEqual([0, 1]);
    await expect(iterator.next()).rejects.toThrow('no 2');
  });
});

describe('cachedRegions', () => {
  const counted = (bytes: number) => {
    const made: string[] = [];
    const get = cachedRegions(async (image) => (made.push(image), regionsOf(image)), bytes);
    return { made, get };
  };

  it('makes an image once while it is kept, the least recently used goes first', async () => {
    const { made, get } = counted(3 * 24 + 1); // image '1' takes 2 * 4 + 4 * 4 = 24 bytes
    const one = cachedRegions(async (image) => (made.push(image), regionsOf('1')), 3 * 24);
    for (const image of ['a', 'b', 'c', 'a', 'd', 'a', 'c', 'b']) await one(image);
    expect(made).toEqual(['a', 'b', 'c', 'd', 'b']);
    expect((await get('2')).width).toBe(102);
  });

  it('shares one making among calls at the same time', async () => {
    const { made, get } = counted(1000);
    const [a, b] = await Promise.all([get('3'), get('3')]);
    expect(a).toBe(b);
    expect(made).toEqual(['3']);
  });

  it('keeps nothing with no room, and tries again after a failure', async () => {
    const { made, get } = counted(0);
    await get('1');
    await get('1');
    expect(made).toEqual(['1', '1']);
    let tries = 0;
    const flaky = cachedRegions(async (image) => {
      if (++tries === 1) throw new Error('busy');
      return regionsOf(image);
    }, 1000);
    await expect(flaky('1')).rejects.toThrow('busy');
    expect((await flaky('1')).width).toBe(101);
  });
});
