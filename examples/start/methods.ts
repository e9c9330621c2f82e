import { readFile } from 'node:fs/promises';
import type { JsonLine } from '@espalier/cli';
import { z } from 'zod';
import type { MethodResult } from './charts.ts';

/** The task: which colour, shape or size the described one of at most two objects has. Its questions are new to the backbone. */
export const DATA = 'shapes:{"train":2600,"test":600,"most":2,"families":["attribute"]}';

/** One way of fine-tuning, as arguments of `espalier train`. */
export interface Method {
  readonly key: string;
  readonly says: string;
  readonly args: readonly string[];
}

/** In order of what they cost, the dearest first so that two at a time end together. */
export const methods: readonly Method[] = [
  { key: 'full', says: 'every weight is trained', args: ['--plugin', 'tune:{"preset":"all"}', '--lr', '5e-4'] },
  { key: 'lora', says: 'rank-8 products beside the query and value projections', args: ['--plugin', 'lora:{"rank":8}', '--lr', '5e-3'] },
  { key: 'head', says: 'the backbone stays frozen, only the answer head is trained', args: ['--lr', '5e-3'] },
];

const Share = z.looseObject({ accuracy: z.number(), questions: z.number() });
const Summary = z.looseObject({
  accuracy: z.number(),
  trainableParameters: z.number(),
  seconds: z.number(),
  flopsPerSample: z.number(),
  byQuestionType: z.record(z.string(), Share),
});

/** The part of a training's summary that the table and the pictures need. */
export function resultOf(backbone: string, method: Method, line: JsonLine): MethodResult & { readonly key: string } {
  const s = Summary.parse(line);
  return { backbone, key: method.key, method: method.key, accuracy: s.accuracy, trainable: s.trainableParameters, seconds: s.seconds, flops: s.flopsPerSample, byType: s.byQuestionType };
}

const PredictionLine = z.looseObject({
  id: z.string(),
  image: z.string(),
  question: z.string(),
  answer: z.string(), // the true one
  predicted: z.string(),
  probability: z.number(),
  answerType: z.string(),
  questionType: z.string(),
});
/** One answered question. */
export type Prediction = z.infer<typeof PredictionLine>;

/** The predictions `espalier eval` wrote, a JSON object a line. */
export async function readPredictions(file: string): Promise<Prediction[]> {
  const text = await readFile(file, 'utf8');
  return text.split('\n').filter(Boolean).map((line) => PredictionLine.parse(JSON.parse(line)));
}
