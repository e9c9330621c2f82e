import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { base64, obj36Line as row, WIDTH } from '../fixtures/tsv.ts';
import { writeFeatures } from './features-file.ts';
import { indexObj36, indexRegionTsv, readBottomUp, readObj36 } from './region-tsv.ts';
import { answerVocabulary, softScore, softScores } from './soft-score.ts';
import { readVqa2 } from './vqa2.ts';

let root = '';
beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'espalier-vqa2-'));
});
afterAll(() => rm(root, { recursive: true }));

async function tsv(name: string, rows: readonly string[], ending = '\n'): Promise<string> {
  const file = path.join(root, name);
  await writeFile(file, rows.join(ending) + ending);
  return file;
}

const collect = async <T>(items: AsyncIterable<T>) => {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
};

describe('obj36 TSV', () => {
  it('streams rows in the order of the columns', async () => {
    const [first, second] = await collect(readObj36(await tsv('a.tsv', [row('COCO_train2014_000000000009', 1), row('b', 100)])));
    expect(first).toMatchObject({ image: 'COCO_train2014_000000000009', width: 640, height: 480 });
    expect([...first!.objects, ...first!.attributes]).toEqual([7, 1600, 1, 2]);
    expect([...first!.boxes]).toEqual([0, 0, 640, 480, 10, 20, 30, 40]);
    expect(first!.objectScores[1]).toBe(0.5);
    expect([...second!.features]).toEqual(Array.from({ length: 10 }, (_, i) => 100 + i));
  });

  it('reads rows in any order through the index, also with Windows line ends and no last line end', async () => {
    for (const [name, ending] of [['b.tsv', '\n'], ['c.tsv', '\r\n']] as const) {
      const index = await indexObj36(await tsv(name, [row('x', 1), row('y', 2), row('z', 3)], ending));
      expect([index.images, index.size]).toEqual([['x', 'y', 'z'], WIDTH]);
      for (const [image, first] of [['z', 3], ['x', 1], ['y', 2], ['z', 3]] as const) expect((await index.regions(image)).features[0]).toBe(first);
      await expect(index.regions('w')).rejects.toThrow("no row of image 'w'");
    }
    const file = path.join(root, 'open.tsv');
    await writeFile(file, `${row('x', 1)}\n${row('y', 2)}`);
    expect((await indexObj36(file)).images).toEqual(['x', 'y']);
  });

  it('reads rows longer than a chunk of the stream', async () => {
    const long = base64(Float32Array.from({ length: 2 * 400_000 }, (_, i) => i));
    const index = await indexObj36(await tsv('long.tsv', [row('a', 0, { features: long }), row('b', 0, { features: long })]));
    expect(index.size).toBe(400_000);
    expect((await index.regions('b')).features[799_999]).toBe(799_999);
  });

  it('names file, line and field of what is wrong', async () => {
    const bad = async (name: string, line: string) => collect(readObj36(await tsv(name, [row('x', 1), line])));
    await expect(bad('d.tsv', 'y\t480\t640')).rejects.toThrow(/d\.tsv, line 2: 3 fields, expected 10/);
    await expect(indexObj36(path.join(root, 'd.tsv'))).rejects.toThrow(/d\.tsv, line 2: 3 fields, expected 10/);
    await expect(bad('e.tsv', `${row('y', 1)}\textra`)).rejects.toThrow('line 2: 11 fields');
    await expect(bad('f.tsv', row('y', 1, { features: base64(Float32Array.of(1, 2, 3)) }))).rejects.toThrow('line 2, field features: 12 bytes cannot be 2 rows');
    await expect(bad('g.tsv', row('y', 1, { features: base64(Float32Array.of(1, NaN, 3, 4)) }))).rejects.toThrow('line 2, field features: value 1 is NaN');
    await expect(bad('h.tsv', row('y', 1, { boxes: base64(Float32Array.of(1, 2)) }))).rejects.toThrow('line 2, field boxes: 8 bytes, expected 32');
    await expect(bad('i.tsv', row('y', 1, { boxes: base64(Float32Array.of(0, 0, 641, 480, 0, 0, 1, 1)) }))).rejects.toThrow('box 0 reaches 641 outside of the 640x480 image');
    await expect(bad('j.tsv', row('y', 1, { width: 'wide' }))).rejects.toThrow("field img_w: 'wide'");
    await expect(bad('k.tsv', row('y', 1, { features: '###' }))).rejects.toThrow('field features: not base64');
    await expect(indexObj36(await tsv('l.tsv', [row('x', 1), row('x', 2)]))).rejects.toThrow("line 2: image 'x' stands in line 1 already");
    await expect(indexObj36(await tsv('m.tsv', []))).rejects.toThrow('no rows');
    await expect(indexObj36(path.join(root, 'nowhere.tsv'))).rejects.toThrow('nowhere.tsv cannot be read');
  });

  it('checks the width of features on every row', async () => {
    const file = await tsv('n.tsv', [row('x', 1), row('y', 1, { features: base64(new Float32Array(8)) })]);
    const demand = { size: WIDTH, by: 'lxmert tiny' };
    await expect(collect(readObj36(file, demand))).rejects.toThrow('n.tsv, line 2: 4 numbers per region, but lxmert tiny takes 5');
    await expect((await indexObj36(file, demand)).regions('y')).rejects.toThrow('4 numbers per region, those before 5');
    await expect(indexObj36(file, { size: 2048, by: 'lxmert base' })).rejects.toThrow('line 1: 5 numbers per region, but lxmert base takes 2048');
  });
});

