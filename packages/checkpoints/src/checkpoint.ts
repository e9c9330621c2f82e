import type { Dtype, StoredTensor } from '@espalier/core';

/** A tensor of a checkpoint, not yet read. */
export interface CheckpointTensor {
  readonly dtype: Dtype; // as stored
  readonly shape: readonly number[];
  /**
   * The values, row-major: F16 and BF16 as float32, BOOL as bytes, other types as they are. With `scratch` large enough
   * the array may lie in it, so that nothing is allocated; else it is a new one.
   */
  read(scratch?: ArrayBuffer): Promise<StoredTensor['data']>;
}

export type CheckpointFormat = 'safetensors' | 'torch-zip' | 'torch-legacy';

/** The tensors of one checkpoint, of one file or of several. `close` gives its files back. */
export interface Checkpoint {
  readonly name: string; // for messages
  readonly format: CheckpointFormat;
  readonly tensors: ReadonlyMap<string, CheckpointTensor>; // names as stored
  readonly metadata: Readonly<Record<string, string>>; // of safetensors
  close(): Promise<void>;
}
