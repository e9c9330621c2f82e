import * as tf from '@tensorflow/tfjs';
import { add, concat, embed, gelu, relu, reshape, Scope, sequence, slice, streamOf, type Step, type Stream, type TensorSource, type Value } from '@espalier/core';
import { z } from 'zod';
import { coordinateEmbedding } from './coordinates.ts';
import type { VqaExamples } from './examples.ts';
import { additiveMask } from './masks.ts';
import { transformerBlock } from './transformer.ts';
import type { VqaModel } from './vqa-model.ts';
import { naming } from './weights.ts';

const dimension = z.int().positive();
const probability = z.number().min(0).max(1);

/** Sizes of the released VQA configuration (base). */
export const VlBertConfig = z.looseObject({
  model_type: z.literal('vl_bert').default('vl_bert'),
  vocab_size: dimension.default(30522),
  hidden_size: dimension.default(768),
  visual_size: dimension.default(768),
  num_hidden_layers: dimension.default(12),
  num_attention_heads: dimension.default(12),
  intermediate_size: dimension.default(3072),
  max_position_embeddings: dimension.default(512),
  type_vocab_size: z.literal(3).default(3),
  visual_ln: z.literal(true).default(true),
  num_answers: dimension.default(3129),
  coord_dim: dimension.default(256), // frequencies per box number; 8 coord_dim numbers per box
  feat_dim: dimension.default(2048),
  classifier: z.literal('mlm').default('mlm'),
  hidden_dropout_prob: probability.default(0.1),
  attention_probs_dropout_prob: probability.default(0.1),
  cls: z.int().nonnegative().default(101), // id of [CLS]
  sep: z.int().nonnegative().default(102), // id of [SEP]
  mask: z.int().nonnegative().default(103), // id of [MASK]
});
export type VlBertConfig = z.infer<typeof VlBertConfig>;

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

/** VL-BERT with its VQA head: words and regions in one stream. Su et al. 2020, arXiv:1908.08530. */
export function vlBert(given: z.input<typeof VlBertConfig>, tensors: TensorSource): VqaModel<VlBertInputs> {
  const c = VlBertConfig.parse(given);
  const scope = Scope.root(tensors);
  const embedding = jointEmbedding(scope.child('joint.embed', { stream: 'joint' }), c);
  const blocks = Array.from({ length: c.num_hidden_layers }, (_, i) =>
    transformerBlock(scope.child(`joint.${i}`, { stream: 'joint', block: i }), 'joint', c),
  );
  const encoder = scope.stage('encoder', sequence(...blocks), { streams: ['joint'] });
  const head = answerHead(scope.child('head', { stream: 'joint' }), c);
  const encode = (inputs: VlBertInputs, step: Step) => encoder(embedding(inputs, step), step);
  return {
    name: 'vl-bert',
    scope,
    config: c,
    featureSize: c.feat_dim,
    keyOf: vlBertKey,
    batch: (inputs) => inputs.textIds.shape[0],
    encode,
    answer: (streams, inputs, step) => head(streamOf(streams, 'joint'), inputs, step),
    forward: (inputs, step) => head(streamOf(encode(inputs, step), 'joint'), inputs, step),
    inputs: (examples) => vlBertInputs(examples, c),
  };
}

/** LN(element + position + segment), where a word sees the whole image and a region its own object. */
function jointEmbedding(scope: Scope, c: VlBertConfig) {
  const width = c.hidden_size;
  const words = scope.embedding('embed.words', c.vocab_size, width);
  const positions = scope.embedding('embed.positions', c.max_position_embeddings, width);
  const segments = scope.embedding('embed.segments', c.type_vocab_size, width);
  const regions = scope.embedding('embed.regions', 1, width);
  const end = scope.embedding('embed.end', 1, width);
  const norm = scope.norm('embed.norm', width);
  const down = scope.use(scope.linear('embed.vision', 8 * c.coord_dim + c.feat_dim, c.visual_size));
  const onText = visualBranch(scope.child('text'), c);
  const onObject = visualBranch(scope.child('object'), c);
  const output = scope.site('embed.output');
  return scope.source<VlBertInputs>(['joint'], ({ textIds, objects, positionIds, segmentIds, seen }, step) => {
    const [batch] = objects.shape;
    const o = relu(step.linear(down, step.dropout(down.input, objects, c.hidden_dropout_prob))); // [B, K, V]
    const image = slice(o, [0, 0, 0], [batch, 1, c.visual_size]);
    const text = add(step.embed(words, textIds), onText(image, step)); // [B, T, D]
    const object = add(onObject(o, step), step.embed(regions, tf.zeros([1, 1], 'int32'))); // [B, K, D]
    const closing = step.embed(end, tf.zeros([batch, 1], 'int32')); // [B, 1, D]
    const elements = concat([text, object, closing], 1);
    const sum = add(add(elements, step.embed(positions, positionIds)), step.embed(segments, segmentIds));
    const x = step.dropout(output, step.norm(norm, sum), c.hidden_dropout_prob);
    return { joint: { hidden: step.at(output, x), mask: additiveMask(seen) } };
  });
}

