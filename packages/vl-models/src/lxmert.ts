import * as tf from '@tensorflow/tfjs';
import { add, gelu, reshape, scale, Scope, sequence, slice, streamOf, tanh, type Stage, type Step, type Stream, type TensorSource, type Value } from '@espalier/core';
import { z } from 'zod';
import type { VqaExamples } from './examples.ts';
import { additiveMask, openMask } from './masks.ts';
import { crossBlock, transformerBlock } from './transformer.ts';
import type { VqaModel } from './vqa-model.ts';
import { naming } from './weights.ts';

const dimension = z.int().positive();
const probability = z.number().min(0).max(1);

/** The released config.json's names and defaults (unc-nlp/lxmert-base-uncased); keys we do not use are kept as they are. */
export const LxmertConfig = z.looseObject({
  model_type: z.literal('lxmert').default('lxmert'),
  vocab_size: dimension.default(30522),
  hidden_size: dimension.default(768),
  num_attention_heads: dimension.default(12),
  intermediate_size: dimension.default(3072),
  max_position_embeddings: dimension.default(512),
  type_vocab_size: dimension.default(2),
  l_layers: z.int().nonnegative().default(9),
  r_layers: z.int().nonnegative().default(5),
  x_layers: dimension.default(5),
  visual_feat_dim: dimension.default(2048),
  visual_pos_dim: dimension.default(4),
  num_qa_labels: dimension.default(3129),
  hidden_dropout_prob: probability.default(0.1),
  attention_probs_dropout_prob: probability.default(0.1),
  cls: z.int().nonnegative().default(101), // id of [CLS]
  sep: z.int().nonnegative().default(102), // id of [SEP]
  /** Leave out the last cross block's vision half, which no answer reads. */
  skip_dead_branch: z.boolean().default(false),
});
export type LxmertConfig = z.infer<typeof LxmertConfig>;

export interface LxmertInputs {
  readonly inputIds: tf.Tensor2D; // int32 [B, S], [CLS] question [SEP], 0 = padding
  readonly tokenTypeIds: tf.Tensor2D; // int32 [B, S]
  readonly attentionMask: tf.Tensor2D; // [B, S], 1 = seen
  readonly visualFeats: tf.Tensor3D; // [B, R, F]
  readonly visualPos: tf.Tensor3D; // [B, R, 4] in [0, 1]
  readonly visualAttentionMask?: tf.Tensor2D | undefined; // [B, R], 1 = seen; none hides nothing
}

/** LXMERT with its VQA head: two streams, language and vision, and cross blocks between them. Tan and Bansal 2019, arXiv:1908.07490. */
export function lxmert(given: z.input<typeof LxmertConfig>, tensors: TensorSource): VqaModel<LxmertInputs> {
  const c = LxmertConfig.parse(given);
  const scope = Scope.root(tensors);
  const text = textEmbedding(scope.child('text.embed', { stream: 'text' }), c);
  const vision = visionEmbedding(scope.child('vision.embed', { stream: 'vision' }), c);
  let block = 0;
  const stack = (name: string, count: number, make: (s: Scope, i: number) => Stage, stream?: string) =>
    Array.from({ length: count }, (_, i) => make(scope.child(`${name}.${i}`, { block: block++, ...(stream !== undefined && { stream }) }), i));
  const dead = (i: number) => (c.skip_dead_branch && i === c.x_layers - 1 ? 'vision' : undefined);
  const encoder = scope.stage(
    'encoder',
    sequence(
      ...stack('text', c.l_layers, (s) => transformerBlock(s, 'text', c), 'text'),
      ...stack('vision', c.r_layers, (s) => transformerBlock(s, 'vision', c), 'vision'),
      ...stack('cross', c.x_layers, (s, i) => crossBlock(s, 'text', 'vision', c, dead(i))),
    ),
    { streams: ['text', 'vision'] },
  );
  const head = answerHead(scope.child('head', { stream: 'text' }), c);
  const encode = (inputs: LxmertInputs, step: Step) => encoder({ ...text(inputs, step), ...vision(inputs, step) }, step);
  return {
    name: 'lxmert',
    scope,
    config: c,
    featureSize: c.visual_feat_dim,
    keyOf: lxmertKey,
    batch: (inputs) => inputs.inputIds.shape[0],
    encode,
    answer: (streams, _, step) => head(streamOf(streams, 'text'), step),
    forward: (inputs, step) => head(streamOf(encode(inputs, step), 'text'), step),
    inputs: (examples) => lxmertInputs(examples, c),
  };
}

/** LN(word + position + segment); the padding row 0 of each table gets no gradient, as in the reference. */
function textEmbedding(scope: Scope, c: LxmertConfig) {
  const words = scope.embedding('embed.words', c.vocab_size, c.hidden_size, { padding: 0 });
  const positions = scope.embedding('embed.positions', c.max_position_embeddings, c.hidden_size, { padding: 0 });
  const segments = scope.embedding('embed.segments', c.type_vocab_size, c.hidden_size, { padding: 0 });
  const norm = scope.norm('embed.norm', c.hidden_size);
  const output = scope.site('embed.output');
  return scope.source<LxmertInputs>(['text'], ({ inputIds, tokenTypeIds, attentionMask }, step) => {
    const tokens = inputIds.shape[1];
    const order = tf.reshape(tf.range(0, tokens, 1, 'int32'), [1, tokens]);
    const sum = add(add(step.embed(words, inputIds), step.embed(positions, order)), step.embed(segments, tokenTypeIds));
    const x = step.dropout(output, step.norm(norm, sum), c.hidden_dropout_prob);
    return { text: { hidden: step.at(output, x), mask: additiveMask(attentionMask) } };
  });
}

