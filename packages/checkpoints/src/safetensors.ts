import { parseSafetensorsHeader, safetensorsHeaderLength } from '@espalier/core';
import { readBytes, type ByteSource } from './byte-source.ts';
import type { Checkpoint, CheckpointTensor } from './checkpoint.ts';
import { readValues } from './stored-values.ts';

/**
 * Opens a safetensors file: its header is read and checked as by core's `readSafetensors`, tensors when asked for.
 * @throws CheckpointError naming file and tensor; the source then stays open.
 */
export async function openSafetensors(source: ByteSource): Promise<Checkpoint> {
  const start = await readBytes(source, 0, Math.min(8, source.size));
  const length = safetensorsHeaderLength(start, source.size, source.name);
  const header = parseSafetensorsHeader(await readBytes(source, 8, length), source.size, source.name);
  const tensors = new Map<string, CheckpointTensor>();
  for (const [name, { dtype, shape, count, offset }] of header.tensors)
    tensors.set(name, { dtype, shape, read: (scratch) => readValues(source, dtype, offset, count, scratch) });
  return { name: source.name, format: 'safetensors', tensors, metadata: header.metadata, close: () => source.close() };
}
