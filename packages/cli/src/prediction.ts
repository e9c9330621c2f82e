import type { OpenedModel } from './model-directory.ts';
import { questionBatch } from './question-batch.ts';
import { logitsOf, sigmoid } from './scoring.ts';

export interface PredictOptions {
  readonly image: string; // a PNG or JPEG file
  readonly question: string;
  readonly top?: number; // answers to give; default 5
}

/** What a model answers to one question. */
export interface Answered {
  readonly type: 'prediction';
  readonly image: string;
  readonly question: string;
  /** Best first. The probability is the sigmoid of the answer's logit: one decision per answer, so they need not sum to 1. */
  readonly answers: readonly { readonly answer: string; readonly probability: number; readonly logit: number }[];
  readonly unknownWords: number; // word pieces of the question that the vocabulary lacks
}

/** Asks a trained model about an image. @throws EspalierError for an image that cannot be read and a model that was trained on extracted features. */
export async function predict(opened: OpenedModel, { image, question, top = 5 }: PredictOptions): Promise<Answered> {
  const { task, model, adapted, tokens } = opened;
  const { batch } = await questionBatch(opened, image, question);
  const logits = await logitsOf(adapted, model, batch);
  const answers = Array.from(logits, (logit, i) => ({ answer: task.answers[i]!, probability: sigmoid(logit), logit })).sort((a, b) => b.logit - a.logit);
  const unknownWords = tokens.encode(question).filter((id) => id === tokens.specials.unknown).length;
  return { type: 'prediction', image, question, answers: answers.slice(0, top), unknownWords };
}
