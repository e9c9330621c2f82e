export type { ByteSource } from './byte-source.ts';
export type { Checkpoint, CheckpointFormat, CheckpointTensor } from './checkpoint.ts';
export { memoryCheckpoint } from './memory-checkpoint.ts';