/** (LN(features W) + LN(boxes W)) / 2. */
function visionEmbedding(scope: Scope, c: LxmertConfig) {
  const features = scope.use(scope.linear('embed.vision', c.visual_feat_dim, c.hidden_size));
  const featuresNorm = scope.norm('embed.vision.norm', c.hidden_size);
  const boxes = scope.use(scope.linear('embed.boxes', c.visual_pos_dim, c.hidden_size));
  const boxesNorm = scope.norm('embed.boxes.norm', c.hidden_size);
  const output = scope.site('embed.output');
  return scope.source<LxmertInputs>(['vision'], ({ visualFeats, visualPos, visualAttentionMask }, step) => {
    const seen = step.norm(featuresNorm, step.linear(features, visualFeats));
    const placed = step.norm(boxesNorm, step.linear(boxes, visualPos));
    const x = step.dropout(output, scale(add(seen, placed), 0.5), c.hidden_dropout_prob);
    const [batch, regions] = visualFeats.shape;
    return { vision: { hidden: step.at(output, x), mask: visualAttentionMask ? additiveMask(visualAttentionMask) : openMask(batch, regions) } };
  });
}

/** tanh(h_CLS W), then Linear, GELU, LayerNorm, Linear. */
function answerHead(scope: Scope, c: LxmertConfig) {
  const pooler = scope.use(scope.linear('pooler', c.hidden_size, c.hidden_size));
  const pooled = scope.site('pooled');
  const up = scope.use(scope.linear('head.up', c.hidden_size, 2 * c.hidden_size));
  const norm = scope.norm('head.norm', 2 * c.hidden_size);
  const down = scope.use(scope.linear('head.down', 2 * c.hidden_size, c.num_qa_labels));
  const logits = scope.site('logits');
  return ({ hidden }: Stream, step: Step): Value => {
    const [batch, , width] = hidden.shape as [number, number, number];
    const cls = reshape(slice(hidden, [0, 0, 0], [batch, 1, width]), [batch, width]);
    const p = step.at(pooled, tanh(step.linear(pooler, cls))); // [B, D]
    return step.at(logits, step.linear(down, step.norm(norm, gelu(step.linear(up, p))))); // [B, A]
  };
}

/** [CLS] question [SEP]; boxes divided by the image's size; regions beyond an image's count hidden. */
function lxmertInputs(e: VqaExamples, c: LxmertConfig): LxmertInputs {
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

/** The key of a tensor path in Hugging Face's checkpoints. */
export const lxmertKey = naming([
  [/^head\.pooler$/, 'lxmert.pooler.dense'],
  [/^head\.up$/, 'answer_head.logit_fc.0'],
  [/^head\.norm$/, 'answer_head.logit_fc.2'],
  [/^head\.down$/, 'answer_head.logit_fc.3'],
  [/^text\.embed\.words$/, 'lxmert.embeddings.word_embeddings'],
  [/^text\.embed\.positions$/, 'lxmert.embeddings.position_embeddings'],
  [/^text\.embed\.segments$/, 'lxmert.embeddings.token_type_embeddings'],
  [/^text\.embed\.norm$/, 'lxmert.embeddings.LayerNorm'],
  [/^vision\.embed\.vision$/, 'lxmert.encoder.visn_fc.visn_fc'],
  [/^vision\.embed\.vision\.norm$/, 'lxmert.encoder.visn_fc.visn_layer_norm'],
  [/^vision\.embed\.boxes$/, 'lxmert.encoder.visn_fc.box_fc'],
  [/^vision\.embed\.boxes\.norm$/, 'lxmert.encoder.visn_fc.box_layer_norm'],
  [/^text\.(\d+)\./, 'lxmert.encoder.layer.$1.'],
  [/^vision\.(\d+)\./, 'lxmert.encoder.r_layers.$1.'],
  [/^cross\.(\d+)\./, 'lxmert.encoder.x_layers.$1.'],
  [/\.cross\.(query|key|value)$/, '.visual_attention.att.$1'],
  [/\.cross\.output$/, '.visual_attention.output.dense'],
  [/\.cross\.norm$/, '.visual_attention.output.LayerNorm'],
  [/\.text\.attention\./, '.lang_self_att.'],
  [/\.vision\.attention\./, '.visn_self_att.'],
  [/\.text\.ffn\.up$/, '.lang_inter.dense'],
  [/\.vision\.ffn\.up$/, '.visn_inter.dense'],
  [/\.text\.ffn\.(down|norm)$/, '.lang_output.$1'],
  [/\.vision\.ffn\.(down|norm)$/, '.visn_output.$1'],
  [/_output\.down$/, '_output.dense'],
  [/_output\.norm$/, '_output.LayerNorm'],
  [/(_self_att|\.attention)\.(query|key|value)$/, '$1.self.$2'],
  [/(_self_att|\.attention)\.output$/, '$1.output.dense'],
  [/(_self_att|\.attention)\.norm$/, '$1.output.LayerNorm'],
  [/\.ffn\.up$/, '.intermediate.dense'],
  [/\.ffn\.down$/, '.output.dense'],
  [/\.ffn\.norm$/, '.output.LayerNorm'],
]);
