import * as tf from '@tensorflow/tfjs';
import { isGroup, takeGroup, type Rows } from './samples.ts';

/*
 * tfjs's own gather gradient needs UnsortedSegmentSum, which wasm lacks, and loops over every table row on cpu.
 * Here gather and scatter are each other's gradient, so derivatives of any order exist on every backend.
 */

/** Rows of a table: y[i] = table[index[i]]; [V, D], [N] -> [N, D]. The gradient is `scatterRows`. */
export function gatherRows(table: tf.Tensor2D, index: tf.Tensor1D): tf.Tensor2D {
  const op = tf.customGrad((...args) => {
    const [t, save] = args as [tf.Tensor2D, tf.GradSaveFunc];
    save([index]); // the caller's tidy may dispose its own before the backward pass
    return { value: tf.gather(t, index), gradFunc: (dy: tf.Tensor, [saved]: tf.Tensor[]) => scatterRows(matrix(dy), vector(saved!), table.shape[0]) };
  });
  return matrix(op(table));
}

/** Sums rows into a table: y[v] = sum of x[i] over index[i] = v; [N, D], [N] -> [V, D]. The gradient is `gatherRows`. */
export function scatterRows(x: tf.Tensor2D, index: tf.Tensor1D, rows: number): tf.Tensor2D {
  const op = tf.customGrad((...args) => {
    const [t, save] = args as [tf.Tensor2D, tf.GradSaveFunc];
    save([index]);
    return {
      value: tf.scatterND(tf.expandDims(index, 1), t, [rows, x.shape[1]]),
      gradFunc: (dy: tf.Tensor, [saved]: tf.Tensor[]) => gatherRows(matrix(dy), vector(saved!)),
    };
  });
  return matrix(op(x));
}

// Their ranks are what they were made with; as2D and as1D would run a kernel to say so.
const matrix = (x: tf.Tensor) => x as tf.Tensor2D;
const vector = (x: tf.Tensor) => x as tf.Tensor1D;

/** Rows of the first axis of an array of any rank: [B, ...] -> [rows, ...]. */
export function gatherBatch(x: tf.Tensor, rows: Rows): tf.Tensor {
  if (isGroup(rows)) return takeGroup(x, rows);
  const rest = x.shape.slice(1);
  const index = tf.tensor1d([...rows], 'int32');
  const flat = tf.reshape(x, [x.shape[0]!, rest.reduce((a, b) => a * b, 1)]) as tf.Tensor2D;
  // An int32 or bool array carries no gradient and scatterND would refuse its dtype.
  const taken = x.dtype === 'float32' ? gatherRows(flat, index) : tf.gather(flat, index);
  return tf.reshape(taken, [rows.length, ...rest]);
}
