import * as tf from '@tensorflow/tfjs';
import { add, mapParams, mul, sub, weight, type Hook, type Host, type ModelWeight, type Params, type Step, type WeightPoint } from '@espalier/core';
import { copyOf } from './copies.ts';
import type { Unit } from './units.ts';

/**
 * W' = a T + (1 - a) F inside weights: a gate that is the same for every sample chooses there, at the cost of one forward
 * pass, and the gradient dL/da = <dL/dW', T - F> needs no second branch. `gateOf` gives a unit's gates [width]; those of
 * heads act on their columns of query, key and value.
 */
export function mixed(host: Host, at: ModelWeight, unit: Unit, gateOf: (unit: Unit, step: Step) => tf.Tensor): Hook {
  const own = copyOf(host, at);
  const apply = (p: Params, step: Step): Params => {
    const gate = gateOf(unit, step); // [W]
    return mapParams(p, (frozen, part) => {
      const a = spread(gate, frozen.shape.at(-1)!);
      return add(mul(step.read(own.get(part)!), a), mul(frozen, sub(tf.onesLike(a), a)));
    });
  };
  return weight(at as WeightPoint<Params>, apply, { mode: 'replace' });
}

/** [W] -> [D], each gate over its share; [1] stays as it is. */
function spread(gate: tf.Tensor, dim: number): tf.Tensor {
  const width = gate.size;
  if (width === 1) return tf.reshape(gate, [1]);
  return tf.reshape(tf.tile(tf.reshape(gate, [width, 1]), [1, dim / width]), [dim]);
}

