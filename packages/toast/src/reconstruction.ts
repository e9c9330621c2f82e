import * as tf from '@tensorflow/tfjs';
import { mean, mul, primal, reshape, sub, type Step, type Value } from '@espalier/core';
import type { RowMap } from './maps.ts';

/** f of x as a constant: no gradient goes back through it. A block computed again asks every array for one, comparisons too. */
function constantOf(x: Value, f: (x: tf.Tensor) => tf.Tensor): tf.Tensor {
  const { shape } = x;
  const op = tf.customGrad((...args) => ({ value: f(args[0] as tf.Tensor), gradFunc: () => tf.zeros(shape) }));
  return op(primal(x));
}

/**
 * mean over tokens and channels of (A sg(upper) - sg(lower))^2, of the tokens that `seen` [B, T] marks: how well A undoes a
 * block, so that the gradient is that of A alone. upper and lower [B, T, d].
 */
export function reconstructionOf(a: RowMap, upper: Value, lower: Value, seen: tf.Tensor, step: Step): Value {
  const width = upper.shape.at(-1)!;
  const [above, below] = [upper, lower].map((h) => constantOf(h, (x) => tf.reshape(x, [-1, width])));
  const error = sub(a(above!, step), below!); // [B T, d]
  const weight = tf.div(tf.reshape(seen, [-1, 1]), tf.maximum(tf.mean(seen), 1e-12));
  return reshape(mean(mul(mul(error, error), weight), [0, 1]), []);
}

/** 1 for tokens and 0 for padding, from an additive mask [B, 1, 1, T]: [B, T]. */
export const seenIn = (mask: tf.Tensor): tf.Tensor => constantOf(mask, (m) => tf.cast(tf.greater(tf.reshape(m, [m.shape[0]!, m.shape[3]!]), -1), 'float32'));
