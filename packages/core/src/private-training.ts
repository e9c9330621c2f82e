import type * as tf from '@tensorflow/tfjs';
import type { Learner, LearnerOptions } from './learner.ts';

/** What is asked of private training; further options are the plugin's. */
export interface PrivacyRequest {
  readonly samples: number; // how many are protected
  readonly batch: number; // how many a step takes on average
  readonly steps: number; // of the whole training
  readonly [option: string]: unknown;
}

/** How a plugin trains privately: whoever runs it takes the samples that it says, step by step. */
export interface PrivateTraining<I> {
  /** Indices of the samples of the next step, drawn anew at every call; may be none. */
  batch(): readonly number[];
  /** Learns from them; a step without any has `key.samples` empty, and its inputs are not looked at. */
  learner<T>(options: Pick<LearnerOptions<T>, 'score'> & { readonly loss: (output: tf.Tensor, targets: T) => tf.Scalar }): Learner<I, T>; // a mean over rows, each of one sample
  /** What may be said of the variables after so many steps. */
  statement(steps: number): Readonly<Record<string, unknown>>;
}
