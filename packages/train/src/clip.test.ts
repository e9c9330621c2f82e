import * as tf from '@tensorflow/tfjs';
import { toLeakNothing, useCpu } from '@espalier/testing';
import { beforeAll, expect, it } from 'vitest';
import { clipFactor, squaredNorm } from './clip.ts';

beforeAll(useCpu);

it('squaredNorm goes over all arrays', async () => {
  const found = squaredNorm([tf.tensor1d([3, 0]), tf.tensor2d([[0, 4]]), tf.scalar(12)]);
  expect((await found.data())[0]).toBe(169);
  expect((await squaredNorm([]).data())[0]).toBe(0);
});

it('clipFactor brings a norm down to the limit and leaves smaller ones alone', () => {
  expect(clipFactor(13, 1)).toBe(1 / 13);
  expect(clipFactor(1, 1)).toBe(1);
  expect(clipFactor(0, 1)).toBe(1);
  expect(clipFactor(1e6, Infinity)).toBe(1);
});

it('leaves nothing behind', async () => {
  const g = tf.tensor1d([1, 2]);
  await toLeakNothing(() => squaredNorm([g]).dispose());
});
