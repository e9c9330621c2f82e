import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { didYouMean } from '@espalier/core';
import { DataError, reasonOf } from './errors.ts';

export type Vqa2Split = 'train' | 'validation' | 'test';

export interface Vqa2Files {
  readonly questions: string;
  readonly annotations?: string; // a test split has none
  readonly features: string; // .tsv or .features.safetensors
}

export const VQA2_LAYOUT =
  'A vqa2 directory holds, for train, validation and test, SPLIT.questions.json, SPLIT.annotations.json and SPLIT.tsv (or SPLIT.features.safetensors), and answers.json; or the official file names.';

const official: Readonly<Record<Vqa2Split, string>> = { train: 'train2014', validation: 'val2014', test: '(?:test-dev2015|test2015)' };

const patterns = (split: Vqa2Split) => ({
  questions: [new RegExp(`^${split}\\.questions\\.json$`), new RegExp(`^v2_OpenEnded_mscoco_${official[split]}_questions\\.json$`)],
  annotations: [new RegExp(`^${split}\\.annotations\\.json$`), new RegExp(`^v2_mscoco_${official[split]}_annotations\\.json$`)],
  features: [new RegExp(`^${split}\\.features\\.safetensors$`), new RegExp(`^${split}\\.tsv$`), new RegExp(`^${official[split]}_obj36\\.tsv$`)],
});

/** The files of each split there is, and the answer vocabulary. @throws DataError naming the directory, the missing file and the nearest one there. */
export async function vqa2Files(directory: string): Promise<{ splits: ReadonlyMap<Vqa2Split, Vqa2Files>; answers: string | undefined }> {
  let names: string[];
  try {
    names = (await readdir(directory)).sort();
  } catch (e) {
    throw new DataError(`${directory} cannot be listed (${reasonOf(e)}). ${VQA2_LAYOUT}`);
  }
  const find = (wanted: readonly RegExp[]) => {
    for (const pattern of wanted) {
      const [first, second] = names.filter((name) => pattern.test(name));
      if (second) throw new DataError(`${directory}: both ${first} and ${second} could be meant. Keep one of them there.`);
      if (first) return path.join(directory, first);
    }
    return undefined;
  };
  const splits = new Map<Vqa2Split, Vqa2Files>();
  for (const split of ['train', 'validation', 'test'] as const) {
    const { questions, annotations, features } = patterns(split);
    const found = { questions: find(questions), annotations: find(annotations), features: find(features) };
    const missing = (file: string) =>
      new DataError(`${directory}: ${file} is missing.${didYouMean(file, names)} ${VQA2_LAYOUT}`);
    if (!found.questions) {
      if (split === 'train' || found.annotations) throw missing(`${split}.questions.json`);
      continue;
    }
    if (!found.features) throw missing(`${split}.tsv`);
    if (!found.annotations && split !== 'test') throw missing(`${split}.annotations.json`);
    splits.set(split, { questions: found.questions, features: found.features, ...(found.annotations && { annotations: found.annotations }) });
  }
  return { splits, answers: find([/^answers\.json$/, /^answers\.txt$/, /^trainval_label2ans\.json$/, /^answers_vqa\.txt$/]) };
}
