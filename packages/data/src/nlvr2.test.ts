import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { directories } from '../fixtures/directories.ts';
import { base64, obj36Line, WIDTH } from '../fixtures/tsv.ts';
import { readNlvr2 } from './nlvr2.ts';
import { nlvr2Accuracy } from './nlvr2-accuracy.ts';
import { openData } from './open-data.ts';
import { pairBatches, type PairExamples } from './pair-batches.ts';

let folders: Awaited<ReturnType<typeof directories>>;
beforeAll(async () => {
  folders = await directories();
});
afterAll(() => folders.remove());

const line = (identifier: string, label = 'True') => ({ identifier, sentence: `There are two dogs in ${identifier}.`, label, left_url: 'x', right_url: 'y' });
const lines = (entries: readonly unknown[]) => `${entries.map((entry) => JSON.stringify(entry)).join('\n')}\n`;
const images = (split: string, pairs: readonly string[]) => pairs.flatMap((pair) => [0, 1].map((side) => `${split}-${pair}-img${side}`));
const tsv = (names: readonly string[]) => names.map((name, i) => `${obj36Line(name, i + 1)}\n`).join('');

const files = (change: Readonly<Record<string, unknown>> = {}) => ({
  'train.json': lines([line('train-1-0-0'), line('train-1-0-1', 'False'), line('train-1-1-0', 'False'), line('train-2-0-0')]),
  'dev.json': lines([line('dev-7-0-0')]),
  'test1.json': lines([{ ...line('test1-0-0-0'), label: undefined }]),
  'train_obj36.tsv': tsv(images('train', ['1-0', '1-1', '2-0'])),
  'valid_obj36.tsv': tsv(images('dev', ['7-0'])),
  'test_obj36.tsv': tsv(images('test1', ['0-0'])),
  ...change,
});

describe('readNlvr2', () => {
  it("reads NLVR2's lines", async () => {
    const data = await readNlvr2(await folders.make('lines', files()));
    expect(data.splits.train.map(({ id }) => id)).toEqual(['train/train-1-0-0', 'train/train-1-0-1', 'train/train-1-1-0', 'train/train-2-0-0']);
    expect(data.splits.train[2]).toEqual({
      id: 'train/train-1-1-0', image: 'train/train-1-1-img0', images: ['train/train-1-1-img0', 'train/train-1-1-img1'],
      question: 'There are two dogs in train-1-1-0.', scores: [[0, 1]], answerType: 'other', questionType: 'nlvr2',
    });
    expect(data.splits.validation[0]).toMatchObject({ id: 'validation/dev-7-0-0', scores: [[1, 1]] });
    expect(data.splits.test?.[0]).toMatchObject({ scores: [], answerType: 'unlabelled' });
    expect([data.answers, data.featureSize]).toEqual([['False', 'True'], WIDTH]);
    expect((await data.regions('train/train-1-1-img1')).features[0]).toBe(4);
    await expect(data.regions('train/nowhere')).rejects.toThrow("no regions of image 'train/nowhere'");
  });

  it("reads LXMERT's items alike", async () => {
    const items = [{ identifier: 'train-1-0-0', img0: 'train-1-0-img0', img1: 'train-1-0-img1', label: 1, sent: 'There are two dogs in train-1-0-0.', uid: 'nlvr2_train_0' }];
    const data = await readNlvr2(await folders.make('items', files({ 'train.json': items, 'dev.json': undefined, 'valid.json': lines([line('dev-7-0-0')]) })));
    expect(data.splits.train[0]).toEqual((await readNlvr2(await folders.make('lines2', files()))).splits.train[0]);
    expect(data.splits.validation.length).toBe(1);
  });

  it('reports bad records, and throws for what is missing', async () => {
    const many = [line('train-1-0-0'), line('train-1-0-0'), line('train-9-0-0'), line('train-1-0'), line('train-1-0-1'), line('train-1-1-0'), line('train-1-1-1'), line('train-2-0-0'), line('train-2-0-1')];
    const data = await readNlvr2(await folders.make('bad', files({ 'train.json': `${lines(many)}{"cut": ` })));
    expect(data.report().map(({ what, count, of }) => [what, count, of])).toEqual([['identifier twice', 1, 10], ['image missing', 1, 10], ['not a sentence about two images', 2, 10]]);
    expect(data.report()[2]!.examples[0]).toContain("expected 'split-set-pair-sentence'");
    const read = async (name: string, change: Readonly<Record<string, unknown>>) => readNlvr2(await folders.make(name, files(change)));
    await expect(read('a', { 'dev.json': undefined })).rejects.toThrow('dev.json is missing. An nlvr2 directory holds');
    await expect(read('b', { 'valid_obj36.tsv': undefined })).rejects.toThrow('the regions of dev.json are missing');
    await expect(read('c', { 'train.json': '[1, ' })).rejects.toThrow('train.json: not JSON');
    await expect(read('d', { 'valid_obj36.tsv': `${obj36Line('dev-7-0-img0', 1, { features: base64(new Float32Array(4)) })}\n${obj36Line('dev-7-0-img1', 1)}\n` })).rejects.toThrow('2 numbers wide, those of train 5');
    await expect(openData('nlvr2:x')).rejects.toThrow('Read it with readNlvr2');
  });
});

