import * as tf from '@tensorflow/tfjs';
import { adapt, Scope, type Model, type Stage } from '@espalier/core';
import { useCpu } from '@espalier/testing';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { toast } from './toast.ts';

beforeAll(useCpu);

const D = 768;
const SQUARE = D * D;
const scalars: tf.Tensor[] = [];
afterEach(() => tf.dispose(scalars.splice(0)));

/** Places of a model and nothing else: their arrays are never read, so a number stands for each. */
function places(streams: readonly string[], declare: (root: Scope) => void): Model<unknown> {
  const scope = Scope.root(() => (scalars.push(tf.scalar(0)), scalars.at(-1)!));
  scope.child('embed').source(streams, () => ({}));
  declare(scope);
  scope.stage('encoder', nothing, { streams });
  scope.child('head', { stream: streams[0]! }).linear('head.down', D, 2);
  return { name: 'places', scope, batch: () => 1, forward: () => tf.scalar(0), tokens: () => ({}) };
}
const nothing: Stage = (s) => s;

function attention(scope: Scope, kind: 'attention' | 'cross', streams: readonly string[]): void {
  const linear = scope.linear(`${kind}.value`, D, D);
  for (const stream of streams) scope.child(stream).use(linear, { stream });
}
const layer = (scope: Scope, stream: string) => {
  attention(scope.child('attention'), 'attention', [stream]);
  scope.stage('block', nothing, { streams: [stream] });
};
const bert = () =>
  places(['joint'], (root) => {
    for (let i = 0; i < 12; i++) layer(root.child('joint', { stream: 'joint' }).child(String(i), { block: i }), 'joint');
  });
const lxmert = () =>
  places(['text', 'vision'], (root) => {
    let block = 0;
    for (const [stream, layers] of [['text', 9], ['vision', 5]] as const)
      for (let i = 0; i < layers; i++) layer(root.child(stream, { stream }).child(String(i), { block: block++ }), stream);
    for (let i = 0; i < 5; i++) {
      const cross = root.child('cross').child(String(i), { block: block++ });
      attention(cross.child('cross'), 'cross', ['text', 'vision']);
      for (const stream of ['text', 'vision']) attention(cross.child(stream, { stream }).child('attention'), 'attention', [stream]);
      cross.stage('block', nothing, { streams: ['text', 'vision'] });
    }
  });

function count(model: Model<unknown>, options: Parameters<typeof toast>[0]): number {
  const adapted = adapt(model, [toast(options)]);
  const total = adapted.trainable.reduce((n, p) => n + p.variable.size, 0);
  adapted.dispose();
  return total;
}

describe('T10: trainable parameters on VL-BERT base', () => {
  it.each<[number, Parameters<typeof toast>[0]]>([
    [14_156_544, {}],
    [14_746_368, { freezeP: false }],
    [738_048, { feedback: 'lite' }],
    [148_224, { feedback: 'lite', freezeP: true }],
    [14_746_368, { task: 'question' }], // U is as large as P
    [14_156_544 + 8 * 2 * D, { task: 'answer', taskRank: 8 }],
    [14_156_544 + D, { vectors: 'modality' }],
    [12 * SQUARE + D, { freezeA: true }], // B and xi alone, as the released language model tunes
    [24 * SQUARE, { gate: false }],
    [(24 / 3) * SQUARE + D, { to: 8 }],
    [(24 / 3) * SQUARE + D, { from: 4 }],
  ])('%i', (expected, options) => expect(count(bert(), options)).toBe(expected), 60_000);

  it('does not count the frozen bases of a pre-tuned Lite, which are kept', () => {
    const adapted = adapt(bert(), [toast({ feedback: 'lite', bases: true })]);
    expect(adapted.trainable.reduce((n, p) => n + p.variable.size, 0)).toBe(738_048);
    expect([...adapted.parameters.values()].reduce((n, p) => n + p.variable.size, 0)).toBe(738_048 + 24 * SQUARE);
    adapted.dispose();
  });
});

describe('T10: trainable parameters on LXMERT', () => {
  it.each<[number, Parameters<typeof toast>[0]]>([
    [12_977_664, { freezeP: false }], // cross blocks alone
    [1_304_064, { feedback: 'lite' }],
    [124_416, { feedback: 'lite', freezeP: true }],
    [29_492_736, { to: 0, freezeP: false }],
    [1_476_096, { to: 0, feedback: 'lite' }],
    [35_390_976, { to: 0, scheme: 'b', freezeP: false, readout: 'all' }],
    [35_390_976 - 2 * SQUARE, { to: 0, scheme: 'b', freezeP: false }], // of the last block, what the answer does not read
    [20 * SQUARE + 2 * D + SQUARE, { crossTop: true }],
  ])('%i', (expected, options) => expect(count(lxmert(), options)).toBe(expected), 60_000);
});
