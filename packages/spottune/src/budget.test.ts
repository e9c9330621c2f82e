import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { toBeAllClose, useCpu } from '@espalier/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { BudgetSchema } from './budget-options.ts';
import { penalty, type Usage } from './budget.ts';

const Term = z.object({ value: z.number(), grad: z.array(z.number()) });
const Fixture = z.object({ regularisers: z.object({ policy: z.array(z.array(z.number())), constrain_k_K2_s1: Term, deterministic_s1: Term, log_fraction_s1: Term }) });
const { regularisers: golden } = Fixture.parse(JSON.parse(readFileSync(new URL('../fixtures/spottune.json', import.meta.url), 'utf8')));

beforeAll(useCpu);

/** Value and gradient of a budget on gates (as samples and as probabilities). */
function evaluated(budget: z.input<typeof BudgetSchema>, gates: readonly (readonly number[])[], change: Partial<Usage> = {}) {
  return tf.tidy(() => {
    const given = BudgetSchema.parse(budget);
    const f = (a: tf.Tensor) => penalty(given, { gates: a, probabilities: a, shares: tf.tensor1d([0.1, 0.2, 0.3, 0.4]), blocks: [[0, 1], [2, 3]], multiplier: undefined, ...change });
    const { value, grad } = tf.valueAndGrad(f)(tf.tensor2d(gates.map((row) => [...row])));
    return { value: value.dataSync()[0]!, gradient: [...grad.dataSync()] };
  });
}

describe('the released terms', () => {
  it.each([
    ['constrain_k_K2_s1', { kind: 'k', k: 2 }],
    ['deterministic_s1', { kind: 'deterministic' }],
    ['log_fraction_s1', { kind: 'log-fraction', epsilon: 0, reduce: 'sum' }],
  ] as const)('%s', (name, budget) => {
    const { value, gradient } = evaluated(budget, golden.policy);
    toBeAllClose([value], [golden[name].value], { relative: 2e-6, absolute: 2e-6 });
    toBeAllClose(gradient, golden[name].grad, { relative: 2e-5, absolute: 2e-6 });
  });

  it('the log fraction of a sample that keeps every block is infinite as released, finite by default', () => {
    const all = [[1, 1, 1, 1], [0, 1, 0, 1]];
    expect(evaluated({ kind: 'log-fraction', epsilon: 0, reduce: 'sum' }, all).value).toBe(Infinity);
    const { value, gradient } = evaluated({ kind: 'log-fraction' }, all);
    expect(Number.isFinite(value) && gradient.every(Number.isFinite)).toBe(true);
  });
});

describe('budgets', () => {
  const p = [[0.9, 0.5, 0.1, 0.3], [0.7, 0.5, 0.3, 0.1]]; // by gate 0.8 0.5 0.2 0.2

  it('a target is the squared distance of the rate, over the model or block by block', () => {
    expect(evaluated({ kind: 'target', rate: 0.3, weight: 2 }, p).value).toBeCloseTo(2 * 0.125 ** 2, 6);
    expect(evaluated({ kind: 'target', rate: 0.3, each: 'block' }, p).value).toBeCloseTo((0.35 ** 2 + 0.1 ** 2) / 2, 6);
  });

  it('by multiply-adds every gate counts with its share', () => {
    const rate = 0.1 * 0.8 + 0.2 * 0.5 + 0.3 * 0.2 + 0.4 * 0.2;
    const { value, gradient } = evaluated({ kind: 'target', rate: 0.1, by: 'macs' }, p);
    expect(value).toBeCloseTo((rate - 0.1) ** 2, 6);
    toBeAllClose(gradient, [...[0.1, 0.2, 0.3, 0.4], ...[0.1, 0.2, 0.3, 0.4]].map((c) => (2 * (rate - 0.1) * c) / 2), { relative: 1e-5 });
    expect(evaluated({ kind: 'target', rate: 0, by: 'macs', each: 'block' }, p).value).toBeCloseTo((((0.08 + 0.1) / 0.3) ** 2 + 0.2 ** 2) / 2, 6);
  });

  it('a hinge counts only what is above', () => {
    expect(evaluated({ kind: 'hinge', rate: 0.4 }, p).value).toBeCloseTo(0.025, 6);
    expect(evaluated({ kind: 'hinge', rate: 0.5 }, p)).toEqual({ value: 0, gradient: Array.from({ length: 8 }, () => 0) });
    expect(evaluated({ kind: 'hinge', rate: 0.4, each: 'block' }, p).value).toBeCloseTo(0.125, 6);
  });

  it('a binary entropy pushes to the nearer end, the one-sided to 0 only below 1 / e', () => {
    const half = [[0.45, 0.55, 0.2, 0.8]];
    expect(evaluated({ kind: 'deterministic', entropy: 'binary' }, half).gradient.map(Math.sign)).toEqual([1, -1, 1, -1]);
    expect(evaluated({ kind: 'deterministic' }, half).gradient.map(Math.sign)).toEqual([-1, -1, 1, -1]);
  });

  it('a multiplier grows while the rate is above, and its pressure replaces a weight', () => {
    const run = (rate: number, l: number) =>
      tf.tidy(() => {
        const budget = BudgetSchema.parse({ kind: 'lagrangian', rate, penalty: 2 });
        const rest = { shares: tf.tensor1d([0.1, 0.2, 0.3, 0.4]), blocks: [] };
        const f = (a: tf.Tensor, multiplier: tf.Tensor) => penalty(budget, { ...rest, gates: a, probabilities: a, multiplier });
        return tf.grads(f)([tf.tensor2d(p), tf.tensor1d([l])]).map((g) => g.dataSync()[0]!);
      });
    const [above, up] = run(0.3, 0.5); // excess 0.125
    expect(above).toBeCloseTo((0.5 + 2 * 0.125) / 8, 6); // max(0, l + r c) / (B D)
    expect(up).toBeCloseTo(-0.125, 6); // descending raises it
    const [below, down] = run(0.9, 0.5);
    expect(below).toBe(0);
    expect(down).toBeCloseTo(0.25, 6); // and lowers it
  });
});
