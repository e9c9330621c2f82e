import * as tf from '@tensorflow/tfjs';
import { primal, value, type Hook, type Host, type ParameterPoint } from '@espalier/core';
import type { REGULARISERS } from './options.ts';

/**
 * Of all tangents D together: 'l2sq' |D|^2, which makes the objective strongly convex; 'l2norm' sqrt(1e-6 + |D|^2), that of
 * the authors' code; 'l1' the sum of absolute values.
 */
export function regularise(kind: (typeof REGULARISERS)[number], tangents: readonly tf.Tensor[]): tf.Scalar {
  return tf.tidy(() => {
    const total = tf.addN(tangents.map((d): tf.Tensor => tf.sum(kind === 'l1' ? tf.abs(d) : tf.square(d))));
    return tf.reshape<tf.Rank.R0>(kind === 'l2norm' ? tf.sqrt(tf.add(total, 1e-6)) : total, []);
  });
}

/** Adds lambda times the regulariser to the loss of training steps, once, where the logits pass. */
export const regularised = (host: Host, kind: (typeof REGULARISERS)[number], lambda: number, tangents: readonly ParameterPoint[]): Hook[] =>
  host.sites({ role: 'logits' }).map((site) =>
    value(site, (y, step) => {
      if (step.training) step.loss(`${tangents[0]!.instance} regulariser`, tf.mul(lambda, regularise(kind, tangents.map((d) => primal(step.read(d))))));
      return y;
    }),
  );
