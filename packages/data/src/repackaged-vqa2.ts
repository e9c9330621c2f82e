import path from 'node:path';
import { ANSWER_FILES } from './answers-file.ts';
import type { VqaData } from './dataset.ts';
import { fileIn, namesIn } from './directory.ts';
import { DataError } from './errors.ts';
import { readItems, type ItemPart } from './labelled-items.ts';
import type { OpenOptions } from './open-options.ts';
import { VQA2_LAYOUT, vqa2Regions } from './vqa2-files.ts';

/** LXMERT's minival are the questions about the images in the first rows of val2014_obj36.tsv. */
const MINIVAL_IMAGES = 5000;
const PARTS = [
  { part: 'train', split: 'train', images: 'train' },
  { part: 'nominival', split: 'train', images: 'validation' },
  { part: 'minival', split: 'validation', images: 'validation', first: MINIVAL_IMAGES },
  { part: 'test', split: 'test', images: 'test' },
] as const;

/** Whether a directory holds LXMERT's items. */
export const isRepackaged = (names: readonly string[]): boolean => names.includes('train.json');

/**
 * Reads VQA v2 as LXMERT's authors repackaged it (arXiv 1908.07490): `train.json`, and `nominival.json`, `minival.json`,
 * `test.json` where they are there = `[{question_id, img_id, sent, label: {answer: score}, answer_type, question_type}]`, no
 * label for test. They train on train and nominival and validate on minival, as the splits here do; minival are the questions
 * about the first 5,000 images of `val2014_obj36.tsv`, of which no more is read when nominival is not there. Regions and
 * answers (needed) as in `readVqa2`. @throws DataError naming file or record; single bad records are skipped and reported.
 */
export async function readRepackagedVqa2(directory: string, options: Omit<OpenOptions, 'featuriser'> = {}): Promise<VqaData> {
  const names = await namesIn(directory, VQA2_LAYOUT);
  const answers = fileIn(directory, names, ANSWER_FILES);
  if (answers === undefined) throw new DataError(`${directory}: trainval_label2ans.json is missing, the answers in the order of logits. ${VQA2_LAYOUT}`);
  const parts = PARTS.filter(({ part }) => names.includes(`${part}.json`)).map(({ part, split, images, ...limits }): ItemPart => {
    const regions = vqa2Regions(directory, names, images);
    if (!regions) throw new DataError(`${directory}: ${images}.tsv, the regions of ${part}.json, is missing. ${VQA2_LAYOUT}`);
    return { part, split, items: path.join(directory, `${part}.json`), regions: { ...regions, ...limits } };
  });
  return readItems(`vqa2:${directory}`, parts, { answers, layout: VQA2_LAYOUT }, options);
}
