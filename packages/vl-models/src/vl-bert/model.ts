import * as tf from '@tensorflow/tfjs';
import { add, concat, embed, gelu, mul, relu, reshape, scale, slice, type Scope, type Step, type Stream, type TensorSource, type Value } from '@espalier/core';
import type { z } from 'zod';
import { additiveMask } from '../shared/masks.ts';
import { oneStream } from '../shared/one-stream.ts';
import { jointTokens } from '../shared/tokens.ts';
import type { VqaModel } from '../vqa-model.ts';
import { VlBertConfig } from './config.ts';
import { vlBertInputs, type VlBertInputs } from './inputs.ts';
import { vlBertKeys } from './keys.ts';

/** VL-BERT with its VQA head: words and regions in one stream. Su et al. 2020, arXiv:1908.08530. */
export function vlBert(given: z.input<typeof VlBertConfig>, tensors: TensorSource): VqaModel<VlBertInputs> {
  const c = VlBertConfig.parse(given);
  return oneStream<VlBertInputs>({
    name: 'vl-bert',
    config: c,
    featureSize: c.feat_dim,
    keyOf: vlBertKeys.of(c),
    batch: (inputs) => inputs.textIds.shape[0],
    inputs: (examples) => vlBertInputs(examples, c),
    tokens: ({ seen, answerRows, textIds, objects }) => ({ joint: jointTokens(seen, answerRows, 1, [textIds.shape[1], textIds.shape[1] + objects.shape[1]]) }), // [SEP] stands before [MASK]
    places: ({ questionLength }) => ({ words: { stream: 'joint', from: 1 }, regions: { stream: 'joint', from: questionLength + 5 } }), // behind the whole image
    embedding: (scope) => jointEmbedding(scope, c),
    head: (scope) => answerHead(scope, c),
    // Two narrow layers, as the policy of the published adaptive fine-tuning of VL-BERT.
    build: (outputs, own, changes) => vlBert({ ...c, num_hidden_layers: 2, intermediate_size: Math.min(512, c.intermediate_size), ...changes, num_answers: outputs }, own),
  }, tensors);
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
    const whole = slice(o, [0, 0, 0], [batch, 1, c.visual_size]);
    const image = c.no_grounding ? scale(whole, 0) : whole;
    const text = add(step.embed(words, textIds), onText(image, step)); // [B, T, D]
    const object = add(onObject(o, step), step.embed(regions, tf.zeros([1, 1], 'int32'))); // [B, K, D]
    const closing = step.embed(end, tf.zeros([batch, 1], 'int32')); // [B, 1, D]
    const elements = concat([text, object, closing], 1);
    const sum = add(add(elements, step.embed(positions, positionIds)), step.embed(segments, segmentIds));
    const x = step.dropout(output, step.norm(norm, sum), c.hidden_dropout_prob);
    return { joint: { hidden: step.at(output, x), mask: additiveMask(seen) } };
  });
}

/** LN(v) or s v with one number s, after a linear where the visual width is not the hidden one. */
function visualBranch(scope: Scope, c: VlBertConfig) {
  const widen = c.visual_size === c.hidden_size ? undefined : scope.use(scope.linear('embed.vision', c.visual_size, c.hidden_size));
  const sized = (v: Value, step: Step) => (widen ? step.linear(widen, v) : v);
  if (c.visual_ln) {
    const norm = scope.norm('embed.vision.norm', c.hidden_size);
    return (v: Value, step: Step): Value => step.norm(norm, sized(v, step));
  }
  const factor = scope.embedding('embed.scale', 1, 1);
  return (v: Value, step: Step): Value => mul(sized(v, step), step.embed(factor, tf.zeros([1, 1], 'int32'))); // [B, K, D] [1, 1, 1]
}

/** Of the state at [MASK], by the configured classifier: Linear, GELU, LayerNorm, Linear; Linear, ReLU, Linear; or Linear. */
function answerHead(scope: Scope, c: VlBertConfig) {
  const pooled = scope.site('pooled');
  const hidden = hiddenLayer(scope, c);
  const down = scope.use(scope.linear('head.down', c.classifier === '2fc' ? c.classifier_hidden_size : c.hidden_size, c.num_answers));
  const logits = scope.site('logits');
  return ({ hidden: states }: Stream, { answerRows }: VlBertInputs, step: Step): Value => {
    const rows = embed(reshape(states, [-1, c.hidden_size]), answerRows); // [B, D]
    const h = hidden(step.at(pooled, rows), step);
    return step.at(logits, step.linear(down, step.dropout(down.input, h, c.hidden_dropout_prob)));
  };
}

/** What stands between the state and the answer layer. */
function hiddenLayer(scope: Scope, c: VlBertConfig): (x: Value, step: Step) => Value {
  if (c.classifier === '1fc') return (x) => x;
  const up = scope.use(scope.linear('head.up', c.hidden_size, c.classifier === '2fc' ? c.classifier_hidden_size : c.hidden_size));
  if (c.classifier === '2fc') return (x, step) => relu(step.linear(up, step.dropout(up.input, x, c.hidden_dropout_prob)));
  const norm = scope.norm('head.norm', c.hidden_size);
  return (x, step) => step.norm(norm, gelu(step.linear(up, x)));
}
