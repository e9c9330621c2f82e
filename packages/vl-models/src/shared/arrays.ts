import * as tf from '@tensorflow/tfjs';
import { CheckpointError, didYouMean } from '@espalier/core';

/** An array as files hold it. */
export interface NamedArray {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number | bigint>;
}
export type NamedArrays = ReadonlyMap<string, NamedArray>;

/** Reads named arrays with their ranks checked. @throws CheckpointError naming what is missing or misshapen. */
export function reader(arrays: NamedArrays, who: string) {
  const find = (name: string, rank: number): NamedArray => {
    const found = arrays.get(name);
    if (!found) throw new CheckpointError(`${who} inputs lack '${name}'.${didYouMean(name, arrays.keys())} There are ${[...arrays.keys()].join(', ')}.`);
    if (found.shape.length !== rank) throw new CheckpointError(`${who} input '${name}' has shape [${found.shape.join(', ')}], expected rank ${rank}`);
    return found;
  };
  return {
    has: (name: string) => arrays.has(name),
    numbers: (name: string, rank: number) => {
      const { shape, data } = find(name, rank);
      return { shape: [...shape], values: Float32Array.from(data, Number) };
    },
    integers: (name: string, rank: number) => {
      const { shape, data } = find(name, rank);
      return { shape: [...shape], values: Int32Array.from(data, Number) };
    },
  };
}

/** [B, N] of floats. */
export const matrix = ({ shape, values }: { shape: number[]; values: Float32Array }): tf.Tensor2D => tf.tensor2d(values, [shape[0]!, shape[1]!]);
/** [B, N] of int32. */
export const integerMatrix = ({ shape, values }: { shape: number[]; values: Int32Array }): tf.Tensor2D =>
  tf.tensor2d(values, [shape[0]!, shape[1]!], 'int32');
/** [B, N, D] of floats. */
export const cube = ({ shape, values }: { shape: number[]; values: Float32Array }): tf.Tensor3D => tf.tensor3d(values, [shape[0]!, shape[1]!, shape[2]!]);
