import { didYouMean } from '@espalier/core';
import { ANSWER_FILES } from './answers-file.ts';
import { fileIn, namesIn } from './directory.ts';
import { DataError } from './errors.ts';
import type { RegionFiles } from './region-store.ts';

export type Vqa2Split = 'train' | 'validation' | 'test';

export interface Vqa2Files {
  readonly questions: string;
  readonly annotations?: string; // a test split has none
  readonly regions: RegionFiles;
}

export const VQA2_LAYOUT =
  "A vqa2 directory holds, for train, validation and test, SPLIT.questions.json, SPLIT.annotations.json and SPLIT.tsv (or SPLIT.features.safetensors), and answers.json; or the official file names; or LXMERT's train.json, nominival.json, minival.json and test.json.";

const official: Readonly<Record<Vqa2Split, string>> = { train: 'train2014', validation: 'val2014', test: '(?:test-dev2015|test2015)' };
const images: Readonly<Record<Vqa2Split, string>> = { train: 'train2014', validation: 'val2014', test: 'test2015' };
const folder: Readonly<Record<Vqa2Split, string>> = { train: 'trainval(?:2014)?', validation: 'trainval(?:2014)?', test: 'test2015' };

/** The regions of a split, in a file or VL-BERT's folder. */
export function vqa2Regions(directory: string, names: readonly string[], split: Vqa2Split): RegionFiles | undefined {
  const features = fileIn(directory, names, [
    new RegExp(`^${split}\\.features\\.safetensors$`),
    new RegExp(`^${split}\\.tsv$`),
    new RegExp(`^${images[split]}_obj36\\.tsv$`),
    new RegExp(`^${folder[split]}_resnet101_faster_rcnn_genome(?:_36)?$`),
    new RegExp(`^${folder[split]}_resnet101_faster_rcnn_genome(?:_36)?\\.tsv$`),
  ]);
  return features === undefined ? undefined : { features, sizes: fileIn(directory, names, [new RegExp(`^(?:instances|image_info)_${images[split]}\\.json$`)]) };
}

/** The files of each split there is, and the answer vocabulary. @throws DataError naming the directory, the missing file and the nearest one there. */
export async function vqa2Files(directory: string): Promise<{ splits: ReadonlyMap<Vqa2Split, Vqa2Files>; answers: string | undefined }> {
  const names = await namesIn(directory, VQA2_LAYOUT);
  const splits = new Map<Vqa2Split, Vqa2Files>();
  for (const split of ['train', 'validation', 'test'] as const) {
    const questions = fileIn(directory, names, [new RegExp(`^${split}\\.questions\\.json$`), new RegExp(`^v2_OpenEnded_mscoco_${official[split]}_questions\\.json$`)]);
    const annotations = fileIn(directory, names, [new RegExp(`^${split}\\.annotations\\.json$`), new RegExp(`^v2_mscoco_${official[split]}_annotations\\.json$`)]);
    const missing = (file: string) => new DataError(`${directory}: ${file} is missing.${didYouMean(file, names)} ${VQA2_LAYOUT}`);
    if (!questions) {
      if (split === 'train' || annotations) throw missing(`${split}.questions.json`);
      continue;
    }
    const regions = vqa2Regions(directory, names, split);
    if (!regions) throw missing(`${split}.tsv`);
    if (!annotations && split !== 'test') throw missing(`${split}.annotations.json`);
    splits.set(split, { questions, regions, ...(annotations && { annotations }) });
  }
  return { splits, answers: fileIn(directory, names, ANSWER_FILES) };
}
