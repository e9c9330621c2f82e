import * as tf from '@tensorflow/tfjs';
import { EspalierError, tensorsIn } from '@espalier/core';
import { cube, integerMatrix, matrix, reader, type NamedArrays } from '../shared/arrays.ts';
import type { VqaExamples } from '../shared/examples.ts';
import type { LxmertConfig } from './model.ts';

export interface LxmertInputs {
  readonly inputIds: tf.Tensor2D; // int32 [B, S], [CLS] question [SEP], 0 = padding
  readonly tokenTypeIds: tf.Tensor2D; // int32 [B, S]
  readonly attentionMask: tf.Tensor2D; // [B, S], 1 = seen
  readonly visualFeats: tf.Tensor3D; // [B, R, F]
  readonly visualPos: tf.Tensor3D; // [B, R, 4] in [0, 1]
  readonly visualAttentionMask?: tf.Tensor2D | undefined; // [B, R], 1 = seen; none hides nothing
}

/** [CLS] question [SEP]; boxes divided by the image's size; regions beyond an image's count hidden. */
export function lxmertInputs(e: VqaExamples, c: LxmertConfig): LxmertInputs {
  const batch = e.ids.length;
  const length = e.questionLength + 2;
  const ids = new Int32Array(batch * length);
  const seen = new Float32Array(batch * length);
  const regionsSeen = new Float32Array(batch * e.regions);
  const positions = new Float32Array(batch * e.regions * 4);
  for (let b = 0; b < batch; b++) {
    const question = e.questions.subarray(b * e.questionLength, (b + 1) * e.questionLength).filter((id) => id > 0);
    ids.set([c.cls, ...question, c.sep], b * length);
    seen.fill(1, b * length, b * length + question.length + 2);
    regionsSeen.fill(1, b * e.regions, b * e.regions + e.regionCounts[b]!);
    for (let r = 0; r < e.regions * 4; r++) positions[b * e.regions * 4 + r] = e.boxes[b * e.regions * 4 + r]! / e.imageSizes[2 * b + (r % 2)]!;
  }
  return {
    inputIds: tf.tensor2d(ids, [batch, length], 'int32'),
    tokenTypeIds: tf.zeros([batch, length], 'int32'),
    attentionMask: tf.tensor2d(seen, [batch, length]),
    visualFeats: tf.tensor3d(e.features, [batch, e.regions, e.featureSize]),
    visualPos: tf.tensor3d(positions, [batch, e.regions, 4]),
    visualAttentionMask: regionsSeen.includes(0) ? tf.tensor2d(regionsSeen, [batch, e.regions]) : undefined,
  };
}

/** One sentence about two images, for the head `pair`: rows 2i and 2i + 1 are the left and the right image of sample i. */
export function lxmertPairs(left: VqaExamples, right: VqaExamples, c: LxmertConfig): LxmertInputs {
  const shape = ({ ids, questionLength, regions, featureSize }: VqaExamples) => [ids.length, questionLength, regions, featureSize].join(', ');
  if (shape(left) !== shape(right))
    throw new EspalierError(`pairs of images: the left ones are [samples, words, regions, features] = [${shape(left)}], the right ones [${shape(right)}]. Pad both alike.`);
  const [l, r] = [lxmertInputs(left, c), lxmertInputs(right, c)];
  const rows = 2 * left.ids.length;
  const seen = ({ visualAttentionMask: mask }: LxmertInputs) => mask ?? tf.ones<tf.Rank.R2>([left.ids.length, left.regions]);
  const matrices = (x: tf.Tensor2D, y: tf.Tensor2D) => tf.reshape<tf.Rank.R2>(tf.stack([x, y], 1), [rows, x.shape[1]]);
  const cubes = (x: tf.Tensor3D, y: tf.Tensor3D) => tf.reshape<tf.Rank.R3>(tf.stack([x, y], 1), [rows, x.shape[1], x.shape[2]]);
  const joined = tf.tidy(() => ({
    inputIds: matrices(l.inputIds, r.inputIds),
    tokenTypeIds: matrices(l.tokenTypeIds, r.tokenTypeIds),
    attentionMask: matrices(l.attentionMask, r.attentionMask),
    visualFeats: cubes(l.visualFeats, r.visualFeats),
    visualPos: cubes(l.visualPos, r.visualPos),
    visualAttentionMask: l.visualAttentionMask || r.visualAttentionMask ? matrices(seen(l), seen(r)) : undefined,
  }));
  tf.dispose(tensorsIn([l, r]));
  return joined;
}

/** Inputs under Hugging Face's argument names. */
export function lxmertInputsFrom(arrays: NamedArrays): LxmertInputs {
  const read = reader(arrays, 'lxmert');
  const inputIds = integerMatrix(read.integers('input_ids', 2));
  return {
    inputIds,
    tokenTypeIds: read.has('token_type_ids') ? integerMatrix(read.integers('token_type_ids', 2)) : tf.zerosLike(inputIds),
    attentionMask: read.has('attention_mask') ? matrix(read.numbers('attention_mask', 2)) : tf.ones(inputIds.shape),
    visualFeats: cube(read.numbers('visual_feats', 3)),
    visualPos: cube(read.numbers('visual_pos', 3)),
    visualAttentionMask: read.has('visual_attention_mask') ? matrix(read.numbers('visual_attention_mask', 2)) : undefined,
  };
}
