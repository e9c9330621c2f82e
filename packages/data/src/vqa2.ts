import { z } from 'zod';
import { readAnswers } from './answers-file.ts';
import { splitByImage, type AnswerType, type VqaData, type VqaRecord } from './dataset.ts';
import { namesIn } from './directory.ts';
import { DataError, issuesOf } from './errors.ts';
import type { FeatureDemand } from './feature-demand.ts';
import { findings, type Finding } from './findings.ts';
import { readJson } from './json-file.ts';
import { isRepackaged, readRepackagedVqa2 } from './repackaged-vqa2.ts';
import type { OpenOptions } from './open-options.ts';
import { cachedRegions } from './region-cache.ts';
import { imageNumber, openRegions, type RegionStore } from './region-store.ts';
import { answerVocabulary, normaliseAnswer, softScores } from './soft-score.ts';
import { Id, readVqaAnnotations } from './vqa-annotations.ts';
import { VQA2_LAYOUT, vqa2Files, type Vqa2Files, type Vqa2Split } from './vqa2-files.ts';

const Question = z.object({ question_id: Id, image_id: Id, question: z.string().trim().min(1, 'the question is empty') });

interface Label {
  readonly answers: readonly string[]; // of the annotators, normalised
  readonly majority: string;
  readonly answerType: AnswerType;
  readonly questionType: string;
}

interface Raw {
  readonly split: Vqa2Split;
  readonly questions: readonly unknown[];
  readonly file: string;
  readonly labels: ReadonlyMap<string, Label> | undefined;
  readonly labelReport: readonly Finding[];
  readonly store: RegionStore;
}

export interface Vqa2Options extends OpenOptions {
  /** An answer enters a vocabulary made from the training split when it is the majority's this often; default 9. */
  readonly minOccurrences?: number;
}

/**
 * Reads VQA v2 with pre-extracted regions (arXiv 1612.00837; LXMERT's features, arXiv 1908.07490). Directory: for SPLIT of
 * train, validation, test: `SPLIT.questions.json`, `SPLIT.annotations.json` (not needed for test), regions; `answers.json` = list of
 * answers or map answer -> index. Regions are `SPLIT.tsv` (columns of obj36 or of bottom-up attention),
 * `SPLIT.features.safetensors`, or VL-BERT's folder `trainval2014_resnet101_faster_rcnn_genome` of one JSON per image with
 * COCO's `instances_train2014.json` (val2014; `image_info_test2015.json`) for the sizes. The official names serve as well:
 * `v2_OpenEnded_mscoco_train2014_questions.json`, `v2_mscoco_train2014_annotations.json`, `train2014_obj36.tsv`,
 * `trainval_label2ans.json`, `answers_vqa.txt`. Questions and annotations are joined by question_id, images by their COCO
 * number. Without a validation split 10 % of the training images are it; without a vocabulary it is made of the training
 * majorities. An answer given by k of n annotators has the leave-one-out score of `softScore`. A directory with
 * `train.json` is read by `readRepackagedVqa2`.
 * @throws DataError naming file, line or record; single bad records are skipped and reported.
 */
