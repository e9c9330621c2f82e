import type { ParameterPoint } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';

/** What a transform is given for one variable in one step. All arrays have the variable's shape. */
export interface Change {
  readonly at: ParameterPoint;
  readonly update: tf.Tensor; // as the transform before left it; at first the gradient
  readonly value: tf.Tensor; // the variable before this step
  readonly slots: readonly tf.Tensor[]; // this transform's state, in the order of its `slots`; at first zeros
  readonly count: number; // updates of this variable, this one included
  readonly rate: number; // learning rate of this step
}

/** What a transform gives back: the update on its way, and its next state. */
export interface Changed {
  readonly update: tf.Tensor;
  readonly slots: readonly tf.Tensor[];
}

/** A pure function of gradient, state and variable. A chain of them is an optimiser: value <- value - update of the last. */
export interface Transform {
  readonly name: string;
  readonly slots: readonly string[]; // names of the arrays it keeps per variable
  /** What it does, as plain data: two transforms with equal settings compute the same. */
  settings(points: readonly ParameterPoint[]): Readonly<Record<string, unknown>>;
  apply(change: Change): Changed;
}

/** u <- rate u. */
export const scaleByRate = (): Transform => ({
  name: 'rate',
  slots: [],
  settings: () => ({}),
  apply: ({ update, rate }) => ({ update: tf.mul(update, rate), slots: [] }),
});
