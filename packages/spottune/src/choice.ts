import * as tf from '@tensorflow/tfjs';
import { gateSlope, marginOf, type Estimator } from './estimators.ts';
import { logOdds } from './policy.ts';

/** How a policy's numbers become gates. */
export interface Choice {
  readonly outputs: number; // numbers per sample that a policy gives
  /** The numbers for which gates are open at a rate: [outputs]. */
  start(rate: number): Float32Array;
  /** One draw with Gumbel noise (zero where nothing is drawn), both [B, outputs]. */
  draw(logits: tf.Tensor, noise: tf.Tensor): Drawn;
}

/** A draw. Its arrays are the caller's. */
export interface Drawn {
  readonly arrays: readonly tf.Tensor[]; // what the functions need
  readonly score: tf.Tensor; // to be read to the host
  readonly probability: tf.Tensor; // [B, D], of each gate being open
  /** The gates, row by row. */
  open(scores: Float32Array): Uint8Array;
  /** Of the logits [B, outputs], from those of the gates and of their probabilities [B, D]. */
  gradient(gate: tf.Tensor, dGate: tf.Tensor, dProbability: tf.Tensor, how: Slope): tf.Tensor;
  /** d log P(gates) / d logits: [B, outputs]. */
  likelihood(gate: tf.Tensor): tf.Tensor;
}
export interface Slope {
  readonly estimator: Estimator;
  readonly temperature: number;
}

/**
 * D gates, each with a pair of logits of which the second is that of the open gate: open where z1 + g1 > z0 + g0. With a
 * `share`, each gate is instead open for the ceil(share B) samples that want it most.
 */
export const independentGates = (gates: number, share?: number): Choice => ({
  outputs: 2 * gates,
  start: (rate) => Float32Array.from({ length: 2 * gates }, (_, i) => (i % 2 ? logOdds(rate) : 0)),
  draw: (logits, noises) => {
    const pairs = (x: tf.Tensor) => marginOf(tf.reshape(x, [x.shape[0]!, gates, 2]));
    const [margin, noise] = [pairs(logits), pairs(noises)];
    const probability = tf.sigmoid(margin);
    const towards = (dm: tf.Tensor) => tf.reshape(tf.stack([tf.neg(dm), dm], -1), [dm.shape[0]!, 2 * gates]);
    return {
      arrays: [margin, noise], probability,
      score: tf.add(margin, noise),
      open: (scores) => (share === undefined ? Uint8Array.from(scores, (x) => (x > 0 ? 1 : 0)) : mostWanted(scores, gates, share)),
      gradient: (gate, dGate, dProbability, { estimator, temperature }) => {
        const slope = gateSlope(estimator, { margin, noise, gate, temperature });
        return towards(tf.add(tf.mul(dGate, slope), tf.mul(dProbability, tf.mul(probability, tf.sub(1, probability)))));
      },
      likelihood: (gate) => towards(tf.sub(gate, probability)),
    };
  },
});

/** Of every gate the ceil(share B) samples with the highest score are open, the earlier ones of equals: [B D]. */
export function mostWanted(scores: Float32Array, gates: number, share: number): Uint8Array {
  const batch = scores.length / gates;
  const size = Math.ceil(share * batch);
  const open = new Uint8Array(scores.length);
  for (let g = 0; g < gates; g++) {
    const order = Array.from({ length: batch }, (_, b) => b).sort((x, y) => scores[y * gates + g]! - scores[x * gates + g]! || x - y);
    for (const b of order.slice(0, size)) open[b * gates + g] = 1;
  }
  return open;
}
