import { z } from 'zod';
import { answerTypeOf, splitByImage, type AnswerType, type VqaData, type VqaRecord } from './dataset.ts';
import { DataError, issuesOf } from './errors.ts';
import type { FeatureDemand } from './feature-demand.ts';
import type { Regions } from './featuriser.ts';
import { readFeatures } from './features-file.ts';
import { findings, type Finding } from './findings.ts';
import { parseJson } from './json.ts';
import { readJson, readText } from './json-file.ts';
import { indexRegionTsv } from './region-tsv.ts';
import type { OpenOptions } from './open-options.ts';
import { cachedRegions } from './region-cache.ts';
import { answerVocabulary, normaliseAnswer, softScores } from './soft-score.ts';
import { VQA2_LAYOUT, vqa2Files, type Vqa2Files, type Vqa2Split } from './vqa2-files.ts';

const Id = z.union([z.int(), z.string().min(1)]);
const Question = z.object({ question_id: Id, image_id: Id, question: z.string().trim().min(1, 'the question is empty') });
const Annotation = z.object({
  question_id: Id,
  answers: z.array(z.object({ answer: z.string() })).min(1),
  multiple_choice_answer: z.string().optional(),
  answer_type: z.enum(['yes/no', 'number', 'other']).optional(),
  question_type: z.string().optional(),
});
const Answers = z.union([z.array(z.string()).min(1), z.record(z.string(), z.int().nonnegative())]);

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
  readonly regions: (image: string) => Regions | Promise<Regions>;
  readonly images: ReadonlyMap<string, string>; // number of the COCO image -> name in the features
  readonly size: number;
}

export interface Vqa2Options extends OpenOptions {
  /** An answer enters a vocabulary made from the training split when it is the majority's this often; default 9. */
  readonly minOccurrences?: number;
}

/**
 * Reads VQA v2 with pre-extracted regions (arXiv 1612.00837; LXMERT's features, arXiv 1908.07490). Directory: for SPLIT of
 * train, validation, test: `SPLIT.questions.json`, `SPLIT.annotations.json` (not needed for test), `SPLIT.tsv` (obj36
 * columns) or `SPLIT.features.safetensors`; `answers.json` = list of answers or map answer -> index. The official names
 * serve as well: `v2_OpenEnded_mscoco_train2014_questions.json`, `v2_mscoco_train2014_annotations.json`,
 * `train2014_obj36.tsv`, `trainval_label2ans.json`. Questions and annotations are joined by question_id, images by their
 * COCO number. Without a validation split 10 % of the training images are it; without a vocabulary it is made of the
 * training majorities. An answer given by k of n annotators has the leave-one-out score of `softScore`.
 * @throws DataError naming file, line or record; single bad records are skipped and reported.
 */
export async function readVqa2(directory: string, { featuriser = 'file', seed = 0, demand, cacheBytes = 2 ** 28, minOccurrences = 9 }: Vqa2Options = {}): Promise<VqaData> {
  if (featuriser !== 'file') throw new DataError(`vqa2:${directory} reads pre-extracted regions and no images. Use featuriser 'file' in place of ${featuriser.name}, or an easy-VQA directory for raw images.`);
  const { splits: files, answers: vocabularyFile } = await vqa2Files(directory);
  const raw: Raw[] = [];
  for (const [split, of] of files) raw.push(await readRaw(split, of, demand));
  const [train] = raw;
  if (!train) throw new DataError(`${directory}: no training split. ${VQA2_LAYOUT}`);
  for (const { file, size } of raw)
    if (size !== train.size) throw new DataError(`${file}: its features are ${size} numbers wide, those of train ${train.size}. Extract them alike.`);
  const answers = vocabularyFile ? await readVocabulary(vocabularyFile) : answerVocabulary([...(train.labels?.values() ?? [])].map((l) => l.majority), minOccurrences);
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
    featureSize: train.size,
    regions: cachedRegions(async (key) => {
      const [split = '', image = ''] = key.split('/');
      const source = bySplit.get(split);
      const name = source?.images.get(image);
      if (!source || name === undefined) throw new DataError(`${directory}: no regions of image '${key}'. Images are named SPLIT/NUMBER, as records name them.`);
      return source.regions(name);
    }, cacheBytes),
    report: () => raw.flatMap((r) => [...r.labelReport, ...(read.get(r.split)?.report ?? [])]),
  };
}

