import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { didYouMean } from '@espalier/core';
import { z } from 'zod';
import { answerTypeOf, splitByImage, type VqaData, type VqaRecord } from './dataset.ts';
import { namesIn } from './directory.ts';
import { DataError, issuesOf } from './errors.ts';
import { checkFeatureSize } from './feature-demand.ts';
import { readFeatures, type FeatureFile } from './features-file.ts';
import { findings, type Finding } from './findings.ts';
import { gridRegions } from './grid-regions.ts';
import { decodeImage, type RgbImage } from './image.ts';
import { readJson, readText } from './json-file.ts';
import type { OpenOptions } from './open-options.ts';
import { cachedRegions } from './region-cache.ts';

const LAYOUT = 'An easy-VQA directory holds answers.txt and, in train/ and test/, questions.json and images/.';
const Entry = z.tuple(
  [z.string().trim().min(1, 'the question is empty'), z.string(), z.union([z.int(), z.string()], 'the image is neither a number nor a name')],
  'a question needs its answer and its image',
);
const COLOURS = new Set(['black', 'gray', 'red', 'green', 'blue', 'yellow', 'teal', 'brown']);
const SHAPES = new Set(['circle', 'rectangle', 'triangle']);

/**
 * Reads an easy-VQA directory: `answers.txt` (one answer a line) and per split (train, and test where there is one)
 * `questions.json` = [[question, answer, image], ...] with `images/IMAGE.png`, `.jpg` or `.jpeg` of any size.
 * `families.json`, a list of one question family per question, is optional; without it the family is told by the answer
 * ('yes/no', 'shape', 'color', ...). With `featuriser: 'file'` regions come from `features.safetensors` of each split
 * instead of images. 10 % of the training images, chosen by (seed, name), are the validation split.
 * @throws DataError naming file and record; single bad records are skipped and reported, more than half of them throw.
 */
export async function readEasyVqa(directory: string, { featuriser = gridRegions(), seed = 0, demand, cacheBytes = 2 ** 28 }: OpenOptions = {}): Promise<VqaData> {
  const answers = await readAnswers(path.join(directory, 'answers.txt'));
  if (featuriser !== 'file')
    checkFeatureSize(featuriser.size, demand, `${directory}: raw images by featuriser ${featuriser.name}`, `That backbone needs pre-extracted features: write features.safetensors for each split and use featuriser 'file'.`);
  const known = new Map(answers.map((answer, index) => [answer, index]));
  const names = (await namesIn(directory, LAYOUT)).includes('test') ? (['train', 'test'] as const) : (['train'] as const);
  const splits = await Promise.all(
    names.map(async (split) => {
      const folder = path.join(directory, split);
      const features = featuriser === 'file' ? await readFeatures(path.join(folder, 'features.safetensors'), demand) : undefined;
      const images = features ? new Map(features.images.map((image) => [image, image])) : await imageFiles(path.join(folder, 'images'));
      return { split, folder, features, images, ...(await readSplit(folder, split, known, images)) };
    }),
  );
  const of = new Map<string, (typeof splits)[number]>(splits.map((s) => [s.split, s]));
  const place = (key: string) => {
    const slash = key.indexOf('/');
    const split = of.get(key.slice(0, slash));
    const file = split?.images.get(key.slice(slash + 1));
    if (!split || file === undefined) throw new DataError(`${directory}: no image '${key}'. Images are named SPLIT/NAME, as records name them.`);
    return { ...split, file, name: key.slice(slash + 1) };
  };
  const image = async (key: string): Promise<RgbImage> => {
    const { folder, file } = place(key);
    const at = path.join(folder, 'images', file);
    return decodeImage(await readFile(at), at);
  };
  const [first, second] = splits;
  if (!first) throw new DataError(`${directory}: no training split. ${LAYOUT}`);
  const size = featuriser === 'file' ? sharedSize(directory, splits.flatMap(({ features }) => features ?? [])) : featuriser.size;
  return {
    name: `easy-vqa:${directory}`,
    answers,
    splits: { ...splitByImage(first.records, seed), ...(second && { test: second.records }) },
    featureSize: size,
    ...(featuriser === 'file'
      ? { regions: async (key: string) => readFrom(place(key)) }
      : { image, regions: cachedRegions(async (key) => featuriser.regions(await image(key)), cacheBytes) }),
    report: () => splits.flatMap((s) => s.report),
  };
}

