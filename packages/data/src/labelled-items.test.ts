import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { directories } from '../fixtures/directories.ts';
import { base64, obj36Line, WIDTH } from '../fixtures/tsv.ts';
import { gridRegions } from './grid-regions.ts';
import { openData } from './open-data.ts';
import { readRepackagedVqa2 } from './repackaged-vqa2.ts';

let folders: Awaited<ReturnType<typeof directories>>;
beforeAll(async () => {
  folders = await directories();
});
afterAll(() => folders.remove());

const coco = (split: string, n: number) => `COCO_${split}_${String(n).padStart(12, '0')}`;
const tsv = (images: readonly string[]) => images.map((image, i) => `${obj36Line(image, i + 1)}\n`).join('');
const item = (question_id: number | string, img_id: string, label?: Readonly<Record<string, number>>) => ({ question_id, img_id, sent: `what is ${question_id}?`, ...(label && { label, answer_type: 'other', question_type: 'what is' }) });

const vqa = (change: Readonly<Record<string, unknown>> = {}) => ({
  'train.json': [item(1, coco('train2014', 9), { net: 1, fence: 0.3 }), item(2, coco('train2014', 9), {}), item(3, coco('train2014', 10), { rare: 1 }), item(4, coco('train2014', 10), { net: 0 })],
  'nominival.json': [item(5, coco('val2014', 77), { fence: 0.9 })],
  'minival.json': [item(6, coco('val2014', 55), { net: 0.6 })],
  'test.json': [item(7, coco('test2015', 1))],
  'train2014_obj36.tsv': tsv([coco('train2014', 9), coco('train2014', 10)]),
  'val2014_obj36.tsv': tsv([coco('val2014', 55), coco('val2014', 77)]),
  'test2015_obj36.tsv': tsv([coco('test2015', 1)]),
  'trainval_label2ans.json': ['', 'net', 'fence'],
  ...change,
});

describe("LXMERT's items of VQA v2", () => {
  it('train on train and nominival, and validate on minival', async () => {
    const data = await openData(`vqa2:${await folders.make('vqa', vqa())}`, { featuriser: 'file' });
    const { train, validation, test } = data.splits;
    expect([train, validation, test ?? []].map((records) => records.map(({ id }) => id))).toEqual([['train/1', 'train/2', 'train/3', 'train/4', 'nominival/5'], ['minival/6'], ['test/7']]);
    expect(train[0]).toEqual({ id: 'train/1', image: 'train2014_obj36.tsv/9', question: 'what is 1?', scores: [[1, 1], [2, 0.3]], answerType: 'other', questionType: 'what is' });
    expect(test?.[0]).toMatchObject({ scores: [], answerType: 'unlabelled' });
    expect([data.answers[0], data.featureSize]).toEqual(['', WIDTH]);
    expect((await data.regions(train[4]!.image)).features[0]).toBe(2);
    expect((await data.regions(validation[0]!.image)).features[0]).toBe(1);
    await expect(data.regions('train2014_obj36.tsv/55')).rejects.toThrow("no regions of image 'train2014_obj36.tsv/55'");
  });

  it('have targets of zero for answers out of the vocabulary', async () => {
    const data = await readRepackagedVqa2(await folders.make('zero', vqa()));
    expect(data.splits.train.map(({ scores }) => scores.length)).toEqual([2, 0, 0, 0, 1]);
    expect(data.report()).toMatchObject([{ what: 'no answer in the vocabulary, target all zero', kept: true, count: 3, examples: ["item 1: 'no label'", "item 2: 'rare'", "item 3: 'net'"] }]);
  });

  it('read no more than the first 5,000 rows for minival alone', async () => {
    const many = Array.from({ length: 5000 }, (_, i) => `${i}${'\t'.repeat(9)}\n`).slice(1).join('');
    const at = await folders.make('minival', vqa({ 'nominival.json': undefined, 'val2014_obj36.tsv': `${obj36Line(coco('val2014', 900055), 3)}\n${many}no row any more`, 'minival.json': [item(6, coco('val2014', 900055), { net: 0.6 })] }));
    const data = await readRepackagedVqa2(at);
    expect((await data.regions(data.splits.validation[0]!.image)).features[0]).toBe(3);
  });

  it('leave out minival questions about later images, as the reference does', async () => {
    const rows = [...Array.from({ length: 5000 }, (_, i) => `${i}${'\t'.repeat(9)}`)];
    rows[0] = obj36Line(coco('val2014', 900000), 1);
    const at = await folders.make('late', vqa({ 'val2014_obj36.tsv': `${rows.join('\n')}\n${obj36Line(coco('val2014', 900001), 2)}\n`, 'nominival.json': [item(5, coco('val2014', 900001), { net: 1 })], 'minival.json': [item(6, coco('val2014', 900001), { net: 1 }), item(8, coco('val2014', 900000), { net: 1 })] }));
    const data = await readRepackagedVqa2(at);
    expect(data.splits.validation.map(({ id }) => id)).toEqual(['minival/8']);
    expect(data.report()).toMatchObject([{ kept: true }, { what: 'image missing', count: 1, examples: [`item 0: image ${coco('val2014', 900001)} has no regions among the first 5000`] }]);
  });

  it('report bad items, and throw for what is missing', async () => {
    const data = await readRepackagedVqa2(await folders.make('bad', vqa({ 'train.json': [...vqa()['train.json'], item(1, coco('train2014', 9)), { question_id: 8, img_id: 'x' }, item(9, coco('train2014', 99)), { ...item(10, 'x'), label: { net: 2 } }] })));
    expect(data.report().filter((f) => !f.kept).map(({ what, count }) => [what, count])).toEqual([['question_id twice', 1], ['not an item', 2], ['image missing', 1]]);
    await expect(readRepackagedVqa2(await folders.make('a', vqa({ 'trainval_label2ans.json': undefined })))).rejects.toThrow('trainval_label2ans.json is missing');
    await expect(readRepackagedVqa2(await folders.make('b', vqa({ 'val2014_obj36.tsv': undefined })))).rejects.toThrow('validation.tsv, the regions of nominival.json, is missing');
    await expect(readRepackagedVqa2(await folders.make('c', vqa({ 'val2014_obj36.tsv': `${obj36Line('1', 1, { features: base64(new Float32Array(4)) })}\n` })))).rejects.toThrow('val2014_obj36.tsv are 2 numbers wide');
    await expect(readRepackagedVqa2(await folders.make('d', vqa({ 'train.json': {} })))).rejects.toThrow('train.json');
  });

  it('split images of train where there is no minival', async () => {
    const data = await readRepackagedVqa2(await folders.make('split', vqa({ 'nominival.json': undefined, 'minival.json': undefined, 'test.json': undefined })));
    expect(data.splits.test).toBeUndefined();
    expect(data.splits.train.length + data.splits.validation.length).toBe(4);
    expect(data.splits.validation.length).toBe(2);
  });
});

