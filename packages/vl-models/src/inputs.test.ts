import * as tf from '@tensorflow/tfjs';
import { adapt, evaluate, random, tensorsIn, type Value } from '@espalier/core';
import { beforeAll, describe, expect, it } from 'vitest';
import { backbones, coordinateEmbedding, disposeModel, initialised, lxmert, LxmertConfig, lxmertPairs, visualBert, vlBert, type VqaExamples } from './index.ts';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

/** Two questions of 3 and 1 words over images with 3 and 2 regions, padded to 4 words and 4 regions. */
function examples(featureSize = 6, junk = 0): VqaExamples {
  const draw = random('examples');
  const features = Float32Array.from({ length: 2 * 4 * featureSize }, () => draw.normal());
  const boxes = Float32Array.from([10, 20, 30, 40, 0, 0, 50, 80, 5, 5, 9, 9, 0, 0, 0, 0, 1, 2, 3, 4, 20, 10, 60, 90, 0, 0, 0, 0, 0, 0, 0, 0]);
  // What stands in padding rows must not matter.
  features.fill(junk, 3 * featureSize, 4 * featureSize);
  features.fill(junk, 6 * featureSize, 8 * featureSize);
  return {
    ids: ['a', 'b'], questions: Int32Array.from([7, 8, 9, 0, 11, 0, 0, 0]), questionLength: 4, features, boxes,
    regionCounts: Int32Array.from([3, 2]), regions: 4, featureSize, imageSizes: Float32Array.from([100, 200, 50, 100]),
    targets: new Float32Array(4), answers: 2,
  };
}
const sizes = { vocab_size: 20, hidden_size: 8, num_attention_heads: 2, intermediate_size: 16, max_position_embeddings: 20, cls: 2, sep: 3 };

