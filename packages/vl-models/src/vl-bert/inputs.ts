import * as tf from '@tensorflow/tfjs';
import { EspalierError } from '@espalier/core';
import { reader, type NamedArrays } from '../shared/arrays.ts';
import { coordinateEmbedding } from '../shared/coordinates.ts';
import type { VqaExamples } from '../shared/examples.ts';
import type { VlBertConfig } from './config.ts';

/**
 * One sequence of S = T + K + 1 elements: [text T | objects K | END]. Object 0 is the whole image. Positions and
 * segments are explicit and padding is masked, so this fixed layout equals the reference's seamless one.
 */
export interface VlBertInputs {
  readonly textIds: tf.Tensor2D; // int32 [B, T]: [CLS] question [SEP] [MASK] [SEP], 0 = padding
  readonly objects: tf.Tensor3D; // [B, K, 8 coord_dim + feat_dim]: box coordinates embedded, then features
  readonly positionIds: tf.Tensor2D; // int32 [B, S]
  readonly segmentIds: tf.Tensor2D; // int32 [B, S]: 0 question, 1 answer, 2 objects and END
  readonly seen: tf.Tensor2D; // [B, S], 1 = seen
  readonly answerRows: tf.Tensor1D; // int32 [B]: row of each [MASK] in the flattened [B S, D]
}

/** Puts the whole image in front of the regions: its box, and its own feature or else the mean of theirs. */
export function vlBertInputs(e: VqaExamples, c: VlBertConfig): VlBertInputs {
  const batch = e.ids.length;
  const count = e.regions + 1;
  const features = new Float32Array(batch * count * e.featureSize);
  const boxes = new Float32Array(batch * count * 4);
  const counts = e.regionCounts.map((n) => n + 1);
  for (let b = 0; b < batch; b++) {
    const n = e.regionCounts[b]!;
    boxes.set([0, 0, e.imageSizes[2 * b]! - 1, e.imageSizes[2 * b + 1]! - 1], b * count * 4);
    boxes.set(e.boxes.subarray(b * e.regions * 4, (b + 1) * e.regions * 4), (b * count + 1) * 4);
    features.set(e.features.subarray(b * e.regions * e.featureSize, (b + 1) * e.regions * e.featureSize), (b * count + 1) * e.featureSize);
    const image = features.subarray(b * count * e.featureSize, (b * count + 1) * e.featureSize);
    if (e.imageFeatures) image.set(e.imageFeatures.subarray(b * e.featureSize, (b + 1) * e.featureSize));
    else for (let r = 1; r <= n; r++) for (let f = 0; f < e.featureSize; f++) image[f]! += features[(b * count + r) * e.featureSize + f]! / n;
  }
  const questions = Array.from({ length: batch }, (_, b) => [...e.questions.subarray(b * e.questionLength, (b + 1) * e.questionLength)].filter((id) => id > 0));
  return vlBertLayout({ questions, length: e.questionLength, boxes, features, counts, count, sizes: e.imageSizes }, c);
}

interface Layout {
  readonly questions: readonly (readonly number[])[]; // ids without special tokens
  readonly length: number;
  readonly boxes: Float32Array; // [B, K, 4] pixels, the whole image first
  readonly features: Float32Array; // [B, K, F]
  readonly counts: Int32Array; // [B] objects that are real, the image included
  readonly count: number; // K
  readonly sizes: Float32Array; // [B, 2] width, height
}

/** The fixed layout [text T | objects K | END] with its positions, segments and mask. */
export function vlBertLayout({ questions, length, boxes, features, counts, count, sizes }: Layout, c: VlBertConfig): VlBertInputs {
  const batch = questions.length;
  const text = length + 4;
  const total = text + count + 1;
  const wide = 8 * c.coord_dim + c.feat_dim;
  const ids = new Int32Array(batch * text);
  const positions = new Int32Array(batch * total);
  const segments = new Int32Array(batch * total).fill(2);
  const seen = new Float32Array(batch * total);
  const objects = new Float32Array(batch * count * wide);
  const answers = new Int32Array(batch);
  questions.forEach((question, b) => {
    const tokens = [c.cls, ...question, c.sep, c.mask, c.sep];
    const n = tokens.length;
    ids.set(tokens, b * text);
    answers[b] = b * total + n - 2;
    for (let t = 0; t < total; t++) positions[b * total + t] = t < text ? Math.min(t, n - 1) : t < total - 1 ? n : n + 1;
    segments.fill(0, b * total, b * total + n - 2);
    segments.fill(1, b * total + n - 2, b * total + n);
    seen.fill(1, b * total, b * total + n);
    seen.fill(1, b * total + text, b * total + text + counts[b]!);
    seen[(b + 1) * total - 1] = 1;
    for (let k = 0; k < count; k++) {
      if (k >= counts[b]!) continue;
      const at = (b * count + k) * wide;
      objects.set(coordinateEmbedding(boxes.subarray((b * count + k) * 4, (b * count + k) * 4 + 4), sizes[2 * b]!, sizes[2 * b + 1]!, c.coord_dim), at);
      objects.set(features.subarray((b * count + k) * c.feat_dim, (b * count + k + 1) * c.feat_dim), at + 8 * c.coord_dim);
    }
  });
  return {
    textIds: tf.tensor2d(ids, [batch, text], 'int32'),
    objects: tf.tensor3d(objects, [batch, count, wide]),
    positionIds: tf.tensor2d(positions, [batch, total], 'int32'),
    segmentIds: tf.tensor2d(segments, [batch, total], 'int32'),
    seen: tf.tensor2d(seen, [batch, total]),
    answerRows: tf.tensor1d(answers, 'int32'),
  };
}

/** Inputs under the authors' argument names: `boxes` [B, K, 4 + F] (the whole image first, padding rows below -1.5), `im_info` [B, 2..], `question` [B, Q] (0 = padding). */
export function vlBertInputsFrom(arrays: NamedArrays, c: VlBertConfig): VlBertInputs {
  const read = reader(arrays, 'vl-bert');
  const boxes = read.numbers('boxes', 3);
  const info = read.numbers('im_info', 2);
  const question = read.integers('question', 2);
  const [batch, count, wide] = boxes.shape as [number, number, number];
  if (wide !== 4 + c.feat_dim) throw new EspalierError(`vl-bert input 'boxes' is ${wide} wide, expected 4 coordinates and ${c.feat_dim} features`);
  const counts = new Int32Array(batch);
  const corners = new Float32Array(batch * count * 4);
  const features = new Float32Array(batch * count * c.feat_dim);
  for (let at = 0; at < batch * count; at++) {
    const row = boxes.values.subarray(at * wide, (at + 1) * wide);
    if (row[0]! <= -1.5) continue;
    counts[Math.floor(at / count)]!++;
    corners.set(row.subarray(0, 4), at * 4);
    features.set(row.subarray(4), at * c.feat_dim);
  }
  const length = question.shape[1]!;
  const questions = Array.from({ length: batch }, (_, b) => [...question.values.subarray(b * length, (b + 1) * length)].filter((id) => id > 0));
  const sizes = Float32Array.from({ length: 2 * batch }, (_, i) => info.values[Math.floor(i / 2) * info.shape[1]! + (i % 2)]!);
  return vlBertLayout({ questions, length, boxes: corners, features, counts, count, sizes }, c);
}
