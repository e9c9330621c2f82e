import * as tf from '@tensorflow/tfjs';
import { add, concat, embed, reshape, type Scope, type Step, type Stream, type TensorSource, type Value } from '@espalier/core';
import { additiveMask } from '../shared/masks.ts';
import { oneStream } from '../shared/one-stream.ts';
import { jointTokens } from '../shared/tokens.ts';
import type { VqaModel } from '../vqa-model.ts';
import { VisualBertConfig, type VisualBertSettings } from './config.ts';
import { visualBertInputs, type VisualBertInputs } from './inputs.ts';
import { visualBertKeys } from './keys.ts';

/** VisualBERT with its VQA head: words and projected regions side by side in one stream. Li et al. 2019, arXiv:1908.03557. */
export function visualBert(given: VisualBertSettings, tensors: TensorSource): VqaModel<VisualBertInputs> {
  const c = VisualBertConfig.parse(given);
  return oneStream<VisualBertInputs>({
    name: 'visual-bert',
    config: c,
    featureSize: c.visual_embedding_dim,
    keyOf: visualBertKeys.of(c),
    batch: (inputs) => inputs.inputIds.shape[0],
    inputs: (examples) => visualBertInputs(examples, c),
    tokens: ({ seen, answerRows, inputIds }) => ({ joint: jointTokens(seen, answerRows, 0, [inputIds.shape[1], seen.shape[1]]) }),
    places: ({ questionLength }) => ({ words: { stream: 'joint', from: 1 }, regions: { stream: 'joint', from: questionLength + 4 } }),
    embedding: (scope) => jointEmbedding(scope, c),
    head: (scope) => answerHead(scope, c),
    build: (outputs, own, changes) => visualBert({ ...c, num_hidden_layers: 2, intermediate_size: Math.min(512, c.intermediate_size), ...changes, num_labels: outputs }, own),
  }, tensors);
}

/** LN(word + position + segment | feature W + position 0 + segment), the last two from the regions' own tables; boxes are not used. */
function jointEmbedding(scope: Scope, c: VisualBertConfig) {
  const width = c.hidden_size;
  const words = scope.embedding('embed.words', c.vocab_size, width, c.pad_token_id === null ? {} : { padding: c.pad_token_id });
  const positions = scope.embedding('embed.positions', c.max_position_embeddings, width);
  const segments = scope.embedding('embed.segments', c.type_vocab_size, width);
  const vision = scope.child('vision');
  const regionPositions = vision.embedding('embed.positions', c.max_position_embeddings, width);
  const regionSegments = vision.embedding('embed.segments', c.type_vocab_size, width);
  const projection = scope.use(scope.linear('embed.vision', c.visual_embedding_dim, width));
  const norm = scope.norm('embed.norm', width);
  const output = scope.site('embed.output');
  return scope.source<VisualBertInputs>(['joint'], ({ inputIds, tokenTypeIds, visualEmbeds, visualTokenTypeIds, seen }, step) => {
    const tokens = inputIds.shape[1];
    const order = tf.reshape(tf.range(0, tokens, 1, 'int32'), [1, tokens]);
    const text = add(add(step.embed(words, inputIds), step.embed(positions, order)), step.embed(segments, tokenTypeIds)); // [B, T, D]
    const first = step.embed(regionPositions, tf.zeros([1, 1], 'int32')); // [1, 1, D]
    const regions = add(add(step.linear(projection, visualEmbeds), first), step.embed(regionSegments, visualTokenTypeIds)); // [B, R, D]
    const x = step.dropout(output, step.norm(norm, concat([text, regions], 1)), c.hidden_dropout_prob);
    return { joint: { hidden: step.at(output, x), mask: additiveMask(seen) } };
  });
}

/** Of the state at the last word but one: dropout, Linear. */
function answerHead(scope: Scope, c: VisualBertConfig) {
  const pooled = scope.site('pooled');
  const down = scope.use(scope.linear('head.down', c.hidden_size, c.num_labels));
  const logits = scope.site('logits');
  return ({ hidden }: Stream, { answerRows }: VisualBertInputs, step: Step): Value => {
    const rows = step.at(pooled, embed(reshape(hidden, [-1, c.hidden_size]), answerRows)); // [B, D]
    return step.at(logits, step.linear(down, step.dropout(down.input, rows, c.hidden_dropout_prob)));
  };
}
