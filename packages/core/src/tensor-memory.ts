import { storedSize, type Dtype, type StoredTensor } from './dtypes.ts';
import { halfToFloat } from './half.ts';

/** Memory for the values of an array, to be filled with its bytes as stored. */
export interface TensorMemory {
  readonly raw: Uint8Array<ArrayBuffer>; // where the stored bytes go
  /** The values, in the same memory. Call once, after `raw` is filled. */
  values(): StoredTensor['data'];
}

/** Bytes that `tensorMemory` needs per value: 4 for F16 and BF16, which become float32, else the stored size. */
export const memorySize = (dtype: Dtype): number => Math.max(storedSize(dtype), isHalf(dtype) ? 4 : 0);

/**
 * `count` values of `dtype` at the start of `buffer`. Halves are read into the upper half of their place and widened
 * where they are, so nothing is held twice.
 */
export function tensorMemory(dtype: Dtype, count: number, buffer: ArrayBuffer = new ArrayBuffer(count * memorySize(dtype))): TensorMemory {
  const size = storedSize(dtype);
  const raw = new Uint8Array(buffer, isHalf(dtype) ? 2 * count : 0, count * size);
  return { raw, values: () => view(dtype, count, buffer) };
}

const isHalf = (dtype: Dtype) => dtype === 'F16' || dtype === 'BF16';

function view(dtype: Dtype, count: number, buffer: ArrayBuffer): StoredTensor['data'] {
  switch (dtype) {
    case 'F64': return new Float64Array(buffer, 0, count);
    case 'F32': return new Float32Array(buffer, 0, count);
    case 'I64': return new BigInt64Array(buffer, 0, count);
    case 'I32': return new Int32Array(buffer, 0, count);
    case 'I16': return new Int16Array(buffer, 0, count);
    case 'I8': return new Int8Array(buffer, 0, count);
    case 'F16': {
      // Value i is written at byte 4i, below every half still to be read (2 * count + 2i + 2 on).
      const halves = new Uint16Array(buffer, 2 * count, count);
      const out = new Float32Array(buffer, 0, count);
      for (let i = 0; i < count; i++) out[i] = halfToFloat(halves[i]!);
      return out;
    }
    case 'BF16': {
      const halves = new Uint16Array(buffer, 2 * count, count);
      const bits = new Uint32Array(buffer, 0, count);
      for (let i = 0; i < count; i++) bits[i] = halves[i]! << 16;
      return new Float32Array(buffer, 0, count);
    }
    case 'U8':
    case 'BOOL': return new Uint8Array(buffer, 0, count);
  }
}
