import { readFile } from 'node:fs/promises';
import { EspalierError } from '@espalier/core';
import { batches, decodeImage, featuriserFrom, type VqaRecord } from '@espalier/data';
import { reasonOf } from './errors.ts';
import type { OpenedModel } from './model-directory.ts';
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
export async function predict({ task, model, adapted, tokens, directory }: OpenedModel, { image, question, top = 5 }: PredictOptions): Promise<Answered> {
  if (task.features === 'file')
    throw new EspalierError(`${directory} was trained on extracted features (${model.featureSize} numbers per region), which cannot be made from an image here. Ask a model that was trained with --features grid or components.`);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(image);
  } catch (e) {
    throw new EspalierError(`--image ${image} cannot be read (${reasonOf(e)})`);
  }
  const regions = featuriserFrom(task.features).regions(decodeImage(bytes, image));
  const record: VqaRecord = { id: image, image, question, scores: [], answerType: 'unlabelled', questionType: 'unlabelled' };
  const data = { answers: task.answers, featureSize: model.featureSize, regions: () => Promise.resolve(regions) };
  const answers: Answered['answers'][number][] = [];
  for await (const batch of batches([record], { data, tokenizer: tokens, batchSize: 1 })) {
    const logits = await logitsOf(adapted, model, batch);
    logits.forEach((logit, i) => answers.push({ answer: task.answers[i]!, probability: sigmoid(logit), logit }));
  }
  answers.sort((a, b) => b.logit - a.logit);
  const unknownWords = tokens.encode(question).filter((id) => id === tokens.specials.unknown).length;
  return { type: 'prediction', image, question, answers: answers.slice(0, top), unknownWords };
}
