import type { ByteSource } from './byte-source.ts';
import type { Checkpoint } from './checkpoint.ts';
import { openSafetensors } from './safetensors.ts';

/** Opens a checkpoint file. @throws CheckpointError; the source then stays open. */
export async function openCheckpoint(source: ByteSource): Promise<Checkpoint> {
  return openSafetensors(source);
}
