import { memorySize, storedSize, tensorMemory, type Dtype, type StoredTensor, type TensorMemory } from '@espalier/core';
import { allocate, checkRange, type ByteSource } from './byte-source.ts';

/** Memory for `count` values: the scratch where it is large enough, else new. */
export function memoryFor(dtype: Dtype, count: number, scratch: ArrayBuffer | undefined, who: string): TensorMemory {
  const bytes = count * memorySize(dtype);
  return tensorMemory(dtype, count, scratch && scratch.byteLength >= bytes ? scratch : allocate(bytes, who));
}

/** `count` values that lie one behind the other from `offset` on. */
export async function readValues(source: ByteSource, dtype: Dtype, offset: number, count: number, scratch?: ArrayBuffer): Promise<StoredTensor['data']> {
  checkRange(source, offset, count * storedSize(dtype));
  const memory = memoryFor(dtype, count, scratch, source.name);
  if (count > 0) await source.read(offset, memory.raw);
  return memory.values();
}
