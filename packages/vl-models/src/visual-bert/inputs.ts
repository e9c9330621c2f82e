import * as tf from '@tensorflow/tfjs';
import { EspalierError } from '@espalier/core';
import { cube, integerMatrix, matrix, reader, type NamedArrays } from '../shared/arrays.ts';
import type { VqaExamples } from '../shared/examples.ts';
import type { VisualBertConfig } from './config.ts';

/** One sequence of T words and R regions. */
export interface VisualBertInputs {
  readonly inputIds: tf.Tensor2D; // int32 [B, T]: [CLS] question ? [MASK] [SEP], 0 = padding
  readonly tokenTypeIds: tf.Tensor2D; // int32 [B, T]
  readonly visualEmbeds: tf.Tensor3D; // [B, R, F]
  readonly visualTokenTypeIds: tf.Tensor2D; // int32 [B, R]
  readonly seen: tf.Tensor2D; // [B, T + R], 1 = seen
  readonly answerRows: tf.Tensor1D; // int32 [B]: the last word but one in the flattened [B (T + R), D]
}

/** [CLS] question ? [MASK] [SEP], so that the last word but one is [MASK], as the authors train it; regions beyond an image's count hidden. */
export function visualBertInputs(e: VqaExamples, c: VisualBertConfig): VisualBertInputs {
  const batch = e.ids.length;
  const length = e.questionLength + 4;
  const total = length + e.regions;
  const ids = new Int32Array(batch * length);
  const seen = new Float32Array(batch * total);
  const rows = new Int32Array(batch);
  for (let b = 0; b < batch; b++) {
    const question = [...e.questions.subarray(b * e.questionLength, (b + 1) * e.questionLength)].filter((id) => id > 0);
    if (c.question_mark !== null && question.at(-1) !== c.question_mark) question.push(c.question_mark);
    const words = [c.cls, ...question, c.mask, c.sep];
    ids.set(words, b * length);
    seen.fill(1, b * total, b * total + words.length);
    seen.fill(1, b * total + length, b * total + length + e.regionCounts[b]!);
    rows[b] = b * total + words.length - 2;
  }
  return {
    inputIds: tf.tensor2d(ids, [batch, length], 'int32'),
    tokenTypeIds: tf.zeros([batch, length], 'int32'),
    visualEmbeds: tf.tensor3d(e.features, [batch, e.regions, e.featureSize]),
    visualTokenTypeIds: tf.fill([batch, e.regions], c.visual_token_type_id, 'int32'),
    seen: tf.tensor2d(seen, [batch, total]),
    answerRows: tf.tensor1d(rows, 'int32'),
  };
}

/** Inputs under Hugging Face's argument names. */
export function visualBertInputsFrom(arrays: NamedArrays, c: VisualBertConfig): VisualBertInputs {
  const read = reader(arrays, 'visual-bert');
  const ids = read.integers('input_ids', 2);
  const embeds = read.numbers('visual_embeds', 3);
  const [batch, length] = ids.shape as [number, number];
  const regions = embeds.shape[1]!;
  const ones = (columns: number) => ({ shape: [batch, columns], values: new Float32Array(batch * columns).fill(1) });
  const words = read.has('attention_mask') ? read.numbers('attention_mask', 2) : ones(length);
  const images = read.has('visual_attention_mask') ? read.numbers('visual_attention_mask', 2) : ones(regions);
  if (words.shape.join() !== ids.shape.join() || images.shape.join() !== [batch, regions].join() || embeds.shape[0] !== batch)
    throw new EspalierError(`visual-bert inputs do not fit together: input_ids [${ids.shape.join(', ')}], attention_mask [${words.shape.join(', ')}], visual_embeds [${embeds.shape.join(', ')}], visual_attention_mask [${images.shape.join(', ')}]`);
  const rows = Int32Array.from({ length: batch }, (_, b) => {
    const count = words.values.subarray(b * length, (b + 1) * length).reduce((sum, x) => sum + x, 0);
    if (count < 2) throw new EspalierError(`visual-bert input 'attention_mask', row ${b}: ${count} words are seen, expected at least 2, since the last but one is read`);
    return b * (length + regions) + count - 2;
  });
  return {
    inputIds: integerMatrix(ids),
    tokenTypeIds: read.has('token_type_ids') ? integerMatrix(read.integers('token_type_ids', 2)) : tf.zeros([batch, length], 'int32'),
    visualEmbeds: cube(embeds),
    visualTokenTypeIds: read.has('visual_token_type_ids') ? integerMatrix(read.integers('visual_token_type_ids', 2)) : tf.fill([batch, regions], c.visual_token_type_id, 'int32'),
    seen: tf.tidy(() => tf.concat2d([matrix(words), matrix(images)], 1)),
    answerRows: tf.tensor1d(rows, 'int32'),
  };
}
