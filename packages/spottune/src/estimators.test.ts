import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { random } from '@espalier/core';
import { toBeAllClose, useCpu } from '@espalier/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { mostWanted } from './choice.ts';
import { gateSlope, hardGate, marginOf, type Estimator } from './estimators.ts';
import { logOdds } from './policy.ts';
import { temperatureAt } from './temperature.ts';

const numbers = z.array(z.number());
const Fixture = z.object({
  gumbel_st: z.object({ logits: numbers, gumbel: numbers, U: numbers, upstream: numbers, shape: numbers, cases: z.record(z.string(), z.object({ y1: numbers, hard: numbers, dlogits: numbers })) }),
  binary_slopes: z.object({ reinmax: z.record(z.string(), z.number()), gumbel_rao: z.record(z.string(), z.number()) }),
});
const { gumbel_st: st, binary_slopes: slopes } = Fixture.parse(JSON.parse(readFileSync(new URL('../fixtures/spottune.json', import.meta.url), 'utf8')));

beforeAll(useCpu);

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
/** One gate's slope. */
const slopeOf = (estimator: Estimator, m: number, gate: number, temperature: number, noise = 0) =>
  tf.tidy(() => gateSlope(estimator, { margin: tf.tensor1d([m]), noise: tf.tensor1d([noise]), gate: tf.tensor1d([gate]), temperature }).dataSync()[0]!);

describe('10, 11. straight-through Gumbel', () => {
  it('has the vectors of the fixture: g = -log(-log u)', () => {
    toBeAllClose(st.U.map((u) => -Math.log(-Math.log(u + 1e-20) + 1e-20)), st.gumbel, { relative: 0, absolute: 1e-9 });
  });

  it.each(Object.entries(st.cases))('has the gates and gradients of the fixture at temperature %s', (temperature, { hard, dlogits }) => {
    tf.tidy(() => {
      const logits = tf.tensor(st.logits, [2, 3, 2]);
      const noise = marginOf(tf.tensor(st.gumbel, [2, 3, 2]));
      const upstream = tf.tensor2d(st.upstream, [2, 3]);
      const f = (z: tf.Tensor) => {
        const margin = marginOf(z);
        const gate = tf.cast(tf.greater(tf.add(margin, noise), 0), 'float32');
        expect([...gate.dataSync()]).toEqual(hard);
        return tf.sum(tf.mul(hardGate({ margin, noise, gate, temperature: Number(temperature) }, 'st-gumbel'), upstream));
      };
      toBeAllClose(tf.grad(f)(logits).reshape([12]), dlogits, { relative: 0, absolute: 1e-6 });
    });
  });

  it('differs from a finite difference of its soft relaxation by rounding alone', () => {
    const relaxed = (m: number) => sigmoid((m + 0.4) / 0.7);
    const difference = (relaxed(0.3 + 1e-5) - relaxed(0.3 - 1e-5)) / 2e-5;
    expect(slopeOf('st-gumbel', 0.3, 1, 0.7, 0.4)).toBeCloseTo(difference, 6);
  });

  it('draws as often as sigmoid(m) says, whatever the temperature', () => {
    const generator = random('binomial');
    const draws = 20_000;
    for (const m of [-1, 0, 0.7]) {
      let open = 0;
      for (let i = 0; i < draws; i++) if (m + logOdds(Math.min(Math.max(generator.uniform(), 2 ** -25), 1 - 2 ** -25)) > 0) open++;
      const p = sigmoid(m);
      expect(Math.abs(open / draws - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / draws));
    }
  });
});

