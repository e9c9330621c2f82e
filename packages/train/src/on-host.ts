import type { ParameterPoint } from '@espalier/core';
import { denominatorOf, type Correction } from './adam.ts';

/** What one update of one variable is given besides its arrays. */
export interface HostChange {
  readonly at: ParameterPoint;
  readonly count: number; // updates of this variable, this one included
  readonly rate: number;
  readonly scale: number; // of the gradient
}

/** Moves a variable and its slots in place: whole arrays as they lie on the host, or a stretch of each. */
export type Sweep = (value: Float32Array, gradient: Float32Array, slots: readonly Float32Array[]) => void;

export interface AdamNumbers {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly correct?: Correction; // default 'moments'
  readonly decay?: number; // added to the update; default 0
  readonly decayMoved?: number; // of the value already moved; default 0
}

/** value <- (1 - rate decayMoved) (value - rate (adam(scale g) + decay value)), in one pass. */
export function adamSweep({ beta1, beta2, epsilon, correct = 'moments', decay = 0, decayMoved = 0 }: AdamNumbers, { count, rate, scale }: HostChange): Sweep {
  const own = denominatorOf({ beta1, beta2, epsilon }, correct, count);
  return (value, gradient, slots) => {
    const [mean, variance] = slots as [Float32Array, Float32Array]; // as scaleByAdam names them
    adamLoop(value, gradient, mean, variance, scale, beta1, beta2, own.spread, own.epsilon, rate, decay, 1 - rate * decayMoved);
  };
}

/** Apart from the sweep so that its numbers are arguments and not looked up in a closure as it runs. */
function adamLoop(
  value: Float32Array, gradient: Float32Array, mean: Float32Array, variance: Float32Array,
  scale: number, beta1: number, beta2: number, spread: number, epsilon: number, rate: number, decay: number, kept: number,
): void {
  const [rest1, rest2] = [1 - beta1, 1 - beta2];
  for (let i = 0; i < value.length; i++) {
    const g = scale * gradient[i]!;
    const m = beta1 * mean[i]! + rest1 * g;
    const v = beta2 * variance[i]! + rest2 * g * g;
    mean[i] = m;
    variance[i] = v;
    const x = value[i]!;
    value[i] = kept * (x - rate * (m / (Math.sqrt(v) * spread + epsilon) + decay * x));
  }
}

/** value <- value - rate t, where t <- momentum t + scale g + decay value and is kept where there is momentum. */
export const sgdSweep = (momentum: number, decay: number, { rate, scale }: HostChange): Sweep => (value, gradient, [trace]) => {
  for (let i = 0; i < value.length; i++) {
    const g = scale * gradient[i]! + decay * value[i]!;
    value[i]! -= rate * (trace ? (trace[i] = momentum * trace[i]! + g) : g);
  }
};