const gqa = (change: Readonly<Record<string, unknown>> = {}) => ({
  'train.json': [{ question_id: '07333408', img_id: '2375429', sent: 'What is on the white wall?', label: { pipe: 1 } }, { question_id: '2', img_id: 'n5', sent: 'Is it red?', label: { yes: 1 } }],
  'valid.json': [{ question_id: '3', img_id: 'n5', sent: 'Is it blue?', label: { no: 1 } }],
  'testdev.json': [{ question_id: '4', img_id: 'n7', sent: 'Is it blue?', label: { no: 1 } }],
  'vg_gqa_obj36.tsv': tsv(['2375429', 'n5']),
  'gqa_testdev_obj36.tsv': tsv(['n7']),
  'trainval_label2ans.json': ['yes', 'pipe', 'no'],
  ...change,
});

describe('GQA', () => {
  it('trains on train and valid, and validates on testdev', async () => {
    const data = await openData(`gqa:${await folders.make('gqa', gqa())}`, { featuriser: 'file' });
    expect(data.splits.train.map(({ id }) => id)).toEqual(['train/07333408', 'train/2', 'valid/3']);
    expect(data.splits.train[0]).toMatchObject({ scores: [[1, 1]], answerType: 'other', questionType: 'other' });
    expect(data.splits.validation).toMatchObject([{ id: 'testdev/4', image: 'gqa_testdev_obj36.tsv/n7', answerType: 'yes/no' }]);
    expect((await data.regions(data.splits.train[2]!.image)).features[0]).toBe(2);
  });

  it('validates on valid without testdev', async () => {
    const data = await openData(`gqa:${await folders.make('gqa-valid', gqa({ 'testdev.json': undefined }))}`, { featuriser: 'file' });
    expect(data.splits.validation.map(({ id }) => id)).toEqual(['valid/3']);
  });

  it('says what is missing', async () => {
    const open = async (name: string, change: Readonly<Record<string, unknown>>) => openData(`gqa:${await folders.make(name, gqa(change))}`, { featuriser: 'file' });
    await expect(open('e', { 'train.json': undefined })).rejects.toThrow('train.json is missing. A gqa directory holds');
    await expect(open('f', { 'gqa_testdev_obj36.tsv': undefined })).rejects.toThrow('the regions of testdev.json are missing');
    await expect(open('g', { 'trainval_label2ans.json': undefined })).rejects.toThrow('trainval_label2ans.json is missing');
    await expect(openData(`gqa:${await folders.make('gqa-h', gqa())}`, { featuriser: gridRegions() })).rejects.toThrow("Use featuriser 'file'");
    await expect(openData('gpa:x')).rejects.toThrow("no kind of data 'gpa'. Did you mean 'gqa'?");
  });
});

describe("VQA v2 with VL-BERT's features", () => {
  it('reads one JSON per image, with sizes from COCO', async () => {
    const ids = [1, 2, 3];
    const stored = (n: number) => ({ num_boxes: 1, boxes: base64(Float32Array.of(0, 0, 10, 10)), features: base64(Float32Array.of(n, n + 0.5)) });
    const at = await folders.make('vl-bert', {
      'v2_OpenEnded_mscoco_train2014_questions.json': { questions: ids.map((n) => ({ question_id: n, image_id: n, question: 'what is it?' })) },
      'v2_mscoco_train2014_annotations.json': { annotations: ids.map((n) => ({ question_id: n, answers: [{ answer: 'yes' }] })) },
      'instances_train2014.json': { images: ids.map((id) => ({ id, width: 100, height: 50 })) },
      'answers_vqa.txt': '<unk>\nno\nyes\n',
      ...Object.fromEntries(ids.map((n) => [`trainval2014_resnet101_faster_rcnn_genome/${n}.json`, stored(n)])),
    });
    const data = await openData(`vqa2:${at}`, { featuriser: 'file' });
    const all = [...data.splits.train, ...data.splits.validation];
    expect([data.answers, data.featureSize, all.length]).toEqual([['<unk>', 'no', 'yes'], 2, 3]);
    expect(await data.regions('train/2')).toEqual({ features: Float32Array.of(2, 2.5), boxes: Float32Array.of(0, 0, 10, 10), width: 100, height: 50 });
    await writeFile(path.join(at, 'instances_train2014.json'), '{}');
    await expect(openData(`vqa2:${at}`, { featuriser: 'file' })).rejects.toThrow('instances_train2014.json: images');
  });
});