async function readRaw(split: Vqa2Split, files: Vqa2Files, demand: FeatureDemand | undefined): Promise<Raw> {
  const { questions } = await readJson(files.questions, z.object({ questions: z.array(z.unknown()) }), VQA2_LAYOUT);
  const labels = files.annotations === undefined ? undefined : await readLabels(files.annotations);
  const features = files.features.endsWith('.tsv') ? await indexRegionTsv(files.features, demand) : await readFeatures(files.features, demand);
  return {
    split,
    questions,
    file: files.questions,
    labels: labels?.labels,
    labelReport: labels?.report ?? [],
    regions: features.regions,
    images: new Map(features.images.map((image) => [imageNumber(image), image])),
    size: features.size,
  };
}

async function readLabels(file: string): Promise<{ labels: ReadonlyMap<string, Label>; report: readonly Finding[] }> {
  const { annotations } = await readJson(file, z.object({ annotations: z.array(z.unknown()) }), VQA2_LAYOUT);
  const found = findings(file);
  const labels = new Map<string, Label>();
  annotations.forEach((raw, n) => {
    const parsed = Annotation.safeParse(raw);
    if (!parsed.success) {
      found.skip('not an annotation', `annotation ${n}: ${issuesOf(parsed.error)}`);
      return;
    }
    const { question_id, answers, multiple_choice_answer, answer_type, question_type } = parsed.data;
    const given = answers.map(({ answer }) => normaliseAnswer(answer));
    const majority = multiple_choice_answer === undefined ? answerVocabulary(given, 1)[0]! : normaliseAnswer(multiple_choice_answer);
    const answerType = answer_type ?? answerTypeOf(majority);
    if (labels.has(String(question_id))) found.skip('annotated twice', `annotation ${n}: question ${question_id}`);
    else labels.set(String(question_id), { answers: given, majority, answerType, questionType: question_type ?? answerType });
  });
  return { labels, report: found.close(annotations.length) };
}

/** 'COCO_val2014_000000000042' and 42 are the same image: '42'. */
function imageNumber(image: string): string {
  return /^(?:COCO_\w+?_)?0*(\d+)$/.exec(image)?.[1] ?? image;
}

function records({ split, questions, file, labels, images }: Raw, vocabulary: ReadonlyMap<string, number>): { records: readonly VqaRecord[]; report: readonly Finding[] } {
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
    else if (!images.has(image)) found.skip('image missing', `question ${n}: image ${parsed.data.image_id} has no regions`);
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

/** A JSON list, a JSON map answer -> index without gaps, or text with an answer a line. */
async function readVocabulary(file: string): Promise<readonly string[]> {
  const text = await readText(file, VQA2_LAYOUT);
  if (file.endsWith('.txt')) return text.split(/\r?\n/).filter((line, i, all) => line !== '' || i < all.length - 1);
  const parsed = parseJson(text, Answers, file);
  const places = Array.isArray(parsed) ? parsed.map((answer, index) => [answer, index] as const) : Object.entries(parsed).sort(([, a], [, b]) => a - b);
  places.forEach(([answer, index], i) => {
    if (index !== i) throw new DataError(`${file}: answer '${answer}' has index ${index} where ${i} was expected. Indices run from 0 without gaps, each once.`);
  });
  const answers = places.map(([answer]) => answer);
  if (new Set(answers).size !== answers.length) throw new DataError(`${file}: an answer stands there twice: '${answers.find((a, i) => answers.indexOf(a) !== i)}'`);
  return answers;
}
