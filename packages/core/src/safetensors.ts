import { dtypeOf, storedSize, type StoredTensor } from './dtypes.ts';
import { CheckpointError } from './errors.ts';
import { parseSafetensorsHeader, safetensorsHeaderLength } from './safetensors-header.ts';
import { layoutSafetensors } from './safetensors-layout.ts';
import { tensorMemory } from './tensor-memory.ts';

export interface SafetensorsFile {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads `u64 length | JSON header | data`, little endian. F16 and BF16 become float32. Every offset is checked: in
 * range, the size its shape asks for, contiguous and covering the file. @throws CheckpointError naming file and tensor.
 */
export function readSafetensors(bytes: Uint8Array, file = 'safetensors'): SafetensorsFile {
  const length = safetensorsHeaderLength(bytes.subarray(0, 8), bytes.byteLength, file);
  const header = parseSafetensorsHeader(bytes.subarray(8, 8 + length), bytes.byteLength, file);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { dtype, shape, count, offset }] of header.tensors) {
    const memory = tensorMemory(dtype, count);
    memory.raw.set(bytes.subarray(offset, offset + count * storedSize(dtype)));
    tensors.set(name, { dtype, shape, data: memory.values() });
  }
  return { tensors, metadata: header.metadata };
}

/** Writes tensors, wide types first and then in the order of their names, each aligned as its type needs; the header is padded to 8 bytes. */
export function writeSafetensors(tensors: ReadonlyMap<string, Omit<StoredTensor, 'dtype'>>, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  const list = [...tensors].map(([name, { shape, data }]) => ({ name, shape, data, dtype: dtypeOf(data) }));
  const { head, order, dataSize } = layoutSafetensors(list, metadata);
  const out = new Uint8Array(head.byteLength + dataSize);
  out.set(head);
  for (const { tensor: { name, shape, data }, count, begin } of order) {
    if (count !== data.length) throw new CheckpointError(`tensor '${name}': ${data.length} values for shape [${shape.join(', ')}]`);
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), head.byteLength + begin);
  }
  return out;
}
