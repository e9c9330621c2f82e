import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { initialised, lxmert, visualBert, vlBert, type VqaExamples } from './index.ts';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

/** Two questions of 3 and 1 words over images with 3 and 2 regions, padded to 4 words and 4 regions. */
const examples: VqaExamples = {
  ids: ['a', 'b'], questions: Int32Array.from([7, 8, 9, 0, 11, 0, 0, 0]), questionLength: 4, features: new Float32Array(48), boxes: new Float32Array(32),
  regionCounts: Int32Array.from([3, 2]), regions: 4, featureSize: 6, imageSizes: Float32Array.from([10, 10, 10, 10]), targets: new Float32Array(4), answers: 2,
};
const sizes = { vocab_size: 20, hidden_size: 8, num_attention_heads: 2, intermediate_size: 16, max_position_embeddings: 20, cls: 2, sep: 3 };
const shown = (masks: Readonly<Record<string, tf.Tensor>>) => Object.fromEntries(Object.entries(masks).map(([kind, m]) => [kind, (m.arraySync() as number[][]).map((row) => row.join(''))]));

describe('what the tokens of a batch are', () => {
  it('in LXMERT: the words between [CLS] and [SEP], [CLS], the regions that are there', () => {
    const model = lxmert({ ...sizes, l_layers: 1, r_layers: 1, x_layers: 1, visual_feat_dim: 6, num_qa_labels: 2 }, initialised(0));
    const { text, vision } = model.tokens(model.inputs(examples));
    expect(shown(text!)).toEqual({ question: ['011100', '010000'], answer: ['100000', '100000'] });
    expect(shown(vision!)).toEqual({ region: ['1110', '1100'] });
    const whole = model.inputs({ ...examples, regionCounts: Int32Array.from([4, 4]) });
    expect(shown(model.tokens(whole)['vision']!)).toEqual({ region: ['1111', '1111'] }); // without a mask
  });

  it('in VL-BERT: the words, [MASK], and the objects with the whole image', () => {
    const model = vlBert({ ...sizes, visual_size: 8, num_hidden_layers: 1, coord_dim: 2, feat_dim: 6, num_answers: 2, mask: 4 }, initialised(0));
    // [CLS] w w w [SEP] [MASK] [SEP] . | image o o o o | END
    expect(shown(model.tokens(model.inputs(examples))['joint']!)).toEqual({
      question: ['01110000000000', '01000000000000'], answer: ['00000100000000', '00010000000000'], region: ['00000000111100', '00000000111000'],
    });
  });

  it('in VisualBERT: the words with their question mark, [MASK], the regions', () => {
    const model = visualBert({ ...sizes, num_hidden_layers: 1, visual_embedding_dim: 6, num_labels: 2, mask: 4, question_mark: 5 }, initialised(0));
    // [CLS] w w w ? [MASK] [SEP] . | r r r r
    expect(shown(model.tokens(model.inputs(examples))['joint']!)).toEqual({
      question: ['011110000000', '011000000000'], answer: ['000001000000', '000100000000'], region: ['000000001110', '000000001100'],
    });
  });
});
