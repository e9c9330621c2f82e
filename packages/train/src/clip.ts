import { squaredNormOf, type Gradient } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';

/** sum over all arrays of |g|^2, left on the backend so that one read can serve it and the loss; a scalar. */
export const squaredNorm = (gradients: Iterable<Gradient>): tf.Scalar =>
  tf.tidy(() => {
    const each = [...gradients].map(squaredNormOf);
    return each.length ? tf.reshape<tf.Rank.R0>(tf.addN(each), []) : tf.scalar(0);
  });

/** min(1, max / norm): what gradients of this global norm are multiplied by so that their norm is at most `max` (arXiv 1211.5063). */
export const clipFactor = (norm: number, max: number): number => (norm > max ? max / norm : 1);