describe('a batch as inputs', () => {
  it('of LXMERT: [CLS] question [SEP], boxes as shares of the image, masks', () => {
    const model = lxmert({ ...sizes, l_layers: 1, r_layers: 1, x_layers: 1, visual_feat_dim: 6, num_qa_labels: 2 }, initialised(0));
    const inputs = model.inputs(examples());
    expect(inputs.inputIds.arraySync()).toEqual([[2, 7, 8, 9, 3, 0], [2, 11, 3, 0, 0, 0]]);
    expect(inputs.attentionMask.arraySync()).toEqual([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]);
    expect(inputs.visualAttentionMask?.arraySync()).toEqual([[1, 1, 1, 0], [1, 1, 0, 0]]);
    expect(Array.from(inputs.visualPos.slice([0, 0, 0], [1, 1, 4]).dataSync())).toEqual([0.1, 0.1, 0.3, 0.2].map(Math.fround));
    expect(Array.from(inputs.visualPos.slice([1, 1, 0], [1, 1, 4]).dataSync())).toEqual([0.4, 0.1, 1.2, 0.9].map(Math.fround));
  });

  it('of VL-BERT: text, the whole image first, END; positions and segments of the fixed layout', () => {
    const model = vlBert({ ...sizes, visual_size: 8, num_hidden_layers: 1, coord_dim: 2, feat_dim: 6, num_answers: 2, mask: 4 }, initialised(0));
    const inputs = model.inputs(examples());
    expect(inputs.textIds.arraySync()).toEqual([[2, 7, 8, 9, 3, 4, 3, 0], [2, 11, 3, 4, 3, 0, 0, 0]]);
    // 8 text places, 5 objects, END.
    expect((inputs.seen.arraySync())[0]).toEqual([1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1]);
    expect((inputs.seen.arraySync())[1]).toEqual([1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1]);
    expect((inputs.positionIds.arraySync())[1]!.slice(0, 5)).toEqual([0, 1, 2, 3, 4]);
    expect((inputs.positionIds.arraySync())[1]!.slice(8)).toEqual([5, 5, 5, 5, 5, 6]);
    expect((inputs.segmentIds.arraySync())[1]!.slice(0, 5)).toEqual([0, 0, 0, 1, 1]);
    expect((inputs.segmentIds.arraySync())[1]!.slice(8)).toEqual([2, 2, 2, 2, 2, 2]);
    expect(Array.from(inputs.answerRows.dataSync())).toEqual([5, 14 + 3]);
    const image = Array.from(inputs.objects.slice([0, 0, 0], [1, 1, 16]).dataSync());
    expect(image).toEqual(Array.from(coordinateEmbedding([0, 0, 99, 199], 100, 200, 2)));
    const features = examples().features;
    const mean = Array.from({ length: 6 }, (_, f) => (features[f]! + features[6 + f]! + features[12 + f]!) / 3);
    Array.from(inputs.objects.slice([0, 0, 16], [1, 1, 6]).dataSync()).forEach((x, f) => expect(x).toBeCloseTo(mean[f]!, 6));
    const own = model.inputs({ ...examples(), imageFeatures: Float32Array.from({ length: 12 }, (_, i) => i) });
    expect(Array.from(own.objects.slice([1, 0, 16], [1, 1, 6]).dataSync())).toEqual([6, 7, 8, 9, 10, 11]);
  });

  it('of VisualBERT: [CLS] question ? [MASK] [SEP], read at [MASK]; one question mark at the end', () => {
    const options = { ...sizes, num_hidden_layers: 1, visual_embedding_dim: 6, num_labels: 2, mask: 4, question_mark: 9 };
    const inputs = visualBert(options, initialised(0)).inputs(examples());
    expect(inputs.inputIds.arraySync()).toEqual([[2, 7, 8, 9, 4, 3, 0, 0], [2, 11, 9, 4, 3, 0, 0, 0]]);
    expect((inputs.seen.arraySync())[0]).toEqual([1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0]);
    expect(Array.from(inputs.answerRows.dataSync())).toEqual([4, 12 + 3]);
    expect(inputs.visualTokenTypeIds.arraySync()).toEqual([[1, 1, 1, 1], [1, 1, 1, 1]]);
    const plain = visualBert({ ...options, question_mark: null, visual_token_type_id: 0 }, initialised(0)).inputs(examples());
    expect(plain.inputIds.arraySync()[1]).toEqual([2, 11, 4, 3, 0, 0, 0, 0]);
    expect(plain.visualTokenTypeIds.dataSync().every((id) => id === 0)).toBe(true);
  });

  it('of pairs of images: rows in turn, one answer for both', async () => {
    const config = { ...sizes, l_layers: 1, r_layers: 1, x_layers: 1, visual_feat_dim: 6, num_qa_labels: 2, head: 'pair' as const };
    const model = lxmert(config, initialised(3, 0.3));
    const [left, right] = [examples(), { ...examples(6), features: examples(6).features.map((x) => -x), regionCounts: Int32Array.from([4, 4]) }];
    const pairs = lxmertPairs(left, right, LxmertConfig.parse(config));
    expect(pairs.inputIds.arraySync()).toEqual([0, 0, 1, 1].map((row) => [[2, 7, 8, 9, 3, 0], [2, 11, 3, 0, 0, 0]][row]));
    expect(pairs.visualAttentionMask?.arraySync()).toEqual([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]]);
    const adapted = adapt(model, []);
    const read = async (inputs: typeof pairs) => {
      const logits = await adapted.forward(inputs);
      const answer = { shape: logits.shape, values: Array.from(logits.dataSync()) };
      tf.dispose([logits, ...tensorsIn(inputs)]);
      return answer;
    };
    const both = await read(pairs);
    expect(both.shape).toEqual([2, 2]);
    const swapped = await read(lxmertPairs(right, left, LxmertConfig.parse(config)));
    expect(swapped.values).not.toEqual(both.values); // left and right are told apart
    expect(() => lxmertPairs(left, { ...right, regions: 5 }, LxmertConfig.parse(config))).toThrow('Pad both alike');
    disposeModel(model.scope);
  });

  it('of VL-BERT without grounding: words see no image', async () => {
    const embedded = async (no_grounding: boolean, scale: number) => {
      const config = { ...sizes, visual_size: 8, num_hidden_layers: 1, coord_dim: 2, feat_dim: 6, num_answers: 2, mask: 4, no_grounding, visual_ln: false };
      const draw = initialised(5, 0.3);
      const model = vlBert(config, (path, shape) => (path.endsWith('scale.table') ? tf.fill([...shape], scale) : draw(path, shape)));
      const inputs = model.inputs(examples());
      let seen: number[] = [];
      const observe = (site: { path: string }, x: Value) => {
        if (site.path === 'joint.embed.output') seen = Array.from(evaluate(x).dataSync());
      };
      tf.dispose([await adapt(model, []).forward(inputs, { observe }), ...tensorsIn(inputs)]);
      disposeModel(model.scope);
      return { words: seen.slice(0, 8 * 8), objects: seen.slice(8 * 8, 13 * 8) };
    };
    const [grounded, apart, off] = [await embedded(false, 1), await embedded(true, 1), await embedded(false, 0)];
    expect(apart.objects).toEqual(grounded.objects);
    expect(apart.words).toEqual(off.words);
    expect(grounded.words).not.toEqual(off.words);
    expect(grounded.objects).not.toEqual(off.objects);
  });

  it.each([...backbones.keys()])('of %s: its words and regions are found where `places` says', async (name) => {
    const kind = backbones.get(name)!;
    const model = kind.build({ ...Object(kind.sizes.tiny), ...sizes, ...(name === 'vl-bert' && { visual_size: 8, coord_dim: 2 }), [kind.featureKey]: 6 }, initialised(3, 0.3));
    const places = model.places(examples());
    const embedded = async (change: Partial<VqaExamples>) => {
      const inputs = model.inputs({ ...examples(), ...change });
      const seen = new Map<string, number[][]>();
      const observe = (site: { role?: string; stream?: string | undefined }, x: Value) => {
        if (site.role === 'embed.output') seen.set(site.stream!, tf.tidy(() => tf.unstack(tf.slice(evaluate(x), [0, 0, 0], [1, -1, -1]).squeeze([0])).map((t) => Array.from(t.dataSync()))));
      };
      tf.dispose([await adapt(model, []).forward(inputs, { observe }), ...tensorsIn(inputs)]);
      return seen;
    };
    const base = await embedded({});
    const moved = (other: Map<string, number[][]>, stream: string) => other.get(stream)!.flatMap((row, i) => (row.some((x, d) => x !== base.get(stream)![i]![d]) ? [i] : []));
    const word = await embedded({ questions: Int32Array.from([7, 12, 9, 0, 11, 0, 0, 0]) });
    expect(moved(word, places.words.stream)).toEqual([places.words.from + 1]);
    const features = examples().features.slice();
    features[6 * 2] = 9; // region 2 of the first sample; VL-BERT's whole image, which every word sees, moves with it
    const region = await embedded({ features });
    expect(moved(region, places.regions.stream)).toContain(places.regions.from + 2);
    expect(moved(region, places.regions.stream)).not.toContain(places.regions.from + 1);
    disposeModel(model.scope);
  });

  it.each([...backbones.keys()])('of %s: padding rows do not reach the answer', async (name) => {
    const kind = backbones.get(name)!;
    const model = kind.build({ ...Object(kind.sizes.tiny), ...sizes, ...(name === 'vl-bert' && { visual_size: 8, coord_dim: 2 }), [kind.featureKey]: 6 }, initialised(3, 0.3));
    const adapted = adapt(model, []);
    const before = tf.memory().numTensors;
    const [clean, dirty] = [model.inputs(examples(6, 0)), model.inputs(examples(6, 50))];
    const [a, b] = [await adapted.forward(clean), await adapted.forward(dirty)];
    expect(Array.from(a.dataSync())).toEqual(Array.from(b.dataSync()));
    expect(a.shape[0]).toBe(2);
    tf.dispose([a, b, ...tensorsIn([clean, dirty])]);
    expect(tf.memory().numTensors).toBe(before);
    disposeModel(model.scope);
  });
});
