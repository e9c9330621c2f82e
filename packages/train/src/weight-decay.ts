import type { ParameterPoint } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';
import type { Transform } from './transform.ts';

/** Which variables are left out of something. */
export type Exempt = (at: ParameterPoint) => boolean;

/** Every variable decays, as in the published recipes of VL-BERT and LXMERT. */
export const nothing: Exempt = () => false;

/** Biases of linears, gains and offsets of norms: variables named `*.bias`, `*.gamma` or `*.beta`. */
export const biasesAndNorms: Exempt = ({ path }) => /[./](bias|gamma|beta)$/.test(path);

/** u <- u + decay value, but for exempt variables. After `scaleByAdam` the decay is decoupled (arXiv 1711.05101), before it an L2 penalty. */
export const addDecayedWeights = (decay: number, exempt: Exempt = nothing): Transform => ({
  name: 'decay',
  slots: [],
  settings: (points) => ({ weightDecay: decay, exempt: points.filter(exempt).map((p) => p.path) }),
  apply: ({ at, update, value }) => ({ update: decay === 0 || exempt(at) ? update : tf.add(update, tf.mul(value, decay)), slots: [] }),
});

/** u <- u + rate decay (value - u), but for exempt variables. Stands after `scaleByRate`: the value already moved decays, by rate decay. */
export const decayMovedWeights = (decay: number, exempt: Exempt = nothing): Transform => ({
  name: 'decay-moved',
  slots: [],
  settings: (points) => ({ weightDecay: decay, exempt: points.filter(exempt).map((p) => p.path) }),
  apply: ({ at, update, value, rate }) => ({ update: decay === 0 || exempt(at) ? update : tf.add(update, tf.mul(tf.sub(value, update), rate * decay)), slots: [] }),
});