function readFrom({ features, name, folder }: { features: FeatureFile | undefined; name: string; folder: string }) {
  if (!features) throw new DataError(`${folder}: features.safetensors was not read`);
  return features.regions(name);
}

function sharedSize(directory: string, files: readonly FeatureFile[]): number {
  const sizes = [...new Set(files.map(({ size }) => size))];
  if (sizes.length !== 1) throw new DataError(`${directory}: features.safetensors of train and test are ${sizes.join(' and ')} numbers wide. Extract them alike.`);
  return sizes[0]!;
}

async function readAnswers(file: string): Promise<readonly string[]> {
  const answers = (await readText(file, LAYOUT)).split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== '');
  const twice = answers.find((answer, i) => answers.indexOf(answer) !== i);
  if (twice !== undefined) throw new DataError(`${file}, line ${answers.lastIndexOf(twice) + 1}: answer '${twice}' stands there twice. Remove one.`);
  if (!answers.length) throw new DataError(`${file}: no answers. Write one answer on each line.`);
  return answers;
}

/** Image name -> file name. */
async function imageFiles(directory: string): Promise<ReadonlyMap<string, string>> {
  const files = (await namesIn(directory, LAYOUT)).filter((file) => /\.(png|jpe?g)$/i.test(file));
  return new Map(files.map((file) => [file.slice(0, file.lastIndexOf('.')), file]));
}

async function readSplit(folder: string, split: string, answers: ReadonlyMap<string, number>, images: ReadonlyMap<string, string>): Promise<{ records: readonly VqaRecord[]; report: readonly Finding[] }> {
  const file = path.join(folder, 'questions.json');
  const entries = await readJson(file, z.array(z.unknown()), LAYOUT);
  const families = (await namesIn(folder, LAYOUT)).includes('families.json') ? await readJson(path.join(folder, 'families.json'), z.array(z.string()), LAYOUT) : undefined;
  if (families && families.length !== entries.length)
    throw new DataError(`${path.join(folder, 'families.json')}: ${families.length} families for ${entries.length} questions of questions.json. It holds one per question, in their order.`);
  const found = findings(file);
  const records: VqaRecord[] = [];
  entries.forEach((raw, n) => {
    const entry = Entry.safeParse(raw);
    if (!entry.success) {
      found.skip('not [question, answer, image]', `record ${n}: ${issuesOf(entry.error)}, found ${JSON.stringify(raw).slice(0, 100)}`);
      return;
    }
    const [question, answer, imageId] = entry.data;
    const index = answers.get(answer);
    const name = String(imageId);
    if (index === undefined) found.skip('unknown answer', `record ${n}: answer '${answer}' is not in answers.txt.${didYouMean(answer, answers.keys())}`);
    else if (!images.has(name)) found.skip('image missing', `record ${n}: ${path.join(folder, 'images', `${name}.png`)} (or .jpg, .jpeg)`);
    else records.push({ id: `${split}/${n}`, image: `${split}/${name}`, question, scores: [[index, 1]], answerType: answerTypeOf(answer), questionType: families?.[n] ?? familyOf(answer) });
  });
  return { records, report: found.close(entries.length) };
}

/** The question family of the real easy-VQA, which has no families.json. */
function familyOf(answer: string): string {
  const type = answerTypeOf(answer);
  if (type !== 'other') return type;
  if (SHAPES.has(answer)) return 'shape';
  return COLOURS.has(answer) ? 'color' : 'other';
}
