import { elementsOf, storedSize, type StoredTensor } from '@espalier/core';
import { readBytes, type ByteSource } from './byte-source.ts';
import type { CheckpointTensor } from './checkpoint.ts';
import type { Storage, TensorView } from './pickle-values.ts';
import { memoryFor, readValues } from './stored-values.ts';

/** The byte of the file at which a storage's values begin, checked to be all there. */
export type Locate = (storage: Storage) => Promise<number>;

/** A tensor of a pickle as one to be read: values one behind the other straight from the file, others gathered. */
export function torchTensor(view: TensorView, source: ByteSource, locate: Locate): CheckpointTensor {
  const { storage, offset, shape } = view;
  const { dtype } = storage;
  const count = elementsOf(shape) ?? 0; // defined: the view was checked
  return {
    dtype,
    shape,
    read: async (scratch) => {
      const start = (await locate(storage)) + offset * storedSize(dtype);
      return count === 0 || isContiguous(view) ? readValues(source, dtype, start, count, scratch) : readGathered(view, count, source, start, scratch);
    },
  };
}

/** Whether values lie row-major without gaps; the stride of a dimension of size 1 is never used. */
function isContiguous({ shape, strides }: TensorView): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i]!;
  }
  return true;
}

async function readGathered(view: TensorView, count: number, source: ByteSource, start: number, scratch: ArrayBuffer | undefined): Promise<StoredTensor['data']> {
  const { shape, strides, storage: { dtype } } = view;
  const size = storedSize(dtype);
  const reach = shape.reduce((at, n, i) => at + (n - 1) * strides[i]!, 0) + 1;
  const memory = memoryFor(dtype, count, scratch, source.name);
  const window = await readBytes(source, start, reach * size);
  copyStrided(units(window, size), units(memory.raw, size), size === 8 ? 2 : 1, shape, strides);
  return memory.values();
}

type Units = Uint8Array | Uint16Array | Uint32Array;

/** Bytes as integers of a value's width, of 4 bytes at most: copied as float64, a long that looks like a NaN would change. */
function units({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>, size: number): Units {
  if (size >= 4) return new Uint32Array(buffer, byteOffset, byteLength / 4);
  return size === 2 ? new Uint16Array(buffer, byteOffset, byteLength / 2) : new Uint8Array(buffer, byteOffset, byteLength);
}

/** Value k of `to` = value (sum of index_i * stride_i) of `from`, k counting the indices row-major; a value is `width` units. */
function copyStrided(from: Units, to: Units, width: number, shape: readonly number[], strides: readonly number[]): void {
  const index = shape.map(() => 0);
  let at = 0;
  for (let k = 0; k < to.length; k += width) {
    for (let i = 0; i < width; i++) to[k + i] = from[at * width + i]!;
    for (let d = shape.length - 1; d >= 0; d--) {
      at += strides[d]!;
      if (++index[d]! < shape[d]!) break;
      at -= shape[d]! * strides[d]!;
      index[d] = 0;
    }
  }
}
