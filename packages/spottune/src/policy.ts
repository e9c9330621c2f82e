import * as tf from '@tensorflow/tfjs';
import type { Host, ParameterPoint, Step } from '@espalier/core';

/** Two logits per gate for every sample; the last of a pair is that of the open gate. */
export interface Policy {
  readonly parameters: readonly ParameterPoint[];
  /** Computes once what no variable of it changes, and gives the rest: logits [B, D, 2], or [1, D, 2] for all samples alike. */
  prepare(step: Step): () => tf.Tensor;
}

/** Variables of policies are moved by an optimiser of their own. */
export const GROUP = 'policy';

/** The log-odds of a probability. */
export const logOdds = (p: number): number => Math.log(p / (1 - p));

/** The start of the output layer's bias, [2 D]: pair (0, log-odds of the prior) for every gate. */
export const priorBias = (prior: number) => (shape: readonly number[]): Float32Array => Float32Array.from({ length: shape[0]! }, (_, i) => (i % 2 ? logOdds(prior) : 0));

/** D free pairs of logits, the same for every input. */
export function globalPolicy(host: Host, prior: number, gates: number): Policy & { readonly logits: ParameterPoint } {
  const logits = host.variable('policy.logits', [2 * gates], priorBias(prior), GROUP);
  return { logits, parameters: [logits], prepare: () => () => tf.reshape(logits.variable, [1, gates, 2]) };
}
