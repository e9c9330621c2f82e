import * as tf from '@tensorflow/tfjs';
import type { GroupDefaults, Host, ParameterPoint, Step } from '@espalier/core';

/** The numbers that gates are drawn from, for every sample. */
export interface Policy {
  readonly parameters: readonly ParameterPoint[];
  readonly common: boolean; // the same numbers for all samples
  /** Computes once what no variable of it changes, and gives the rest: logits [B, outputs], or [1, outputs] where they are common. */
  prepare(step: Step): () => tf.Tensor;
}

/** Variables of policies are moved by an optimiser of their own. */
export const GROUP = 'policy';

/** How they are moved by default. In the released code the schedule was attached to the wrong optimiser, so the rate is constant. */
export const OPTIMISERS = {
  described: { clip: 1 },
  'reference-vlbert': { optimiser: 'vl-bert-adamw', weightDecay: 1e-4, schedule: 'constant', warmup: 0, clip: 'none' },
  'reference-lxmert': { optimiser: 'sgd', rate: 1e-4, weightDecay: 0, schedule: 'constant', warmup: 0, clip: 'none' },
} as const satisfies Readonly<Record<string, GroupDefaults>>;

/** The log-odds of a probability. */
export const logOdds = (p: number): number => Math.log(p / (1 - p));

/** Free logits, the same for every input, from where they start. */
export function globalPolicy(host: Host, start: Float32Array): Policy & { readonly logits: ParameterPoint } {
  const logits = host.variable('policy.logits', [start.length], () => start.slice(), GROUP);
  return { logits, parameters: [logits], common: true, prepare: () => () => tf.reshape(logits.variable, [1, -1]) };
}
