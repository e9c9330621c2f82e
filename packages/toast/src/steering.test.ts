import * as tf from '@tensorflow/tfjs';
import { adapt, EspalierError, primal, type Adapted } from '@espalier/core';
import { jitter, tinyModels, toBeAllClose, toBeBitEqual, toDiffer, toLeakNothing, toRefuse, type TinyInputs } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { steeringOf, type PerToken } from './steering.ts';
import { toast } from './toast.ts';

const { one, two, inputs } = await tinyModels(afterAll);
const flat = (x: PerToken) => x.flatMap((row) => [...row]);

/** Values that pass a site, by pass. */
async function passing(adapted: Adapted<TinyInputs>, path: string): Promise<tf.Tensor[]> {
  const seen: tf.Tensor[] = [];
  const y = await adapted.forward(inputs, { observe: (site, x) => site.path === path && seen.push(tf.keep(primal(x).clone())) });
  y.dispose();
  return seen;
}
/** Attention of the first token, averaged over heads. */
const ofFirst = (p: tf.Tensor): number[] => {
  const [batch, , , keys] = p.shape as [number, number, number, number];
  return [...tf.reshape(tf.slice(tf.mean(p, 1), [0, 0, 0], [batch, 1, keys]), [-1]).dataSync()];
};

describe('what feedback did', () => {
  it('is the attention of the answer\'s token in the frozen model and in the second pass', async () => {
    const adapted = adapt(one, [toast({ to: 0 })]);
    jitter(adapted);
    const { attention, feedback, gates } = await steeringOf(adapted, inputs);
    expect(attention.map(({ site }) => site)).toEqual(['joint.0.attention.probabilities', 'joint.1.attention.probabilities']);
    const [first, second] = await passing(adapted, 'joint.1.attention.probabilities');
    toBeAllClose(flat(attention[1]!.before), ofFirst(first!), {}, 'before');
    toBeAllClose(flat(attention[1]!.after), ofFirst(second!), {}, 'after');
    toDiffer(flat(attention[1]!.after), flat(attention[1]!.before), 1e-4, 'attention of the second block');
    toBeBitEqual(flat(attention[0]!.after), flat(attention[0]!.before), 'attention of the first steered block');
    for (const { before, after } of attention) for (const row of [...before, ...after]) expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5);
    expect(gates).toHaveLength(1);
    expect(flat(gates[0]!.gate).every((s) => s >= 0 && s <= 1)).toBe(true);
    const h = (await passing(adapt(one, []), 'joint.0.attention.value.input'))[0]!;
    const steered = (await passing(adapted, 'joint.0.attention.value.input'))[1]!;
    const strength = tf.div(tf.norm(tf.sub(steered, h), 2, -1), tf.norm(h, 2, -1));
    toBeAllClose(flat(feedback[0]!.strength), [...strength.dataSync()], { relative: 1e-4 }, 'strength');
    flat(gates[0]!.gate).forEach((s, i) => s === 0 && expect(flat(feedback[0]!.strength)[i]).toBe(0));
  });

  it('says of cross-attention whose tokens are looked at', async () => {
    const adapted = adapt(two, [toast()]);
    jitter(adapted);
    const { attention, feedback, gates } = await steeringOf(adapted, inputs);
    const cross = attention.find(({ site }) => site.startsWith('cross.0.cross.text'))!;
    expect([cross.from, cross.stream, cross.after[0]!.length]).toEqual(['text', 'vision', 3]);
    expect(gates.map(({ stream }) => stream).sort()).toEqual(['text', 'vision']);
    expect(feedback.map(({ block }) => block)).toEqual(expect.arrayContaining([2, 3]));
    expect(feedback.some(({ block }) => block < 2)).toBe(false);
  });

  it('is nothing before training, and leaves no array behind', async () => {
    const adapted = adapt(two, [toast({ gate: false })]);
    await toLeakNothing(async () => {
      const { attention, feedback, gates } = await steeringOf(adapted, inputs);
      for (const { before, after } of attention) toBeBitEqual(flat(after), flat(before), 'attention');
      for (const { strength } of feedback) expect(Math.max(...flat(strength))).toBe(0);
      expect(gates).toEqual([]);
    });
    await toRefuse(() => steeringOf(adapted, inputs, { instance: 'toast#a' }), EspalierError, "no toast 'toast#a'", 'toast');
  });
});