describe('bottom-up TSV', () => {
  const boxes = base64(Float32Array.of(0, 0, 640, 480, 10, 20, 30, 40));
  const line = (image: string, first: number, width = '640') => [image, width, '480', '2', boxes, base64(Float32Array.from({ length: 2 * WIDTH }, (_, i) => first + i))].join('\t');

  it('has the width before the height, and no objects', async () => {
    const file = await tsv('bu.tsv', [line('9', 1), line('42', 100)]);
    expect((await collect(readBottomUp(file)))[0]).toMatchObject({ image: '9', width: 640, height: 480 });
    const index = await indexRegionTsv(file);
    expect([index.images, index.size]).toEqual([['9', '42'], WIDTH]);
    expect(await index.regions('42')).toMatchObject({ width: 640, height: 480, features: Float32Array.from({ length: 10 }, (_, i) => 100 + i) });
    expect((await indexRegionTsv(await tsv('either.tsv', [row('x', 7)]))).images).toEqual(['x']);
  });

  it('names what is wrong', async () => {
    await expect(indexObj36(path.join(root, 'bu.tsv'))).rejects.toThrow('6 fields, expected 10');
    await expect(indexRegionTsv(await tsv('mixed.tsv', [line('9', 1), row('x', 1)]))).rejects.toThrow('line 2: 10 fields, expected 6');
    await expect(collect(readBottomUp(await tsv('turned.tsv', [line('9', 1, '480')])))).rejects.toThrow('box 0 reaches 640 outside of the 480x480 image. Columns are image_w before image_h');
  });

  it('indexes no further than asked', async () => {
    const file = await tsv('first.tsv', [line('9', 1), line('42', 2), 'broken']);
    expect((await indexRegionTsv(file, undefined, 2)).images).toEqual(['9', '42']);
    await expect(indexRegionTsv(file)).rejects.toThrow('line 3: 1 fields');
  });
});

