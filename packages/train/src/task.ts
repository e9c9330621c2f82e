import type { Adapted, Learner, LearnerOptions } from '@espalier/core';
import type * as tf from '@tensorflow/tfjs';

/** What an evaluation found, by name: accuracy, loss, accuracy per answer type. */
export type Metrics = Readonly<Record<string, number>>;

/**
 * What is to be learned, from batches B of host data, by a model that takes inputs I. Epochs are counted from 1. All
 * arrays a task makes are disposed by `fit`. T is one array or nested plain objects and lists of them.
 */
export interface Task<B, I, T = tf.Tensor2D> {
  /** The batches of an epoch from position `from` (0 is the first) on; the same ones in the same order at every call. */
  batches(epoch: number, from: number): AsyncIterable<B>;
  readonly batchesPerEpoch: number;
  /** What the model is given. */
  inputs(batch: B): I;
  /** What the loss compares with; [B, A] for answers. */
  targets(batch: B): T;
  /** Ids of the samples, one per row: random numbers are keyed by them. */
  samples(batch: B): readonly string[];
  /** A mean over the rows of the batch. */
  loss(output: tf.Tensor, targets: T): tf.Scalar;
  /** A mean over the rows of the batch that is reported as `accuracy`, such as `softAccuracy`. */
  score?(output: tf.Tensor, targets: T): tf.Scalar;
  /** How gradients are computed, where it is not as `Adapted.learner` does. One batch makes an update then. */
  learner?(adapted: Adapted<I>, options: LearnerOptions<T>): Learner<I, T>;
  /** Scores the model on data it is not trained on. May give undefined when `signal` asks to stop. */
  validate?(adapted: Adapted<I>, signal: AbortSignal): Promise<Metrics | undefined>;
}
