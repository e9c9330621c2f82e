import { readFile } from 'node:fs/promises';
import { EspalierError } from '@espalier/core';
import { batches, decodeImage, featuriserFrom, type Regions, type RgbImage, type VqaRecord } from '@espalier/data';
import type { VqaExamples } from '@espalier/vl-models';
import { reasonOf } from './errors.ts';
import type { OpenedModel } from './model-directory.ts';

/** A question about an image file as a batch of one, with what it was made of. */
export interface QuestionBatch {
  readonly batch: VqaExamples;
  readonly image: RgbImage;
  readonly regions: Regions;
}

/** Makes the batch as the model was trained. @throws EspalierError for an image that cannot be read and a model that was trained on extracted features. */
export async function questionBatch({ task, model, tokens, directory }: OpenedModel, file: string, question: string): Promise<QuestionBatch> {
  if (task.features === 'file')
    throw new EspalierError(`${directory} was trained on extracted features (${model.featureSize} numbers per region), which cannot be made from an image here. Take a model that was trained with --features grid or components.`);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (e) {
    throw new EspalierError(`--image ${file} cannot be read (${reasonOf(e)})`);
  }
  const image = decodeImage(bytes, file);
  const regions = featuriserFrom(task.features).regions(image);
  const record: VqaRecord = { id: file, image: file, question, scores: [], answerType: 'unlabelled', questionType: 'unlabelled' };
  const data = { answers: task.answers, featureSize: model.featureSize, regions: () => Promise.resolve(regions) };
  for await (const batch of batches([record], { data, tokenizer: tokens, batchSize: 1 })) return { batch, image, regions };
  throw new EspalierError(`'${question}' about ${file} gave no batch`);
}
