import type { Operation } from './operation.ts';
import type { Storage } from './storage.ts';

/** An array as a node reads it. */
export interface Reading {
  readonly storage: Storage;
  readonly shape: readonly number[];
}

/** One operation that was asked for and has not run yet. */
export interface RecordedNode {
  readonly kernel: string; // of TensorFlow.js
  readonly signature: number; // of the operation: equal signatures emit equal nodes
  readonly operation: Operation;
  readonly inputs: readonly Reading[];
  readonly outputs: readonly Storage[];
  needed: boolean;
}
