import * as tf from '@tensorflow/tfjs';

/**
 * What a backend that records operations (@espalier/backend-onnx) can do beyond computing. Core imports none: it asks the
 * backend in force.
 */
export interface GraphBackend {
  /** An array's values on the host, to be read only. */
  values(x: tf.Tensor): Float32Array;
  /** A variable's or a kept array's values, to be changed in place: no other tensor sees the change. */
  writable(x: tf.Tensor): Float32Array;
  /** A tensor whose values are this array itself. */
  adopt(values: Float32Array, shape: readonly number[]): tf.Tensor;
  /** Records a step once per signature and replays it without tracing. */
  capture(step: () => readonly tf.Tensor[], options: { readonly onRefused: (error: Error) => void }): CapturedStep;
}

export interface CapturedStep {
  /** `args` are the arrays that differ from call to call; variables need not be listed. */
  call(args: readonly tf.Tensor[], signature: string): tf.Tensor[];
  /** Host data by name: `make` is called again for every replay. */
  feed(name: string, make: () => tf.Tensor): tf.Tensor;
  readonly last: 'recorded' | 'replayed' | 'refused' | undefined;
  dispose(): void;
}

/** A tensor that takes an array over, without a copy where the backend can: the caller must not change it afterwards. */
export const adopt = (values: Float32Array, shape: readonly number[]): tf.Tensor => graphBackend()?.adopt(values, shape) ?? tf.tensor(values, [...shape]);

/** The backend in force, if it records operations. */
export function graphBackend(): GraphBackend | undefined {
  const backend: object = tf.backend();
  return isGraphBackend(backend) ? backend : undefined;
}

const isGraphBackend = (x: object): x is GraphBackend => ['capture', 'values', 'writable', 'adopt'].every((name) => typeof Reflect.get(x, name) === 'function');