describe('soft scores', () => {
  it('are 0, .3, .6, .9, 1, 1 for ten annotators', () => {
    expect([0, 1, 2, 3, 4, 10].map((k) => Math.round(softScore(k) * 1e6) / 1e6)).toEqual([0, 0.3, 0.6, 0.9, 1, 1]);
  });

  it('equal the mean over all sets of n - 1 annotators for any n', () => {
    for (let n = 2; n <= 12; n++)
      for (let k = 0; k <= n; k++) {
        const answers = Array.from({ length: n }, (_, i) => i < k);
        const each = answers.map((_, left) => Math.min(1, answers.filter((same, i) => i !== left && same).length / 3));
        expect(softScore(k, n)).toBeCloseTo(each.reduce((a, b) => a + b, 0) / n, 12);
      }
    expect([softScore(0, 1), softScore(1, 1)]).toEqual([0, 1]);
  });

  it('keep what the vocabulary has', () => {
    const given = ['red', 'red', 'dark red', ...Array<string>(7).fill('blue')];
    expect(softScores(given, new Map([['blue', 0], ['red', 4]])).map(([a, s]) => [a, Math.round(s * 10) / 10])).toEqual([[0, 1], [4, 0.6]]);
  });

  it('come with a vocabulary by frequency, then by code point', () => {
    expect(answerVocabulary(['b', 'a', 'c', 'c', 'b', 'a', 'c', 'd'], 2)).toEqual(['c', 'a', 'b']);
  });
});

const question = (question_id: number, image_id: number) => ({ question_id, image_id, question: `what is ${question_id}?` });
const annotation = (question_id: number, answers: readonly string[]) => ({
  question_id, image_id: 1, question_type: 'what is', answer_type: 'other', multiple_choice_answer: answers[0], answers: answers.map((answer, i) => ({ answer, answer_confidence: 'yes', answer_id: i + 1 })),
});
const ten = (answer: string, other = answer) => [...Array<string>(7).fill(answer), ...Array<string>(3).fill(other)];

/** Ten training images with a question each, the last with an answer of its own; one validation and one test image. */
async function directory(name: string, extra: Readonly<Record<string, unknown>> = {}, without: readonly string[] = []): Promise<string> {
  const at = path.join(root, name);
  await mkdir(at);
  const ids = Array.from({ length: 10 }, (_, i) => i + 1);
  const files: Record<string, unknown> = {
    'train.questions.json': { questions: ids.map((i) => question(i, i)) },
    'train.annotations.json': { annotations: ids.map((i) => annotation(i, i === 10 ? ten('rare') : ten('Yes ', 'maybe'))).reverse() },
    'train.tsv': ids.map((i) => `${row(`COCO_train2014_${String(i).padStart(12, '0')}`, i)}\n`).join(''),
    'validation.questions.json': { questions: [question(100, 55)] },
    'validation.annotations.json': { annotations: [annotation(100, ten('yes'))] },
    'validation.tsv': `${row('COCO_val2014_000000000055', 55)}\n`,
    'test.questions.json': { questions: [question(200, 77)] },
    'test.tsv': `${row('77', 77)}\n`,
    'answers.json': ['', 'yes', 'maybe'],
    ...extra,
  };
  for (const [file, content] of Object.entries(files)) if (!without.includes(file)) await writeFile(path.join(at, file), typeof content === 'string' ? content : JSON.stringify(content));
  return at;
}

