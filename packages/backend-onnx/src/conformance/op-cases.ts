import * as tf from '@tensorflow/tfjs';
import { elementwiseCases } from './elementwise-cases.ts';
import { indexingCases } from './indexing-cases.ts';
import { reductionCases } from './reduction-cases.ts';
import { shapeCases } from './shape-cases.ts';

/** One use of an operation, the same on every backend. */
export interface OpCase {
  readonly name: string;
  readonly inputs: readonly Given[];
  readonly f: (...xs: tf.Tensor[]) => tf.Tensor | tf.Tensor[];
  /** Computes its first input's entries exactly; without it the cpu backend's result is expected. */
  readonly truth?: (x: number) => number;
}
export interface Given {
  readonly values: readonly number[];
  readonly shape: readonly number[];
  readonly dtype: 'float32' | 'int32' | 'bool';
}

/** The cases: broadcasting, ranks 0 to 5, kept axes, nothing at all, NaN and infinities, transposes, integers and booleans. */
export const opCases: readonly OpCase[] = [...elementwiseCases, ...reductionCases, ...shapeCases, ...indexingCases];

/** What a case gives on the backend in force. */
export function runCase({ inputs, f }: OpCase): tf.Tensor[] {
  const made = tensorsOf(inputs);
  const out = tf.tidy(() => [f(...made)].flat());
  tf.dispose(made);
  return out;
}

export const tensorsOf = (inputs: readonly Given[]): tf.Tensor[] =>
  inputs.map(({ values, shape, dtype }) => tf.tensor(dtype === 'float32' ? Float32Array.from(values) : dtype === 'int32' ? Int32Array.from(values) : Uint8Array.from(values), [...shape], dtype));

/** Largest |found - expected| over the largest finite |expected|; infinite where NaN or infinities stand elsewhere. */
export function distance(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) return Infinity;
  let largest = 0;
  let error = 0;
  for (let i = 0; i < found.length; i++) {
    const [x, y] = [found[i]!, expected[i]!];
    if (!Number.isFinite(x) || !Number.isFinite(y)) {
      if (!Object.is(x, y)) return Infinity;
      continue;
    }
    largest = Math.max(largest, Math.abs(y));
    error = Math.max(error, Math.abs(x - y));
  }
  return error === 0 ? 0 : error / Math.max(largest, 1e-30);
}
