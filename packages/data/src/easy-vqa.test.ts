import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, truncate, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readEasyVqa } from './easy-vqa.ts';
import { writeFeatures } from './features-file.ts';
import { describeFinding } from './findings.ts';
import { gridRegions } from './grid-regions.ts';
import { questionOnlyAccuracy } from './question-only.ts';
import { writeShapes } from './shapes/shapes-files.ts';

const original = fileURLToPath(new URL('../../../../shared/data/easy-vqa', import.meta.url));

let root = '';
let good = '';
beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'espalier-easy-vqa-'));
  good = path.join(root, 'good');
  await writeShapes(good, { train: 20, test: 4, seed: 3 });
});
afterAll(() => rm(root, { recursive: true }));

let copies = 0;
/** A copy of the good directory to spoil. */
async function copy(): Promise<string> {
  const directory = path.join(root, `copy-${copies++}`);
  await cp(good, directory, { recursive: true });
  return directory;
}
async function changeQuestions(directory: string, change: (entries: unknown[][]) => void): Promise<void> {
  const file = path.join(directory, 'train', 'questions.json');
  const entries = JSON.parse(await readFile(file, 'utf8'));
  change(entries);
  await writeFile(file, JSON.stringify(entries));
}

describe('readEasyVqa', () => {
  it('reads records, answers and regions', async () => {
    const data = await readEasyVqa(good);
    const { train, validation, test = [] } = data.splits;
    expect(data.answers.slice(0, 3)).toEqual(['yes', 'no', 'circle']);
    expect(new Set([...train, ...validation].map((r) => r.image)).size).toBe(20);
    expect(new Set(validation.map((r) => r.image)).size).toBe(2);
    expect(validation.filter((r) => train.some((t) => t.image === r.image))).toEqual([]);
    expect(test[0]).toMatchObject({ id: 'test/0', image: 'test/0', scores: [[expect.any(Number), 1]] });
    expect(data.featureSize).toBe(192);
    expect((await data.regions('train/3')).boxes.length).toBe(64 * 4);
    expect(await data.image?.('test/0')).toMatchObject({ width: 64, height: 64 });
    expect(data.report()).toEqual([]);
    await expect(data.regions('train/99')).rejects.toThrow("no image 'train/99'");
  });

  it('takes another validation split with another seed, and the same with the same', async () => {
    const held = async (seed: number) => [...new Set((await readEasyVqa(good, { seed })).splits.validation.map((r) => r.image))].sort().join();
    expect(await held(1)).toBe(await held(1));
    expect(new Set([await held(1), await held(2), await held(3), await held(4)]).size).toBeGreaterThan(1);
  });

  it('reads families where the data set has them, and tells them by the answer where not', async () => {
    const directory = await copy();
    await rm(path.join(directory, 'train', 'families.json'));
    const [withFile, without] = [await readEasyVqa(good), await readEasyVqa(directory)];
    expect(new Set(withFile.splits.train.map((r) => r.questionType))).toEqual(new Set(['attribute', 'existence', 'negation', 'count', 'comparison', 'relation']));
    for (const r of without.splits.train) {
      const answer = without.answers[r.scores[0]![0]]!;
      expect(r.questionType).toBe(['yes', 'no'].includes(answer) ? 'yes/no' : /\d/.test(answer) ? 'number' : ['circle', 'rectangle', 'triangle'].includes(answer) ? 'shape' : ['small', 'large'].includes(answer) ? 'other' : 'color');
    }
    await writeFile(path.join(directory, 'train', 'families.json'), '["count"]');
    await expect(readEasyVqa(directory)).rejects.toThrow(/families\.json: 1 families for \d+ questions/);
  });

  it('skips, counts and reports bad records', async () => {
    const directory = await copy();
    await unlink(path.join(directory, 'train', 'images', '5.png'));
    let missing = 0;
    await changeQuestions(directory, (entries) => {
      missing = entries.filter((entry) => entry[2] === 5).length;
      entries.push(['is it red?', 'yess', 1], ['is it red?', 'yes'], ['  ', 'yes', 1]);
    });
    await rm(path.join(directory, 'train', 'families.json'));
    const data = await readEasyVqa(directory);
    const found = new Map(data.report().map((f) => [f.what, f]));
    expect(found.get('image missing')).toMatchObject({ count: missing, kept: false });
    expect(found.get('image missing')?.examples[0]).toContain(path.join('train', 'images', '5.png'));
    expect(found.get('unknown answer')?.examples).toEqual([expect.stringContaining("answer 'yess' is not in answers.txt. Did you mean 'yes'?")]);
    expect(found.get('not [question, answer, image]')).toMatchObject({ count: 2 });
    expect(found.get('not [question, answer, image]')?.examples.join()).toMatch(/a question needs its answer and its image, found \["is it red\?","yes"\].*the question is empty/);
    expect([...data.splits.train, ...data.splits.validation].some((r) => r.image === 'train/5')).toBe(false);
    expect(describeFinding(found.get('unknown answer')!)).toMatch(/questions\.json: 1 of \d+ records skipped \(unknown answer\): record \d+/);
  });

  it('gives at most five examples, and throws when more than half is bad', async () => {
    const directory = await copy();
    await rm(path.join(directory, 'train', 'families.json'));
    await changeQuestions(directory, (entries) => entries.slice(0, 8).forEach((entry) => entry.splice(1, 1, 'purple')));
    expect((await readEasyVqa(directory)).report()).toMatchObject([{ count: 8, examples: { length: 5 } }]);
    await changeQuestions(directory, (entries) => entries.forEach((entry) => entry.splice(1, 1, 'purple')));
    await expect(readEasyVqa(directory)).rejects.toThrow(/(\d+) of \1 records are bad/);
  });

  it('names the file of a truncated image when it is needed', async () => {
    const directory = await copy();
    await truncate(path.join(directory, 'train', 'images', '2.png'), 100);
    const data = await readEasyVqa(directory);
    await expect(data.regions('train/2')).rejects.toThrow(/train.images.2\.png: a damaged PNG image of 100 bytes \(the file ends too early\)/);
  });

  it('reads a JPEG beside PNGs, and image names that are words', async () => {
    const { default: jpeg } = await import('jpeg-js');
    const directory = await copy();
    await rm(path.join(directory, 'train', 'families.json'));
    await writeFile(path.join(directory, 'train', 'images', 'photo.jpeg'), jpeg.encode({ width: 30, height: 20, data: Buffer.alloc(2400, 200) }, 90).data);
    await changeQuestions(directory, (entries) => entries.push(['is it gray?', 'yes', 'photo']));
    const data = await readEasyVqa(directory);
    expect(await data.regions('train/photo')).toMatchObject({ width: 30, height: 20 });
  });

  it('reads pre-extracted features in place of images', async () => {
    const directory = await copy();
    const grid = gridRegions({ cells: 2 });
    const data = await readEasyVqa(good, { featuriser: grid });
    for (const [split, count] of [['train', 20], ['test', 4]] as const) {
      await rm(path.join(directory, split, 'images'), { recursive: true });
      const entries = await Promise.all(Array.from({ length: count }, async (_, i) => [String(i), await data.regions(`${split}/${i}`)] as const));
      await writeFeatures(path.join(directory, split, 'features.safetensors'), grid.name, entries);
    }
    const read = await readEasyVqa(directory, { featuriser: 'file', demand: { size: 192, by: 'test' } });
    expect(read.splits).toEqual(data.splits);
    expect(read.featureSize).toBe(192);
    expect(await read.regions('train/7')).toEqual(await data.regions('train/7'));
    await expect(readEasyVqa(directory, { featuriser: 'file', demand: { size: 7, by: 'a backbone' } })).rejects.toThrow('a backbone takes 7');
  });

  it('refuses raw images for a backbone of detector features', async () => {
    await expect(readEasyVqa(good, { demand: { size: 2048, by: 'lxmert base (visual_feat_dim)' } })).rejects.toThrow(/raw images by featuriser grid.*192 numbers per region, but lxmert base \(visual_feat_dim\) takes 2048\. That backbone needs pre-extracted features/);
  });

  it('says what is wrong with a directory', async () => {
    await expect(readEasyVqa(path.join(root, 'nowhere'))).rejects.toThrow(/answers\.txt cannot be read.*An easy-VQA directory holds/);
    const directory = await copy();
    await writeFile(path.join(directory, 'answers.txt'), 'yes\nno\nyes\n');
    await expect(readEasyVqa(directory)).rejects.toThrow("answers.txt, line 3: answer 'yes' stands there twice");
    const cut = await copy();
    await truncate(path.join(cut, 'train', 'questions.json'), 200);
    await expect(readEasyVqa(cut)).rejects.toThrow(/questions\.json, line \d+: not JSON/);
    const empty = await copy();
    await writeFile(path.join(empty, 'train', 'questions.json'), '[]');
    await writeFile(path.join(empty, 'train', 'families.json'), '[]');
    await expect(readEasyVqa(empty)).rejects.toThrow('the split is empty');
    const bare = path.join(root, 'bare');
    await mkdir(bare);
    await writeFile(path.join(bare, 'answers.txt'), 'yes\n');
    await expect(readEasyVqa(bare)).rejects.toThrow(/train.* cannot be /);
  });
});

describe.skipIf(!existsSync(original))('the real easy-VQA', () => {
  it('has the published counts and question-only majority', async () => {
    const data = await readEasyVqa(original);
    const { train, validation, test = [] } = data.splits;
    const all = [...train, ...validation];
    expect([all.length, test.length]).toEqual([38_575, 9_673]);
    expect([new Set(all.map((r) => r.image)).size, new Set(test.map((r) => r.image)).size, new Set(validation.map((r) => r.image)).size]).toEqual([4_000, 1_000, 400]);
    const yesNo = (records: typeof test) => records.filter((r) => r.answerType === 'yes/no').length;
    expect([yesNo(all), yesNo(test)]).toEqual([28_407, 7_136]);
    expect(new Set(all.map((r) => r.question)).size).toBe(107);
    expect(new Set(all.map((r) => r.questionType))).toEqual(new Set(['yes/no', 'shape', 'color']));
    expect(data.answers.length).toBe(13);
    expect(data.report()).toEqual([]);
    expect(questionOnlyAccuracy(all, test)).toBeCloseTo(0.67, 2);
    expect((await data.regions('test/0')).features.length).toBe(64 * 192);
  });
});