describe('readVqa2', () => {
  it('joins questions, annotations and features', async () => {
    const data = await readVqa2(await directory('a'));
    const { train, validation, test = [] } = data.splits;
    expect([train.length, validation.length, test.length, data.featureSize]).toEqual([10, 1, 1, WIDTH]);
    expect(train[0]).toMatchObject({ id: 'train/1', image: 'train/1', question: 'what is 1?', scores: [[1, 1], [2, expect.closeTo(0.9, 10)]], answerType: 'other', questionType: 'what is' });
    expect((await data.regions(train[4]!.image)).features[0]).toBe(5);
    expect((await data.regions(validation[0]!.image)).features[0]).toBe(55);
    expect(test[0]).toMatchObject({ scores: [], answerType: 'unlabelled' });
    expect((await data.regions(test[0]!.image)).features[0]).toBe(77);
    expect(train[9]!.scores).toEqual([]);
    expect(data.report()).toMatchObject([{ what: 'no answer in the vocabulary, target all zero', kept: true, count: 1, examples: ["question 9: 'rare'"] }]);
  });

  it('makes vocabulary and validation split where there is none', async () => {
    const at = await directory('b', {}, ['answers.json', 'validation.questions.json', 'validation.annotations.json', 'validation.tsv']);
    const data = await readVqa2(at);
    expect(data.answers).toEqual(['yes']);
    expect([data.splits.train.length, data.splits.validation.length]).toEqual([9, 1]);
    expect((await readVqa2(at, { minOccurrences: 1 })).answers).toEqual(['yes', 'rare']);
    await expect(readVqa2(at, { minOccurrences: 99 })).rejects.toThrow("no answer is the majority's 99 times");
  });

  it('takes the official file names, a map of answers, and a features file', async () => {
    const at = path.join(root, 'official');
    await mkdir(at);
    await writeFile(path.join(at, 'v2_OpenEnded_mscoco_train2014_questions.json'), JSON.stringify({ questions: [question(1, 9), question(2, 10)] }));
    await writeFile(path.join(at, 'v2_mscoco_train2014_annotations.json'), JSON.stringify({ annotations: [annotation(1, ten('yes')), annotation(2, ten('no'))] }));
    await writeFile(path.join(at, 'answers.json'), JSON.stringify({ no: 1, yes: 0 }));
    await writeFile(path.join(at, 'train2014_obj36.tsv'), `${row('COCO_train2014_000000000009', 9)}\n${row('COCO_train2014_000000000010', 10)}\n`);
    const data = await readVqa2(at);
    expect(data.answers).toEqual(['yes', 'no']);
    expect([...data.splits.train, ...data.splits.validation].map((r) => r.image).sort()).toEqual(['train/10', 'train/9']);
    await writeFeatures(path.join(at, 'train.features.safetensors'), 'detector', [9, 10].map((i) => [String(i), { features: Float32Array.of(i), boxes: new Float32Array(4), width: 1, height: 1 }]));
    expect([...(await (await readVqa2(at)).regions('train/10')).features]).toEqual([10]);
  });

  it('skips and reports bad records, and throws when most are bad', async () => {
    const ids = Array.from({ length: 10 }, (_, i) => i + 1);
    const questions = [...ids.map((i) => question(i, i)), question(3, 3), question(11, 1), question(4, 4), { question_id: 12 }, question(5, 999)];
    const data = await readVqa2(await directory('c', { 'train.questions.json': { questions }, 'train.annotations.json': { annotations: [...ids.map((i) => annotation(i, ten('yes'))), { question_id: 13, answers: [] }] } }));
    expect(data.report().filter((f) => !f.kept).map(({ what, count }) => [what, count])).toEqual([['not an annotation', 1], ['question_id twice', 3], ['annotation missing', 1], ['not a question', 1]]);
    const foreign = await directory('d', { 'train.tsv': `${row('other', 1)}\n` });
    await expect(readVqa2(foreign)).rejects.toThrow(/10 of 10 records are bad[\s\S]*image missing/);
  });

  it('says what a directory lacks', async () => {
    await expect(readVqa2(await directory('e', {}, ['train.tsv']))).rejects.toThrow(/train\.tsv is missing.*A vqa2 directory holds/);
    await expect(readVqa2(await directory('f', {}, ['train.annotations.json']))).rejects.toThrow('train.annotations.json is missing');
    await expect(readVqa2(await directory('g', { 'train.question.json': '{}' }, ['train.questions.json']))).rejects.toThrow("train.questions.json is missing. Did you mean 'train.question.json'");
    await expect(readVqa2(await directory('h', { 'answers.json': { yes: 0, no: 2 } }))).rejects.toThrow("answer 'no' has index 2 where 1 was expected");
    await expect(readVqa2(path.join(root, 'nowhere'))).rejects.toThrow('nowhere cannot be listed');
    await expect(readVqa2(await directory('i'), { demand: { size: 2048, by: 'lxmert base' } })).rejects.toThrow('train.tsv, line 1: 5 numbers per region, but lxmert base takes 2048');
  });
});
