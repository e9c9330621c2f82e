import * as tf from '@tensorflow/tfjs';
import { EspalierError, didYouMean } from '@espalier/core';
import { cube, integerMatrix, matrix, reader } from './arrays.ts';
import { lxmert, LxmertConfig, lxmertKey } from './lxmert.ts';
import { vlBert, VlBertConfig, vlBertKey, vlBertLayout } from './vl-bert.ts';
import type { Backbone } from './vqa-model.ts';

/** Region features of the demos: an 8 x 8 RGB patch. */
const PATCH = 192;

const lxmertBackbone: Backbone = {
  name: 'lxmert',
  schema: LxmertConfig,
  keyOf: lxmertKey,
  ignore: [/^cls\./, /^obj_predict_head\./],
  sizes: {
    tiny: { vocab_size: 200, hidden_size: 64, num_attention_heads: 4, intermediate_size: 128, max_position_embeddings: 40, l_layers: 1, r_layers: 1, x_layers: 1, visual_feat_dim: PATCH, num_qa_labels: 2, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, cls: 2, sep: 3 },
    small: { vocab_size: 200, hidden_size: 128, num_attention_heads: 4, intermediate_size: 512, max_position_embeddings: 40, l_layers: 2, r_layers: 1, x_layers: 2, visual_feat_dim: PATCH, num_qa_labels: 2, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, cls: 2, sep: 3, skip_dead_branch: true },
    base: {},
  },
  build: (config, tensors) => lxmert(LxmertConfig.parse(config), tensors),
  inputsFrom: (arrays) => {
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
  },
};

const vlBertBackbone: Backbone = {
  name: 'vl-bert',
  schema: VlBertConfig,
  keyOf: vlBertKey,
  ignore: [/^vlbert\.(mlm_head|mvrc_head)\./, /^object_mask_/, /^aux_text_visual_embedding\./],
  sizes: {
    tiny: { vocab_size: 200, hidden_size: 64, visual_size: 64, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 128, max_position_embeddings: 40, coord_dim: 16, feat_dim: PATCH, num_answers: 2, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, cls: 2, sep: 3, mask: 4 },
    small: { vocab_size: 200, hidden_size: 128, visual_size: 128, num_hidden_layers: 4, num_attention_heads: 4, intermediate_size: 512, max_position_embeddings: 40, coord_dim: 16, feat_dim: PATCH, num_answers: 2, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, cls: 2, sep: 3, mask: 4 },
    base: {},
  },
  build: (config, tensors) => vlBert(VlBertConfig.parse(config), tensors),
  /** `boxes` [B, K, 4 + F] (the whole image first, padding rows below -1.5), `im_info` [B, 2..], `question` [B, Q] (0 = padding). */
  inputsFrom: (arrays, config) => {
    const c = VlBertConfig.parse(config);
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
  },
};

/** Every backbone by name. */
export const backbones: ReadonlyMap<string, Backbone> = new Map([vlBertBackbone, lxmertBackbone].map((b) => [b.name, b]));

/** The backbone of a name. @throws EspalierError with the nearest names. */
export function backbone(name: string): Backbone {
  const found = backbones.get(name);
  if (!found) throw new EspalierError(`no backbone '${name}'.${didYouMean(name, backbones.keys())} There are ${[...backbones.keys()].join(', ')}.`);
  return found;
}
