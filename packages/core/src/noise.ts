import * as tf from '@tensorflow/tfjs';
import { random } from './random.ts';

/** Which numbers: uniform in [0, 1), standard normal, or standard Gumbel -log(-log u). */
export type Distribution = 'uniform' | 'normal' | 'gumbel';

/** What a step's random numbers are keyed by, next to the place. */
export interface NoiseKey {
  readonly seed: number;
  readonly step: number;
  readonly samples: readonly string[]; // ids of the rows
  readonly pass: number;
}

/** Random numbers for each sample from its own generator, so that grouping or reordering rows never changes them: [B, ...shape]. */
export function noise(key: NoiseKey, path: string, shape: readonly number[], distribution: Distribution): tf.Tensor {
  const each = shape.reduce((a, b) => a * b, 1);
  const values = new Float32Array(key.samples.length * each);
  key.samples.forEach((sample, row) => {
    const generator = random(key.seed, key.step, sample, path, key.pass);
    for (let i = row * each; i < (row + 1) * each; i++) {
      const draw = distribution === 'normal' ? generator.normal() : generator.uniform();
      // 24-bit uniforms are clamped away from 0 and 1 where a logarithm follows.
      values[i] = distribution === 'gumbel' ? -Math.log(-Math.log(Math.min(Math.max(draw, 2 ** -25), 1 - 2 ** -25))) : draw;
    }
  });
  return tf.tensor(values, [key.samples.length, ...shape]);
}

/** An inverted-dropout mask: 0 with probability `rate`, else 1 / (1 - rate); the same for both parts of a dual. */
export function dropoutMask(key: NoiseKey, path: string, shape: readonly number[], rate: number): tf.Tensor {
  const each = shape.reduce((a, b) => a * b, 1);
  const keep = 1 / (1 - rate);
  const values = new Float32Array(key.samples.length * each);
  key.samples.forEach((sample, row) => {
    const generator = random(key.seed, key.step, sample, path, key.pass);
    for (let i = row * each; i < (row + 1) * each; i++) values[i] = generator.uniform() < rate ? 0 : keep;
  });
  return tf.tensor(values, [key.samples.length, ...shape]);
}