/** LN(v), after a linear where the visual width is not the hidden one. */
function visualBranch(scope: Scope, c: VlBertConfig) {
  const widen = c.visual_size === c.hidden_size ? undefined : scope.use(scope.linear('embed.vision', c.visual_size, c.hidden_size));
  const norm = scope.norm('embed.vision.norm', c.hidden_size);
  return (v: Value, step: Step): Value => step.norm(norm, widen ? step.linear(widen, v) : v);
}

/** Of the state at [MASK]: Linear, GELU, LayerNorm, dropout, Linear. */
function answerHead(scope: Scope, c: VlBertConfig) {
  const pooled = scope.site('pooled');
  const up = scope.use(scope.linear('head.up', c.hidden_size, c.hidden_size));
  const norm = scope.norm('head.norm', c.hidden_size);
  const down = scope.use(scope.linear('head.down', c.hidden_size, c.num_answers));
  const logits = scope.site('logits');
  return ({ hidden }: Stream, { answerRows }: VlBertInputs, step: Step): Value => {
    const rows = embed(reshape(hidden, [-1, c.hidden_size]), answerRows); // [B, D]
    const h = step.norm(norm, gelu(step.linear(up, step.at(pooled, rows))));
    return step.at(logits, step.linear(down, step.dropout(down.input, h, c.hidden_dropout_prob)));
  };
}

/** Puts the whole image in front of the regions: its box, and the mean of their features. */
function vlBertInputs(e: VqaExamples, c: VlBertConfig): VlBertInputs {
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
    for (let r = 1; r <= n; r++) for (let f = 0; f < e.featureSize; f++) image[f]! += features[(b * count + r) * e.featureSize + f]! / n;
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

/** The fixed layout [text | objects | END] with its positions, segments and mask. */
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

/** The key of a tensor path in VL-BERT's checkpoints, without `module.`. */
export const vlBertKey = naming([
  [/^head\.up$/, 'final_mlp.0.dense'],
  [/^head\.norm$/, 'final_mlp.0.LayerNorm'],
  [/^head\.down$/, 'final_mlp.2'],
  [/^joint\.embed\.words$/, 'vlbert.word_embeddings'],
  [/^joint\.embed\.positions$/, 'vlbert.position_embeddings'],
  [/^joint\.embed\.segments$/, 'vlbert.token_type_embeddings'],
  [/^joint\.embed\.regions$/, 'object_linguistic_embeddings'],
  [/^joint\.embed\.end$/, 'vlbert.end_embedding'],
  [/^joint\.embed\.norm$/, 'vlbert.embedding_LayerNorm'],
  [/^joint\.embed\.vision$/, 'image_feature_extractor.obj_downsample.1'],
  [/^joint\.embed\.(text|object)\.vision$/, 'vlbert.visual_1x1_$1'],
  [/^joint\.embed\.(text|object)\.vision\.norm$/, 'vlbert.visual_ln_$1'],
  [/^joint\.(\d+)\./, 'vlbert.encoder.layer.$1.'],
  [/\.attention\.(query|key|value)$/, '.attention.self.$1'],
  [/\.attention\.output$/, '.attention.output.dense'],
  [/\.attention\.norm$/, '.attention.output.LayerNorm'],
  [/\.ffn\.up$/, '.intermediate.dense'],
  [/\.ffn\.down$/, '.output.dense'],
  [/\.ffn\.norm$/, '.output.LayerNorm'],
]);
