import { adapt } from '@espalier/core';
import { gatesOf, spottune, usageOf } from '@espalier/spottune';
import { toBeAllClose, useCpu } from '@espalier/testing';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lxmert } from './lxmert/model.ts';
import { visualBert } from './visual-bert/model.ts';
import { vlBert } from './vl-bert/model.ts';
import type { VqaModel } from './vqa-model.ts';

/* Gates of the released sizes. Nothing is computed, so that one small array stands for all of a model's. */
let nothing: tf.Tensor;
beforeAll(async () => {
  await useCpu();
  nothing = tf.scalar(0);
});
afterAll(() => nothing.dispose());

/** A model of a released size, and how many numbers its arrays hold, by path. */
function sized<I>(make: (tensors: (path: string, shape: readonly number[]) => tf.Tensor) => VqaModel<I>) {
  const sizes = new Map<string, number>();
  const model = make((path, shape) => {
    sizes.set(path, shape.reduce((a, b) => a * b, 1));
    return nothing;
  });
  const count = (keep: RegExp) => [...sizes].reduce((total, [path, size]) => (keep.test(path) ? total + size : total), 0);
  return { model, count };
}

const vlBertBase = () => sized((tensors) => vlBert({}, tensors));
const lxmertBase = () => sized((tensors) => lxmert({}, tensors));
const BLOCKS = /^(joint|text|vision|cross)\.\d/;

const gates = <I>(model: VqaModel<I>, strategy: string, readout: 'all' | 'cls' = 'all') => gatesOf(adapt(model, [spottune({ strategy, readout, copies: false, policy: { kind: 'random' } })]));

describe('8. gates', () => {
  it.each([['SpotTune_Block', 12, 19], ['SpotTune_Res', 24, 53], ['SpotTune', 180, 425], ['BlockDrop', 12, 19]] as const)('%s: %i in VL-BERT and VisualBERT, %i in LXMERT', (strategy, single, two) => {
    expect(gates(vlBertBase().model, strategy)).toHaveLength(single);
    expect(gates(sized((tensors) => visualBert({}, tensors)).model, strategy)).toHaveLength(single);
    expect(gates(lxmertBase().model, strategy)).toHaveLength(two);
  });

  it('LXMERT\'s come in the released order: language 15 i, vision 135 + 15 i, both 210 + 43 i', () => {
    const all = gates(lxmertBase().model, 'spottune');
    const at = (index: number) => `${all[index]!.path}${all[index]!.head === undefined ? '' : ` ${all[index]!.head}`}`;
    expect([0, 11, 12, 13, 14, 15].map(at)).toEqual(['text.0.attention.heads 0', 'text.0.attention.heads 11', 'text.0.attention.project', 'text.0.ffn.expand', 'text.0.ffn.contract', 'text.1.attention.heads 0']);
    expect(at(135)).toBe('vision.0.attention.heads 0');
    expect([0, 12, 13, 25, 26, 38, 39, 40, 41, 42].map((i) => at(210 + 43 + i))).toEqual([
      'cross.1.cross.heads 0', 'cross.1.cross.project', 'cross.1.text.attention.heads 0', 'cross.1.text.attention.project', 'cross.1.vision.attention.heads 0',
      'cross.1.vision.attention.project', 'cross.1.text.ffn.expand', 'cross.1.vision.ffn.expand', 'cross.1.text.ffn.contract', 'cross.1.vision.ffn.contract',
    ]);
  });

  it('15 of LXMERT\'s do not reach the answer: 408 to 420, 422 and 424', () => {
    const { model } = lxmertBase();
    const name = ({ path, head }: { path: string; head: number | undefined }) => `${path} ${head}`;
    const live = new Set(gates(model, 'spottune', 'cls').map(name));
    expect(live.size).toBe(410);
    const dead = gates(model, 'spottune').filter((g) => !live.has(name(g))).map((g) => g.index);
    expect(dead).toEqual([...Array.from({ length: 13 }, (_, i) => 408 + i), 422, 424]);
    expect(gates(vlBertBase().model, 'spottune', 'cls')).toHaveLength(180);
  });

  it('in one stream a layer\'s components have the known shares of its multiply-adds at 50 tokens', () => {
    const adapted = adapt(vlBertBase().model, [spottune({ strategy: 'spottune', copies: false, policy: { kind: 'random' } })]);
    const share = (open: (path: string) => boolean) => {
      const bits = Uint8Array.from(gatesOf(adapted).map((g) => (open(g.path) ? 1 : 0)));
      const { macs } = usageOf(adapted, [{ samples: ['a'], gates: bits, probabilities: Float32Array.from(bits) }], { joint: 50 });
      return macs.mean / macs.all;
    };
    const shares = ['heads', 'project', 'expand', 'contract'].map((part) => share((path) => path.endsWith(part)));
    toBeAllClose(shares, [0.258, 0.082, 0.33, 0.33], { relative: 0, absolute: 5e-4 }); // heads: 24.7 % projections, 1.1 % attention
  });
});

describe('24. parameters', () => {
  it('of the models: 115,041,849 of VL-BERT, 213,930,297 of LXMERT, with 3,129 answers', () => {
    expect(vlBertBase().count(/./)).toBe(115_041_849);
    expect(lxmertBase().count(/./)).toBe(213_930_297);
  });

  it('of the copies: 85,054,464 of VL-BERT, of which sub-blocks 56,706,048; 181,928,448 of LXMERT\'s encoder', () => {
    expect(vlBertBase().count(BLOCKS)).toBe(85_054_464);
    expect(vlBertBase().count(/^joint\.\d.*(attention|ffn\.(down|norm))/)).toBe(56_706_048);
    expect(lxmertBase().count(BLOCKS)).toBe(181_928_448);
  });

  it('of independent policies: 33,905,944 of VL-BERT for 12 gates; 65,054,246 and 66,302,290 of LXMERT for 19 and 425', () => {
    const policy = <I>(model: VqaModel<I>, gates: number) => sized((tensors) => model.build(2 * gates, tensors)).count(/./);
    expect(policy(vlBertBase().model, 12)).toBe(33_905_944);
    expect(policy(lxmertBase().model, 19)).toBe(65_054_246);
    expect(policy(lxmertBase().model, 425)).toBe(66_302_290);
  });
});
