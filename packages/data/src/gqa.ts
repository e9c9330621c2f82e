import path from 'node:path';
import { ANSWER_FILES } from './answers-file.ts';
import type { VqaData } from './dataset.ts';
import { fileIn, namesIn } from './directory.ts';
import { DataError } from './errors.ts';
import { readItems, type ItemPart } from './labelled-items.ts';
import type { OpenOptions } from './open-options.ts';

const LAYOUT =
  "A gqa directory holds LXMERT's train.json, valid.json and testdev.json, vg_gqa_obj36.tsv and gqa_testdev_obj36.tsv (or train.tsv and testdev.tsv, or .features.safetensors), and trainval_label2ans.json (or answers.json).";
const regionNames = (own: string, theirs: string) => [new RegExp(`^${own}\\.features\\.safetensors$`), new RegExp(`^${own}\\.tsv$`), new RegExp(`^${theirs}_obj36\\.tsv$`)];

/**
 * Reads GQA (arXiv 1902.09506) as LXMERT's authors repackaged it: `train.json`, and `valid.json`, `testdev.json`, `test.json` where they
 * are there = `[{question_id, img_id, sent, label: {answer: 1}}]`. With testdev, train and valid are the training split and
 * testdev is validation; else valid is validation. train and valid have their regions in `vg_gqa_obj36.tsv`, testdev in
 * `gqa_testdev_obj36.tsv`, test in `test.tsv`; the 1,842 answers are in `trainval_label2ans.json`.
 * @throws DataError naming file or record; single bad records are skipped and reported.
 */
export async function readGqa(directory: string, { featuriser = 'file', ...options }: OpenOptions = {}): Promise<VqaData> {
  if (featuriser !== 'file') throw new DataError(`gqa:${directory} reads pre-extracted regions and no images. Use featuriser 'file' in place of ${featuriser.name}.`);
  const names = await namesIn(directory, LAYOUT);
  const answers = fileIn(directory, names, ANSWER_FILES);
  if (!names.includes('train.json')) throw new DataError(`${directory}: train.json is missing. ${LAYOUT}`);
  if (answers === undefined) throw new DataError(`${directory}: trainval_label2ans.json is missing, the answers in the order of logits. ${LAYOUT}`);
  const testdev = names.includes('testdev.json');
  const wanted = [
    { part: 'train', split: 'train', regions: regionNames('train', 'vg_gqa') },
    { part: 'valid', split: testdev ? 'train' : 'validation', regions: regionNames('train', 'vg_gqa') },
    { part: 'testdev', split: 'validation', regions: regionNames('testdev', 'gqa_testdev') },
    { part: 'test', split: 'test', regions: regionNames('test', 'gqa_test') },
  ] as const;
  const parts = wanted.filter(({ part }) => names.includes(`${part}.json`)).map(({ part, split, regions }): ItemPart => {
    const features = fileIn(directory, names, regions);
    if (features === undefined) throw new DataError(`${directory}: the regions of ${part}.json are missing. ${LAYOUT}`);
    return { part, split, items: path.join(directory, `${part}.json`), regions: { features } };
  });
  return readItems(`gqa:${directory}`, parts, { answers, layout: LAYOUT }, options);
}