describe('13. estimates with less noise', () => {
  it.each(Object.entries(slopes.gumbel_rao))('Gumbel-Rao %s', (key, expected) => {
    const [m, temperature, gate] = key.split('|').map(Number);
    expect(Math.abs(slopeOf('gumbel-rao', m!, gate!, temperature!) - expected)).toBeLessThan(2e-6);
  });

  it.each(Object.entries(slopes.reinmax))('ReinMax %s', (key, expected) => {
    const [m, gate] = key.split('|').map(Number);
    expect(slopeOf('reinmax', m!, gate!, 1)).toBeCloseTo(expected, 6);
  });

  it('Gumbel-Rao has the mean of straight-through, ReinMax that of the true derivative p (1 - p)', () => {
    for (const m of [-2, 0, 0.5, 1.5]) {
      const p = sigmoid(m);
      const mean = (estimator: Estimator, temperature: number) => p * slopeOf(estimator, m, 1, temperature) + (1 - p) * slopeOf(estimator, m, 0, temperature);
      expect(mean('reinmax', 1)).toBeCloseTo(p * (1 - p), 6);
      const n = 20_000; // the midpoint rule over u, which m + logit(u) draws the noise with
      let straight = 0;
      for (let i = 0; i < n; i++) {
        const y = sigmoid((m + logOdds((i + 0.5) / n)) / 0.5);
        straight += (y * (1 - y)) / 0.5 / n;
      }
      expect(mean('gumbel-rao', 0.5)).toBeCloseTo(straight, 5);
    }
  });

  it('is finite at the ends', () => {
    for (const m of [-60, 60]) for (const gate of [0, 1]) for (const estimator of ['st-gumbel', 'gumbel-rao', 'reinmax', 'score'] as const) expect(Number.isFinite(slopeOf(estimator, m, gate, 0.1))).toBe(true);
  });

  it('the score function is unbiased: over all 2^3 decisions of three gates it is the derivative of the expectation', () => {
    const margins = [0.4, -1.1, 0.2];
    const loss = (a: readonly number[]) => 1 + 2 * a[0]! - a[1]! * a[2]! + 0.3 * a[0]! * a[2]!;
    const all = Array.from({ length: 8 }, (_, i) => [i & 1, (i >> 1) & 1, (i >> 2) & 1]);
    const probability = (a: readonly number[], ms: readonly number[]) => a.reduce((q, x, i) => q * (x ? sigmoid(ms[i]!) : 1 - sigmoid(ms[i]!)), 1);
    const expectation = (ms: readonly number[]) => all.reduce((e, a) => e + probability(a, ms) * loss(a), 0);
    margins.forEach((m, i) => {
      const moved = (by: number) => margins.map((x, j) => (j === i ? x + by : x));
      const difference = (expectation(moved(1e-4)) - expectation(moved(-1e-4))) / 2e-4;
      const estimate = all.reduce((e, a) => e + probability(a, margins) * (loss(a) - 0.9) * (a[i]! - sigmoid(m)), 0); // any baseline
      expect(estimate).toBeCloseTo(difference, 6);
    });
  });
});

describe('temperatures', () => {
  it('are constant or run from one to another', () => {
    const course = { from: 4, to: 1, steps: 10 };
    expect(temperatureAt(5, 99)).toBe(5);
    for (const shape of ['linear', 'cosine', 'exponential'] as const) {
      expect(temperatureAt({ ...course, shape }, 0)).toBe(4);
      expect(temperatureAt({ ...course, shape }, 10)).toBeCloseTo(1, 12);
      expect(temperatureAt({ ...course, shape }, 1000)).toBeCloseTo(1, 12);
    }
    expect(temperatureAt({ ...course, shape: 'linear' }, 5)).toBe(2.5);
    expect(temperatureAt({ ...course, shape: 'cosine' }, 5)).toBeCloseTo(2.5, 12);
    expect(temperatureAt({ ...course, shape: 'exponential' }, 5)).toBeCloseTo(2, 12);
  });
});

describe('capacity', () => {
  it('opens each gate for the samples that want it most', () => {
    const scores = Float32Array.of(3, -1, 1, 0, 2, 0); // [3, 2]
    expect([...mostWanted(scores, 2, 0.5)]).toEqual([1, 0, 0, 1, 1, 1]);
    expect([...mostWanted(scores, 2, 0.1)]).toEqual([1, 0, 0, 1, 0, 0]);
    expect([...mostWanted(scores, 2, 1)]).toEqual([1, 1, 1, 1, 1, 1]);
  });
});

