const SIZES = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 } as const;

/** How the values of a stored array are written, by the names of safetensors. */
export type Dtype = keyof typeof SIZES;

/** One array of a file: values as float32 or, for other types than F16, BF16 and BOOL, as they are; BOOL as bytes. */
export interface StoredTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | Int32Array | Int16Array | Int8Array | BigInt64Array | Uint8Array;
}

export const DTYPES = ['F64', 'F32', 'F16', 'BF16', 'I64', 'I32', 'I16', 'I8', 'U8', 'BOOL'] as const satisfies readonly Dtype[];

/** Bytes per value as stored. */
export const storedSize = (dtype: Dtype): number => SIZES[dtype];

/** The type that holds `data` as it is. */
export function dtypeOf(data: StoredTensor['data']): Dtype {
  if (data instanceof Float32Array) return 'F32';
  if (data instanceof Float64Array) return 'F64';
  if (data instanceof Int32Array) return 'I32';
  if (data instanceof BigInt64Array) return 'I64';
  if (data instanceof Int16Array) return 'I16';
  return data instanceof Int8Array ? 'I8' : 'U8';
}

/** The product of a shape, or undefined where that of its sizes other than 0 exceeds 2^53 - 1. */
export function elementsOf(shape: readonly number[]): number | undefined {
  const product = shape.reduce((a, b) => a * (b || 1), 1);
  if (!Number.isSafeInteger(product)) return undefined;
  return shape.includes(0) ? 0 : product;
}
