import type { StoredTensor } from '@espalier/core';
import type { Checkpoint } from './checkpoint.ts';

/** A checkpoint of arrays that are in memory already, such as those of `readSafetensors`. What is read of it are copies. */
export function memoryCheckpoint(tensors: ReadonlyMap<string, StoredTensor>, name: string, metadata: Readonly<Record<string, string>> = {}): Checkpoint {
  return {
    name,
    format: 'safetensors',
    metadata,
    tensors: new Map([...tensors].map(([key, { dtype, shape, data }]) => [key, { dtype, shape, read: () => Promise.resolve(data.slice()) }])),
    close: () => Promise.resolve(),
  };
}
