import * as tf from '@tensorflow/tfjs';
import type { ESTIMATORS } from './settings.ts';

export type Estimator = (typeof ESTIMATORS)[number];

/** One draw of binary gates, elementwise in m = z1 - z0, the log-odds of an open gate. */
export interface Draw {
  readonly margin: tf.Tensor; // m
  readonly noise: tf.Tensor; // g1 - g0, the difference of two Gumbel numbers; zero where nothing is drawn
  readonly gate: tf.Tensor; // a = 1 where m + noise > 0, else 0
  readonly temperature: number;
}

/**
 * da/dm of a hard gate as an estimator has it; the forward sample a is the same for all.
 * st-gumbel: y (1 - y) / tau, y = sigmoid((m + noise) / tau) (arXiv 1611.01144). gumbel-rao: its mean over all noise that
 * gives the same a (arXiv 2010.04838). reinmax: (1 - p) / 2 if a = 1, else p / 2, p = sigmoid(m), whose mean is exactly
 * p (1 - p) (arXiv 2304.08612). score: 0, its gradient comes from the loss.
 */
export function gateSlope(estimator: Estimator, { margin, noise, gate, temperature }: Draw): tf.Tensor {
  return tf.tidy(() => {
    switch (estimator) {
      case 'st-gumbel':
        return softSlope(tf.add(margin, noise), temperature);
      case 'gumbel-rao':
        return conditionalSlope(margin, gate, temperature);
      case 'reinmax': {
        const p = tf.sigmoid(margin);
        return tf.mul(0.5, tf.abs(tf.sub(gate, p)));
      }
      case 'score':
        return tf.zerosLike(margin);
    }
  });
}

/** y (1 - y) / tau with y = sigmoid(z / tau). */
function softSlope(z: tf.Tensor, temperature: number): tf.Tensor {
  const y = tf.sigmoid(tf.div(z, temperature));
  return tf.div(tf.mul(y, tf.sub(1, y)), temperature);
}

/**
 * The mean of the soft slope over z = m + logit(u) given a: u is uniform on (sigmoid(-m), 1) if a = 1 and on
 * (0, sigmoid(-m)) if a = 0. Either way the smaller of u and 1 - u at the far end is v q, with v uniform on (0, 1) and q the
 * probability of a, so that z = +-(s m + log(1 - v q) - log(v q)), s = +-1: no cancellation. The integral over t, v = t^3,
 * is by Gauss-Legendre.
 */
function conditionalSlope(margin: tf.Tensor, gate: tf.Tensor, temperature: number): tf.Tensor {
  const { nodes, weights } = QUADRATURE;
  const v = tf.tensor1d(nodes.map((t) => t ** 3));
  const density = tf.tensor1d(weights.map((w, i) => 3 * nodes[i]! ** 2 * w));
  const signed = tf.expandDims(tf.mul(margin, tf.sub(tf.mul(gate, 2), 1)), -1); // m if a = 1, else -m
  const vq = tf.mul(tf.sigmoid(signed), v); // [.., N]
  const z = tf.sub(tf.add(signed, tf.log1p(tf.neg(vq))), tf.log(vq)); // its sign does not matter to the slope
  return tf.sum(tf.mul(softSlope(z, temperature), density), -1);
}

/** Gauss-Legendre nodes and weights on (0, 1), by Newton's method on the Legendre polynomial. */
function gaussLegendre(n: number): { readonly nodes: number[]; readonly weights: number[] } {
  const at = (x: number) => {
    let [p, before] = [1, 0];
    for (let k = 0; k < n; k++) [p, before] = [((2 * k + 1) * x * p - k * before) / (k + 1), p];
    return { p, slope: (n * (x * p - before)) / (x * x - 1) };
  };
  const roots = Array.from({ length: n }, (_, i) => {
    let x = Math.cos((Math.PI * (i + 0.75)) / (n + 0.5));
    for (let k = 0; k < 20; k++) x -= at(x).p / at(x).slope;
    return x;
  });
  return { nodes: roots.map((x) => (x + 1) / 2), weights: roots.map((x) => 1 / ((1 - x * x) * at(x).slope ** 2)) };
}
const QUADRATURE = gaussLegendre(48);

/** a as a hard gate of m on the tape: the value is the sample, the gradient towards m is dy slope. */
export function hardGate({ margin, ...draw }: Draw, estimator: Estimator): tf.Tensor {
  const op = tf.customGrad((...args) => {
    const [m, save] = args as [tf.Tensor, tf.GradSaveFunc];
    const slope = gateSlope(estimator, { margin: m, ...draw });
    save([slope]);
    return { value: draw.gate.clone(), gradFunc: (dy: tf.Tensor, [saved]: tf.Tensor[]) => tf.mul(dy, saved!) };
  });
  return op(margin);
}

/** m = z1 - z0 of logits [.., 2]. */
export const marginOf = (logits: tf.Tensor): tf.Tensor => {
  const rank = logits.rank - 1;
  const [no, yes] = tf.split(logits, 2, rank);
  return tf.squeeze(tf.sub(yes!, no!), [rank]);
};
