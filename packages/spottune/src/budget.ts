import * as tf from '@tensorflow/tfjs';
import type { Budget } from './budget-options.ts';

/** What a budget is measured on. */
export interface Usage {
  readonly gates: tf.Tensor; // [B, D], sampled
  readonly probabilities: tf.Tensor; // [B, D]
  readonly shares: tf.Tensor; // [D], of the multiply-adds; they add up to 1
  readonly blocks: readonly (readonly number[])[]; // gates of each block
  readonly multiplier: tf.Tensor | undefined; // [1], of the augmented Lagrangian
}

/** The penalty of one budget, a scalar on the tape. */
export function penalty(budget: Budget, usage: Usage): tf.Scalar {
  if (budget.kind === 'capacity') return tf.scalar(0); // kept exactly, by the decision
  const a = budget.on === 'samples' ? usage.gates : usage.probabilities;
  switch (budget.kind) {
    case 'target':
      return tf.mul(budget.weight, tf.mean(tf.square(tf.sub(rates(a, budget, usage), budget.rate))));
    case 'hinge':
      return tf.mul(budget.weight, tf.mean(tf.relu(tf.sub(rates(a, budget, usage), budget.rate))));
    case 'lagrangian':
      return lagrangian(tf.sub(rates(a, { ...budget, each: 'model' }, usage), budget.rate), usage.multiplier!, budget.penalty);
    case 'k': // lambda (sum_g f_g - K)^2
      return tf.mul(budget.weight, tf.square(tf.sub(tf.sum(tf.mean(a, 0)), budget.k)));
    case 'deterministic':
      return tf.mul(budget.weight, tf.sum(entropy(tf.mean(a, 0), budget.entropy)));
    case 'log-fraction': {
      const r = tf.mean(a, 1); // [B]
      const terms = tf.neg(tf.log(tf.add(tf.sub(1, tf.square(r)), budget.epsilon)));
      return tf.mul(budget.weight, budget.reduce === 'sum' ? tf.sum(terms) : tf.mean(terms));
    }
  }
}

/** The rate of open gates, over the model [1] or block by block [L], gates alike or by their multiply-adds. */
function rates(a: tf.Tensor, { by, each }: { readonly by: 'gates' | 'macs'; readonly each: 'model' | 'block' }, { shares, blocks }: Usage): tf.Tensor {
  const use = tf.mean(a, 0); // [D]
  const weights = by === 'macs' ? shares : tf.onesLike(shares);
  const rate = (u: tf.Tensor, w: tf.Tensor) => tf.div(tf.sum(tf.mul(u, w)), tf.sum(w));
  if (each === 'model') return tf.reshape(rate(use, weights), [1]);
  // Gates of a block are picked by a mask: gathering them would need a gradient of its own.
  return tf.stack(blocks.map((gates) => {
    const mask = new Float32Array(shares.size);
    for (const g of gates) mask[g] = 1;
    return rate(use, tf.mul(weights, tf.tensor1d(mask)));
  }));
}

/** -e log e with e = f + 1e-9, one-sided as in the released code, or with the closed side added. */
function entropy(f: tf.Tensor, kind: 'one-sided' | 'binary'): tf.Tensor {
  const term = (x: tf.Tensor) => {
    const e = tf.add(x, 1e-9);
    return tf.neg(tf.mul(e, tf.log(e)));
  };
  return kind === 'one-sided' ? term(f) : tf.add(term(f), term(tf.sub(1, f)));
}

/**
 * (max(0, l + r c)^2 - l^2) / 2 r for a constraint c <= 0 with multiplier l and penalty r (Rockafellar 1973). Towards the
 * multiplier the gradient is turned round, so that the optimiser that descends for the policy ascends for l
 * (Platt and Barr 1987): the budget is met without tuning a weight.
 */
function lagrangian(excess: tf.Tensor, multiplier: tf.Tensor, r: number): tf.Scalar {
  const reversed = tf.customGrad((...args) => {
    const [x] = args as [tf.Tensor];
    return { value: x.clone(), gradFunc: (dy: tf.Tensor) => tf.neg(dy) };
  });
  const l = reversed(multiplier);
  return tf.sum(tf.div(tf.sub(tf.square(tf.relu(tf.add(l, tf.mul(excess, r)))), tf.square(l)), 2 * r));
}
