import { tensorsIn, type Adapted } from '@espalier/core';
import { batches, type VqaData, type VqaRecord, type WordPiece } from '@espalier/data';
import type { VqaModel } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { setImmediate } from 'node:timers/promises';

/** Accuracy over some questions. */
export interface Share {
  readonly accuracy: number; // mean soft score of the answers given
  readonly questions: number;
}

/** How a model answers the questions of a split. */
export interface Score extends Share {
  readonly loss: number; // binary cross-entropy summed over answers, mean over questions
  readonly byAnswerType: Readonly<Record<string, Share>>;
  readonly byQuestionType: Readonly<Record<string, Share>>;
  readonly cut: number; // questions that were cut to the limit
}

/** One answered question. */
export interface Prediction {
  readonly id: string;
  readonly image: string;
  readonly question: string;
  readonly answer: string; // the true one, that of the highest score; '' when there is none in the vocabulary
  readonly predicted: string;
  readonly probability: number; // sigmoid of its logit
  readonly score: number; // soft score of what was predicted
  readonly answerType: string;
  readonly questionType: string;
}

export interface Scored {
  readonly adapted: Adapted<unknown>;
  readonly model: VqaModel<unknown>;
  readonly data: Pick<VqaData, 'answers' | 'featureSize' | 'regions'>;
  readonly tokens: WordPiece;
  readonly batchSize: number; // how questions are padded together, and so the last bits
}

export interface ScoreOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onBatch?: (done: number, of: number) => void;
  readonly onPrediction?: (prediction: Prediction) => void;
}

/** Answers every question and compares. Undefined when the signal asked to stop. */
export async function scoreRecords({ adapted, model, data, tokens, batchSize }: Scored, records: readonly VqaRecord[], { signal, onBatch, onPrediction }: ScoreOptions = {}): Promise<Score | undefined> {
  const source = batches(records, { data, tokenizer: tokens, batchSize });
  const all = tally();
  const answerTypes = new Map<string, Tally>();
  const questionTypes = new Map<string, Tally>();
  let loss = 0;
  let at = 0;
  for await (const batch of source) {
    if (signal?.aborted) return undefined;
    const logits = await logitsOf(adapted, model, batch);
    for (let b = 0; b < batch.ids.length; b++) {
      const record = records[at++]!;
      const x = logits.subarray(b * batch.answers, (b + 1) * batch.answers);
      const y = batch.targets.subarray(b * batch.answers, (b + 1) * batch.answers);
      const predicted = indexOfMax(x);
      const score = y[predicted]!;
      loss += crossEntropy(x, y);
      for (const t of [all, entry(answerTypes, record.answerType), entry(questionTypes, record.questionType)]) t.add(score);
      onPrediction?.({
        id: record.id, image: record.image, question: record.question,
        answer: record.scores.length ? data.answers[indexOfMax(y)]! : '',
        predicted: data.answers[predicted]!, probability: sigmoid(x[predicted]!), score,
        answerType: record.answerType, questionType: record.questionType,
      });
    }
    onBatch?.(at, records.length);
    await setImmediate(); // a backend may compute without ever waiting: let signals have their turn
  }
  return { ...all.share(), loss: loss / at, byAnswerType: shares(answerTypes), byQuestionType: shares(questionTypes), cut: source.cut() };
}

/** Logits [B, A] of a batch, on the host. */
export async function logitsOf(adapted: Adapted<unknown>, model: VqaModel<unknown>, batch: Parameters<VqaModel<unknown>['inputs']>[0]): Promise<Float32Array> {
  const inputs = model.inputs(batch);
  try {
    const logits = await adapted.forward(inputs, { samples: batch.ids });
    const values = await logits.data<'float32'>();
    logits.dispose();
    return values;
  } finally {
    tf.dispose(tensorsIn(inputs));
  }
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** sum of max(x, 0) - x y + log(1 + exp(-|x|)) over answers. */
const crossEntropy = (x: Float32Array, y: Float32Array): number => x.reduce((sum, v, i) => sum + Math.max(v, 0) - v * y[i]! + Math.log1p(Math.exp(-Math.abs(v))), 0);

const indexOfMax = (values: Float32Array): number => values.reduce((best, v, i) => (v > values[best]! ? i : best), 0);

interface Tally {
  add(score: number): void;
  share(): Share;
}

function tally(): Tally {
  let [sum, questions] = [0, 0];
  return {
    add: (score) => {
      sum += score;
      questions++;
    },
    share: () => ({ accuracy: sum / questions, questions }),
  };
}

function entry(tallies: Map<string, Tally>, name: string): Tally {
  const found = tallies.get(name) ?? tally();
  tallies.set(name, found);
  return found;
}

const shares = (tallies: ReadonlyMap<string, Tally>): Record<string, Share> =>
  Object.fromEntries([...tallies].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, t]) => [name, t.share()]));