describe('pairBatches', () => {
  it('holds both images of the same sentences', async () => {
    const data = await readNlvr2(await folders.make('pairs', files()));
    const tokenizer = { encode: (text: string) => text.split(' ').map((_, i) => i + 1) };
    const list = pairBatches(data.splits.train, { data, tokenizer, batchSize: 3, shuffle: { seed: 1, epoch: 0 }, regions: 2 });
    const seen: PairExamples[] = [];
    for await (const batch of list) seen.push(batch);
    expect([list.count, seen.map(({ ids }) => ids.length)]).toEqual([2, [3, 1]]);
    expect(seen.flatMap(({ ids }) => ids).sort()).toEqual(data.splits.train.map(({ id }) => id).sort());
    for (const { ids, left, right } of seen) {
      expect([left.ids, right.ids]).toEqual([ids, ids]);
      expect([right.questions, right.targets, right.regions]).toEqual([left.questions, left.targets, left.regions]);
      ids.forEach((_, b) => expect(right.features[b * 2 * WIDTH]).toBe(left.features[b * 2 * WIDTH]! + 1));
      expect(left.answers).toBe(2);
    }
    for await (const { ids } of list) {
      expect(ids).toEqual(seen[0]!.ids);
      break;
    }
  });
});

describe('nlvr2Accuracy', () => {
  it('counts records, and sentences that are right about all pairs', async () => {
    const { splits } = await readNlvr2(await folders.make('metric', files()));
    const says = (...answers: readonly boolean[]) => new Map(splits.train.map(({ id }, i) => [id, answers[i]!]));
    // sentences: 1/0 about pairs 0 and 1, 1/1 about pair 0, 2/0 about pair 0
    expect(nlvr2Accuracy(splits.train, says(true, false, false, true))).toEqual({ accuracy: 1, consistency: 1, sentences: 3 });
    expect(nlvr2Accuracy(splits.train, says(true, false, true, true))).toEqual({ accuracy: 3 / 4, consistency: 2 / 3, sentences: 3 });
    expect(nlvr2Accuracy(splits.train, says(false, false, false, false))).toEqual({ accuracy: 1 / 2, consistency: 1 / 3, sentences: 3 });
    expect(() => nlvr2Accuracy(splits.train, new Map())).toThrow('train/train-1-0-0 has no prediction');
    expect(() => nlvr2Accuracy(splits.test ?? [], new Map([['test/test1-0-0-0', true]]))).toThrow('has no label');
    expect(() => nlvr2Accuracy([], new Map())).toThrow('no records');
  });
});
