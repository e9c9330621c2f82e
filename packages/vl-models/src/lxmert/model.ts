import * as tf from '@tensorflow/tfjs';
import { add, gelu, reshape, scale, Scope, sequence, slice, streamOf, tanh, type Stage, type Step, type Stream, type TensorSource, type Value } from '@espalier/core';
import { z } from 'zod';
import { additiveMask, openMask } from '../shared/masks.ts';
import { questionTokens } from '../shared/tokens.ts';
import { crossBlock, transformerBlock } from '../shared/transformer.ts';
import type { VqaModel } from '../vqa-model.ts';
import { lxmertInputs, type LxmertInputs } from './inputs.ts';
import { lxmertKeys } from './keys.ts';

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
  num_qa_labels: dimension.default(3129), // VQA v2; 1842 of GQA, 9500 of the pre-training
  /** `answers`: of one image. `pair`: of a sentence about two images, rows 2i and 2i + 1 (NLVR2; two labels). */
  head: z.enum(['answers', 'pair']).default('answers'),
  hidden_act: z.literal('gelu').default('gelu'),
  hidden_dropout_prob: probability.default(0.1),
  attention_probs_dropout_prob: probability.default(0.1),
  cls: z.int().nonnegative().default(101), // id of [CLS]
  sep: z.int().nonnegative().default(102), // id of [SEP]
  /** Leave out the last cross block's vision half, which no answer reads. */
  skip_dead_branch: z.boolean().default(false),
  /** In the last block compute, behind the cross-attention, the state at [CLS] alone, which is what answers are read from. */
  skip_dead_rows: z.boolean().default(false),
});
export type LxmertConfig = z.infer<typeof LxmertConfig>;

/** LXMERT with its VQA head: two streams, language and vision, and cross blocks between them. Tan and Bansal 2019, arXiv:1908.07490. */
export function lxmert(given: z.input<typeof LxmertConfig>, tensors: TensorSource): VqaModel<LxmertInputs> {
  const c = LxmertConfig.parse(given);
  const scope = Scope.root(tensors);
  const text = textEmbedding(scope.child('text.embed', { stream: 'text' }), c);
  const vision = visionEmbedding(scope.child('vision.embed', { stream: 'vision' }), c);
  let block = 0;
  const stack = (name: string, count: number, make: (s: Scope, i: number) => Stage, stream?: string) =>
    Array.from({ length: count }, (_, i) => make(scope.child(`${name}.${i}`, { block: block++, ...(stream !== undefined && { stream }) }), i));
  const ends = (i: number) => (i === c.x_layers - 1 ? { dead: c.skip_dead_branch ? 'vision' : undefined, last: 'text' } : {});
  const encoder = scope.stage(
    'encoder',
    sequence(
      ...stack('text', c.l_layers, (s) => transformerBlock(s, 'text', c), 'text'),
      ...stack('vision', c.r_layers, (s) => transformerBlock(s, 'vision', c), 'vision'),
      ...stack('cross', c.x_layers, (s, i) => crossBlock(s, 'text', 'vision', c, ends(i))),
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
    keyOf: lxmertKeys.of(c),
    batch: (inputs) => inputs.inputIds.shape[0],
    encode,
    answer: (streams, _, step) => head(streamOf(streams, 'text'), step),
    forward: (inputs, step) => head(streamOf(encode(inputs, c.skip_dead_rows ? step.reading(`cross.${c.x_layers - 1}`, () => firstTokens(inputs.inputIds)) : step), 'text'), step),
    inputs: (examples) => lxmertInputs(examples, c),
    // Two language layers, one of objects and one of both, as the policy of the published adaptive fine-tuning of LXMERT.
    build: (outputs, own, changes) => lxmert({ ...c, l_layers: 2, r_layers: 1, x_layers: 1, ...changes, head: 'answers', num_qa_labels: outputs }, own),
    tokens: ({ attentionMask, visualFeats, visualAttentionMask }) => ({
      text: questionTokens(attentionMask),
      vision: { region: visualAttentionMask ?? tf.ones(visualFeats.shape.slice(0, 2)) },
    }),
    places: () => ({ words: { stream: 'text', from: 1 }, regions: { stream: 'vision', from: 0 } }),
  };
}

/** 1 at the first token of each sample: [B, T] -> [B, T, 1]. */
const firstTokens = ({ shape: [batch, tokens] }: tf.Tensor2D): tf.Tensor => tf.tile(tf.reshape(tf.oneHot(tf.tensor1d([0], 'int32'), tokens), [1, tokens, 1]), [batch, 1, 1]);

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

/** tanh(h_CLS W), of a pair those of both images side by side; then Linear, GELU, LayerNorm, Linear. */
function answerHead(scope: Scope, c: LxmertConfig) {
  const images = c.head === 'pair' ? 2 : 1;
  const pooler = scope.use(scope.linear('pooler', c.hidden_size, c.hidden_size));
  const pooled = scope.site('pooled');
  const up = scope.use(scope.linear('head.up', images * c.hidden_size, 2 * c.hidden_size));
  const norm = scope.norm('head.norm', 2 * c.hidden_size);
  const down = scope.use(scope.linear('head.down', 2 * c.hidden_size, c.num_qa_labels));
  const logits = scope.site('logits');
  return ({ hidden }: Stream, step: Step): Value => {
    const [batch, , width] = hidden.shape as [number, number, number];
    const cls = reshape(slice(hidden, [0, 0, 0], [batch, 1, width]), [batch, width]);
    const each = tanh(step.linear(pooler, cls)); // [B, D]
    const p = step.at(pooled, images === 1 ? each : reshape(each, [-1, images * width])); // [B, D] or [B / 2, 2 D]
    return step.at(logits, step.linear(down, step.norm(norm, gelu(step.linear(up, p))))); // [B, A]
  };
}
