import type * as tf from '@tensorflow/tfjs';

/** What a step's host data follow from: with it, and the place, they can be made again. */
export interface StepKey {
  readonly seed: number;
  readonly step: number;
  readonly samples: readonly string[]; // ids of all rows of the batch
}

/** Takes host data into a step by name. */
export type Feeder = (name: string, make: (key: StepKey) => tf.Tensor) => tf.Tensor;