export async function readVqa2(directory: string, options: Vqa2Options = {}): Promise<VqaData> {
  const { featuriser = 'file', seed = 0, demand, cacheBytes = 2 ** 28, minOccurrences = 9 } = options;
  if (featuriser !== 'file') throw new DataError(`vqa2:${directory} reads pre-extracted regions and no images. Use featuriser 'file' in place of ${featuriser.name}, or an easy-VQA directory for raw images.`);
  if (isRepackaged(await namesIn(directory, VQA2_LAYOUT))) return readRepackagedVqa2(directory, options);
  const { splits: files, answers: vocabularyFile } = await vqa2Files(directory);
  const raw: Raw[] = [];
  for (const [split, of] of files) raw.push(await readRaw(split, of, demand));
  const [train] = raw;
  if (!train) throw new DataError(`${directory}: no training split. ${VQA2_LAYOUT}`);
  for (const { file, store } of raw)
    if (store.size !== train.store.size) throw new DataError(`${file}: its features are ${store.size} numbers wide, those of train ${train.store.size}. Extract them alike.`);
  const answers = vocabularyFile ? await readAnswers(vocabularyFile, VQA2_LAYOUT) : answerVocabulary([...(train.labels?.values() ?? [])].map((l) => l.majority), minOccurrences);
  if (!answers.length) throw new DataError(`${directory}: no answer is the majority's ${minOccurrences} times. Lower minOccurrences or give answers.json.`);
  const known = new Map(answers.map((answer, index) => [answer, index]));
  const read = new Map(raw.map((r) => [r.split, records(r, known)]));
  const of = (split: Vqa2Split) => read.get(split)?.records;
  const [trainRecords, validation, test] = [of('train') ?? [], of('validation'), of('test')];
  const bySplit = new Map<string, Raw>(raw.map((r) => [r.split, r]));
  return {
    name: `vqa2:${directory}`,
    answers,
    splits: { ...(validation ? { train: trainRecords, validation } : splitByImage(trainRecords, seed)), ...(test && { test }) },
    featureSize: train.store.size,
    regions: cachedRegions(async (key) => {
      const [split = '', image = ''] = key.split('/');
      const store = bySplit.get(split)?.store;
      const name = store?.images.get(image);
      if (!store || name === undefined) throw new DataError(`${directory}: no regions of image '${key}'. Images are named SPLIT/NUMBER, as records name them.`);
      return store.regions(name);
    }, cacheBytes),
    report: () => raw.flatMap((r) => [...r.labelReport, ...(read.get(r.split)?.report ?? [])]),
  };
}

async function readRaw(split: Vqa2Split, files: Vqa2Files, demand: FeatureDemand | undefined): Promise<Raw> {
  const { questions } = await readJson(files.questions, z.object({ questions: z.array(z.unknown()) }), VQA2_LAYOUT);
  const labels = files.annotations === undefined ? undefined : await readLabels(files.annotations);
  return { split, questions, file: files.questions, labels: labels?.labels, labelReport: labels?.report ?? [], store: await openRegions(files.regions, demand) };
}

async function readLabels(file: string): Promise<{ labels: ReadonlyMap<string, Label>; report: readonly Finding[] }> {
  const { questions, report } = await readVqaAnnotations(file);
  return { labels: new Map(questions.map(({ questionId, answers, ...label }) => [String(questionId), { ...label, answers: answers.map(normaliseAnswer) }])), report };
}

function records({ split, questions, file, labels, store }: Raw, vocabulary: ReadonlyMap<string, number>): { records: readonly VqaRecord[]; report: readonly Finding[] } {
  const found = findings(file);
  const seen = new Set<string>();
  const list: VqaRecord[] = [];
  questions.forEach((raw, n) => {
    const parsed = Question.safeParse(raw);
    if (!parsed.success) {
      found.skip('not a question', `question ${n}: ${issuesOf(parsed.error)}`);
      return;
    }
    const id = String(parsed.data.question_id);
    const image = imageNumber(String(parsed.data.image_id));
    const label = labels?.get(id);
    if (seen.has(id)) found.skip('question_id twice', `question ${n}: question_id ${id}`);
    else if (labels && !label) found.skip('annotation missing', `question ${n}: question_id ${id}`);
    else if (!store.images.has(image)) found.skip('image missing', `question ${n}: image ${parsed.data.image_id} has no regions`);
    else {
      const scores = label ? softScores(label.answers, vocabulary) : [];
      if (label && !scores.length) found.note('no answer in the vocabulary, target all zero', `question ${n}: '${label.majority}'`);
      const { answerType, questionType } = label ?? { answerType: 'unlabelled' as const, questionType: 'unlabelled' };
      list.push({ id: `${split}/${id}`, image: `${split}/${image}`, question: parsed.data.question, scores, answerType, questionType });
    }
    seen.add(id);
  });
  return { records: list, report: found.close(questions.length) };
}
