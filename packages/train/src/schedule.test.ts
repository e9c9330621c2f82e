import { OptionsError } from '@espalier/core';
import { toRefuse } from '@espalier/testing';
import { expect, it } from 'vitest';
import { schedule } from './schedule.ts';

const factors = (s: ReturnType<typeof schedule>, total: number) => Array.from({ length: total }, (_, i) => s.factor(i + 1, total));

it('is constant by default', () => {
  expect(factors(schedule(), 3)).toEqual([1, 1, 1]);
});

it('warms up from 1 / W, so that the first step moves, and reaches the full rate at step W', () => {
  expect(factors(schedule({ warmup: { steps: 4 } }), 6)).toEqual([0.25, 0.5, 0.75, 1, 1, 1]);
});

it('falls linearly after the warm-up and still moves in the last step', () => {
  expect(factors(schedule({ shape: 'linear', warmup: { steps: 2 } }), 6)).toEqual([0.5, 1, 1, 0.75, 0.5, 0.25]);
});

it('falls as a cosine towards its floor', () => {
  const f = factors(schedule({ shape: 'cosine', floor: 0.1 }), 4);
  [1, 0.1 + 0.45 * (1 + Math.SQRT1_2), 0.55, 0.1 + 0.45 * (1 - Math.SQRT1_2)].forEach((expected, i) => expect(f[i]).toBeCloseTo(expected, 12));
});

it("counts as BertAdam does with progress 'before': the first update has rate 0", () => {
  expect(factors(schedule({ shape: 'linear', warmup: { fraction: 0.25 }, progress: 'before' }), 8).slice(0, 4)).toEqual([0, 0.5, 1, 5 / 6]);
  // progress x < w: x / w, else (x - 1) / (w - 1), whatever part of an update the warm-up ends in
  const [total, w] = [15, 0.1];
  const published = Array.from({ length: total }, (_, i) => (i / total < w ? i / total / w : (i / total - 1) / (w - 1)));
  factors(schedule({ shape: 'linear', warmup: { fraction: w }, progress: 'before' }), total).forEach((f, i) => expect(f).toBeCloseTo(published[i]!, 12));
});

it("counts as VL-BERT does with progress 'after': the last update has rate 0", () => {
  expect(factors(schedule({ shape: 'linear', warmup: { steps: 2 }, progress: 'after' }), 6)).toEqual([0.5, 1, 0.75, 0.5, 0.25, 0]);
  expect(factors(schedule({ shape: 'linear', progress: 'after' }), 2)).toEqual([0.5, 0]);
  expect(factors(schedule({ shape: 'cosine', warmup: { steps: 2 }, progress: 'after' }), 2)).toEqual([0.5, 1]);
});

it('takes the warm-up as a fraction of the run', () => {
  expect(factors(schedule({ shape: 'linear', warmup: { fraction: 0.1 } }), 20).slice(0, 3)).toEqual([0.5, 1, 1]);
});

it('by default never gives a rate of zero, nor above the peak, in runs of any length', () => {
  for (const shape of ['constant', 'linear', 'cosine'] as const)
    for (const total of [1, 2, 3, 7, 50])
      for (const fraction of [0, 0.1, 0.5, 1]) {
        const f = factors(schedule({ shape, warmup: { fraction } }), total);
        expect(Math.min(...f)).toBeGreaterThan(0);
        expect(Math.max(...f)).toBe(1);
      }
});

it('refuses a warm-up longer than the run, and options that it does not know', async () => {
  await toRefuse(() => schedule({ warmup: { steps: 9 } }).factor(1, 5), OptionsError, '9 steps', 'run of 5');
  const misspelt: object = { warmpu: { steps: 1 } };
  await toRefuse(() => schedule(misspelt), OptionsError, "'warmpu'", "'warmup'");
  const empty: object = { warmup: {} };
  await toRefuse(() => schedule(empty), OptionsError, 'warmup', '{ steps: 500 }');
});
