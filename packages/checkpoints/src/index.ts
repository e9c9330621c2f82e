export { blobSource, bytesSource, type ByteSource } from './byte-source.ts';
export type { Checkpoint, CheckpointFormat, CheckpointTensor } from './checkpoint.ts';
export { memoryCheckpoint } from './memory-checkpoint.ts';
export { openCheckpoint } from './open.ts';
export { openSafetensors } from './safetensors.ts';
export { writeSafetensorsTo, type ByteSink, type TensorToWrite } from './safetensors-writer.ts';
export { openSharded } from './sharded.ts';
