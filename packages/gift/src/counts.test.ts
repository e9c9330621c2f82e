import * as tf from '@tensorflow/tfjs';
import { adapt, Scope, type LinearRole, type Model } from '@espalier/core';
import { useCpu } from '@espalier/testing';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { gift } from './gift.ts';

beforeAll(useCpu);

const D = 768;
const scalars: tf.Tensor[] = [];
afterEach(() => tf.dispose(scalars.splice(0)));

/** Linears of a model and nothing else: their arrays are never read, so a number stands for each. */
function places(declare: (root: Scope) => void): Model<unknown> {
  const scope = Scope.root(() => (scalars.push(tf.scalar(0)), scalars.at(-1)!));
  declare(scope);
  return { name: 'places', scope, batch: () => 1, forward: () => tf.scalar(0) };
}

function attention(scope: Scope, kind: 'attention' | 'cross'): void {
  for (const part of ['query', 'key', 'value', 'output'] as const) scope.use(scope.linear(`${kind}.${part}`, D, D));
}
function layer(scope: Scope): void {
  attention(scope.child('attention'), 'attention');
  const ffn = scope.child('ffn');
  ffn.use(ffn.linear('ffn.up', D, 4 * D));
  ffn.use(ffn.linear('ffn.down', 4 * D, D));
}
const bert = () =>
  places((root) => {
    const joint = root.child('joint', { stream: 'joint' });
    for (let i = 0; i < 12; i++) layer(joint.child(String(i), { block: i }));
  });
const lxmert = () =>
  places((root) => {
    let block = 0;
    for (const [stream, layers] of [['text', 9], ['vision', 5]] as const)
      for (let i = 0; i < layers; i++) layer(root.child(stream, { stream }).child(String(i), { block: block++ }));
    for (let i = 0; i < 5; i++) {
      const cross = root.child('cross').child(String(i), { block: block++ });
      attention(cross.child('cross'), 'cross');
      for (const stream of ['text', 'vision']) layer(cross.child(stream, { stream }));
    }
  });

function count(model: Model<unknown>, options: Parameters<typeof gift>[0]): number {
  const adapted = adapt(model, [gift(options)]);
  const total = adapted.trainable.reduce((n, p) => n + p.variable.size, 0);
  adapted.dispose();
  return total;
}

const square = (...parts: string[]) => parts.map((p) => `attention.${p}` as LinearRole);

describe('T6: trainable parameters on BERT-base', () => {
  it.each<[string, LinearRole[], number[]]>([
    ['o', square('output'), [12_288, 24_576, 49_152, 98_304]],
    ['q,v', square('query', 'value'), [24_576, 49_152, 98_304, 196_608]],
    ['q,k,v,o', square('query', 'key', 'value', 'output'), [49_152, 98_304, 196_608, 393_216]],
    ['up', ['ffn.up'], [12_288, 24_576, 49_152, 98_304]],
    ['dn', ['ffn.down'], [49_152, 98_304, 196_608, 393_216]],
    ['all six', [...square('query', 'key', 'value', 'output'), 'ffn.up', 'ffn.down'], [110_592, 221_184, 442_368, 884_736]],
  ])('%s', (_, role, expected) => {
    const model = bert();
    expect([8, 16, 32, 64].map((rank) => count(model, { rank, at: { role } }))).toEqual(expected);
  });

  it('are 2 in r by default, at the output of attention, r = 16', () => {
    expect(count(bert(), {})).toBe(24_576);
    expect(100 * 24_576 / 109_482_240).toBeCloseTo(0.0224, 4);
  });

  it.each([
    [16, 27_824, 28_368],
    [32, 59_680, 60_736],
    [64, 135_680, 137_760],
    [96, 228_064, 231_168],
  ])('of PaCa with r = %i', (rank, few, many) => {
    const model = bert();
    expect([64, 96].map((clusters) => count(model, { generator: 'paca', rank, clusters }))).toEqual([few, many]);
    expect(few).toBe(2 * D * rank + 8 * rank ** 2 + 7 * rank + 64 * (rank + 1));
  });

  it('of the other generators', () => {
    const [model, r, m] = [bert(), 16, 64];
    const ends = 2 * D * r;
    const ffn = 4 * r * r + 3 * r;
    expect(count(model, { generator: 'paca-attention' })).toBe(ends + 4 * r * r + 4 * r + m * (r + 1));
    expect(count(model, { generator: 'transformer' })).toBe(ends + 4 * r * r + 4 * r + ffn);
    expect(count(model, { generator: 'mlp' })).toBe(ends + ffn);
    expect(count(model, { generator: 'mixer' })).toBe(ends + ffn + 2 * D * m + m + D);
    expect(count(model, { generator: 'paca', heads: 4 })).toBe(27_824); // heads change nothing
    expect(count(model, { generator: 'paca', depth: 2 })).toBe(27_824 + 3_248);
    expect(count(model, { generator: 'paca', posEnc: 'learnedRank' })).toBe(27_824 + D * r);
    expect(count(model, { inBias: true, outBias: true })).toBe(ends + r + D);
  });
});

describe('T6: trainable parameters on LXMERT', () => {
  it('by sharing: 29 outputs of attention in three groups by stream', () => {
    const model = lxmert();
    expect(count(model, {})).toBe(73_728);
    expect(count(model, { sharing: 'stream' })).toBe(73_728);
    expect(count(model, { sharing: 'role' })).toBe(49_152);
    expect(count(model, { sharing: 'global' })).toBe(24_576);
    expect(count(model, { sharing: 'site' })).toBe(712_704);
    const role: LinearRole[] = ['attention.query', 'attention.value', 'cross.query', 'cross.value'];
    expect(count(model, { rank: 32, at: { role } })).toBe(294_912);
    expect(100 * 73_728 / 207_936_768).toBeCloseTo(0.035, 3);
  });

  it('groups cross blocks with their streams, and cross-attention by itself', () => {
    const adapted = adapt(lxmert(), [gift()]);
    expect([...adapted.parameters.keys()]).toEqual(
      ['text.attention.output', 'vision.attention.output', 'cross.output'].flatMap((group) => ['phi', 'psi'].map((v) => `gift/${group}.${v}`)),
    );
    expect(adapted.explain()).toBe('gift  weight  scale  attention.output  ×24\ngift  weight  scale  cross.output  ×5');
    adapted.dispose();
  });
});
