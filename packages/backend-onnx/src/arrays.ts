/** What the backend computes with: three element types of TensorFlow.js, held in host memory. */
export type HostArray = Float32Array | Int32Array | Uint8Array;
export type HostType = 'float32' | 'int32' | 'bool';

export const isHostType = (dtype: string): dtype is HostType => dtype === 'float32' || dtype === 'int32' || dtype === 'bool';

/** Values as an array of their element type; the same array where it is one already. */
export function hostArray(values: ArrayLike<number | boolean>, dtype: HostType): HostArray {
  if (dtype === 'float32') return values instanceof Float32Array ? values : Float32Array.from(values, Number);
  if (dtype === 'int32') return values instanceof Int32Array ? values : Int32Array.from(values, Number);
  return values instanceof Uint8Array ? values : Uint8Array.from(values, Number);
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export const sameShape = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((n, i) => n === b[i]);
