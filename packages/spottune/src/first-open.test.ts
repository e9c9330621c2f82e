import * as tf from '@tensorflow/tfjs';
import { random } from '@espalier/core';
import { toBeAllClose, useCpu } from '@espalier/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { firstOpen } from './first-open.ts';

beforeAll(useCpu);

const generator = random('first open');
const numbers = (rows: number, columns: number) => tf.tensor2d(Array.from({ length: rows * columns }, () => generator.normal()), [rows, columns]);

describe('one decision for the first open gate', () => {
  it('opens all gates from the likeliest on, by the argmax of logits and noise', () => {
    const choice = firstOpen(3);
    expect(choice.outputs).toBe(4);
    tf.tidy(() => {
      const { open, score } = choice.draw(tf.tensor2d([[1, 0, 0, 0], [0, 0, 0, 3], [0, 1, 0.5, 0]]), tf.tensor2d([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 2, 0]]));
      expect([...open(score.dataSync<'float32'>())]).toEqual([1, 1, 1, 0, 0, 0, 0, 0, 1]);
    });
  });

  it('has the gradient of the soft gates sum_j<=l softmax((z + g) / tau)_j, and of the exact probabilities', () => {
    tf.tidy(() => {
      const [z, noise, dGate, dProbability] = [numbers(3, 5), numbers(3, 5), numbers(3, 4), numbers(3, 4)];
      const soft = (x: tf.Tensor) => tf.slice(tf.cumsum(tf.softmax(x), 1), [0, 0], [-1, 4]);
      const expected = tf.grad((x) => tf.add(tf.sum(tf.mul(soft(tf.div(tf.add(x, noise), 0.7)), dGate)), tf.sum(tf.mul(soft(x), dProbability))))(z);
      const drawn = firstOpen(4).draw(z, noise);
      toBeAllClose(drawn.probability, soft(z), { relative: 1e-6 });
      toBeAllClose(drawn.gradient(dGate, dGate, dProbability, { estimator: 'st-gumbel', temperature: 0.7 }), expected, { relative: 1e-5 });
    });
  });

  it('has the derivative of the logarithm of the chosen probability', () => {
    tf.tidy(() => {
      const z = numbers(4, 4);
      const drawn = firstOpen(3).draw(z, tf.zeros([4, 4]));
      const gates = tf.tensor2d([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]]); // k = 0, 1, 2, 3
      const expected = tf.grad((x) => tf.sum(tf.mul(tf.logSoftmax(x), tf.eye(4))))(z);
      toBeAllClose(drawn.likelihood(gates), expected, { relative: 1e-5 });
    });
  });

  it('starts at a rate', () => {
    for (const rate of [0.1, 0.5, 0.8])
      tf.tidy(() => {
        const choice = firstOpen(12);
        const { probability } = choice.draw(tf.tensor2d(choice.start(rate), [1, 13]), tf.zeros([1, 13]));
        expect(tf.mean(probability).dataSync()[0]).toBeCloseTo(rate, 5);
      });
  });
});
