import * as tf from '@tensorflow/tfjs';
import { scatterRows } from './rows.ts';

/** The gradient of a table [V, D] of which N rows were read: row index[i] gets rows[i], added up where it was read twice. */
export interface RowGradient {
  readonly index: tf.Tensor1D; // int32 [N]
  readonly rows: tf.Tensor2D; // [N, D]
  readonly shape: readonly number[]; // [V, D]
}
/** The gradient of a variable: an array of its shape, or rows of it. */
export type Gradient = tf.Tensor | RowGradient;

export const isRowGradient = (g: Gradient): g is RowGradient => 'rows' in g;

/** The arrays a gradient consists of. */
export const gradientTensors = (g: Gradient): tf.Tensor[] => (isRowGradient(g) ? [g.index, g.rows] : [g]);

/** As an array of the variable's shape; a new one, or the gradient itself. */
export const denseGradient = (g: Gradient): tf.Tensor => (isRowGradient(g) ? scatterRows(g.rows, g.index, g.shape[0]!) : g);

/** by g. */
export const multiplyGradient = (g: Gradient, by: number): Gradient =>
  isRowGradient(g) ? { ...g, index: g.index.clone(), rows: tf.mul(g.rows, by) } : tf.mul(g, by);

/** a + b: rows stay rows where both are. */
export function addGradients(a: Gradient, b: Gradient): Gradient {
  if (isRowGradient(a) && isRowGradient(b)) return { index: tf.concat([a.index, b.index]), rows: tf.concat([a.rows, b.rows]), shape: a.shape };
  return tf.tidy(() => tf.add(denseGradient(a), denseGradient(b)));
}

/** |g|^2, a scalar. Of rows: sum over i, j with equal index of rows[i] . rows[j]. */
export function squaredNormOf(g: Gradient): tf.Tensor {
  if (!isRowGradient(g)) return tf.sum(tf.square(g));
  return tf.tidy(() => {
    const same = tf.cast(tf.equal(tf.expandDims(g.index, 1), tf.expandDims(g.index, 0)), 'float32'); // [N, N]
    return tf.sum(tf.mul(g.rows, tf.matMul(same, g.rows)));
  });
}

/** x itself, with its gradient multiplied by `by`. */
export function scaleGradient(x: tf.Tensor, by: tf.Tensor): tf.Tensor {
  const op = tf.customGrad((...args) => {
    const [t, save] = args as [tf.Tensor, tf.GradSaveFunc];
    save([by]);
    return { value: t.clone(), gradFunc: (dy: tf.Tensor, [saved]: tf.Tensor[]) => tf.mul(dy, saved!) };
  });
  return op(x);
}
