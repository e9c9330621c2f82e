import { layoutSafetensors } from '@espalier/core';
import type { ByteSink } from './byte-sink.ts';
import { bytesOf, type TensorToWrite } from './tensor-bytes.ts';

/**
 * Writes a safetensors file tensor by tensor, laid out as core's `writeSafetensors` does: wide types first, then by
 * name. One tensor is held at a time. @throws CheckpointError naming the tensor that its type cannot hold.
 */
export async function writeSafetensorsTo(sink: ByteSink, entries: readonly TensorToWrite[], metadata: Readonly<Record<string, string>> = {}): Promise<void> {
  const { head, order } = layoutSafetensors(entries, metadata);
  await sink.write(head);
  for (const { tensor } of order) for await (const bytes of bytesOf(tensor)) await sink.write(bytes);
}
