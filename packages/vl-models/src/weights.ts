import * as tf from '@tensorflow/tfjs';
import { adopt, normal, ones, random, zeros, type Initializer, type Scope, type TensorSource } from '@espalier/core';
import type { KeyOf } from './keys.ts';
import { transposed } from './shared/transpose.ts';

/** BERT's initialisation: N(0, 0.02) for kernels and tables, 0 for biases and offsets, 1 for gains, by tensor path. */
export function initialValues(path: string, shape: readonly number[], seed: number, deviation = 0.02): Float32Array {
  const part = path.slice(path.lastIndexOf('.') + 1);
  const initializer: Initializer = part === 'gamma' ? ones : part === 'kernel' || part === 'table' ? normal(deviation) : zeros;
  return initializer(shape, random(seed, 'init', path));
}

/** Arrays of a new model, by a seed. */
export const initialised =
  (seed: number, deviation?: number): TensorSource =>
  (path, shape) =>
    adopt(initialValues(path, shape, seed, deviation), shape);

/** The arrays of a model (or of a merged one) under a checkpoint's key names, kernels back in torch's [out, in]. */
export async function toCheckpoint(arrays: ReadonlyMap<string, tf.Tensor>, keyOf: KeyOf): Promise<Map<string, { shape: readonly number[]; data: Float32Array }>> {
  const out = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [path, tensor] of arrays) {
    const values = await tensor.data<'float32'>();
    const key = keyOf(path);
    const [rows, columns] = tensor.shape as [number, number];
    if (path.endsWith('.kernel')) out.set(key, { shape: [columns, rows], data: transposed(values, rows, columns) });
    else out.set(key, { shape: storedShape(path, tensor.shape), data: values.slice() });
  }
  return out;
}

/** How a file stores an array of this shape: kernels as [out, in], a single number without axes. */
export function storedShape(path: string, shape: readonly number[]): readonly number[] {
  if (path.endsWith('.kernel')) return [...shape].reverse();
  return path.endsWith('.scale.table') ? [] : shape;
}

/** Releases a model's frozen arrays. */
export function disposeModel(scope: Scope): void {
  for (const { pretrained } of [...scope.points.linear]) tf.dispose([pretrained.kernel, pretrained.bias].flatMap((x) => (x instanceof tf.Tensor ? [x] : [])));
  for (const { pretrained } of scope.points.norm) tf.dispose([pretrained.gamma, pretrained.beta].flatMap((x) => (x instanceof tf.Tensor ? [x] : [])));
  for (const { pretrained } of scope.points.embedding) tf.dispose(pretrained.table instanceof tf.Tensor ? [pretrained.table] : []);
}
