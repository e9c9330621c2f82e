import * as tf from '@tensorflow/tfjs';
import type { Choice } from './choice.ts';

/**
 * One decision k in 0 .. D instead of D: gates from k on are open, those before it closed; k = D closes all. k is the largest
 * of D + 1 logits with Gumbel noise. Straight-through: with y = softmax((z + g) / tau), dL/dz = y (s - <y, s>) / tau, where
 * s_j sums the gradients of the gates that k = j opens. A gate's probability P(k <= l) has its exact derivative.
 */
export const firstOpen = (gates: number): Choice => ({
  outputs: gates + 1,
  start: (rate) => geometric(gates, rate),
  draw: (logits, noise) => {
    const score = tf.add(logits, noise);
    const choice = tf.softmax(logits); // [B, D + 1]
    const probability = tf.slice(tf.cumsum(choice, 1), [0, 0], [-1, gates]);
    // s_j of gate gradients: those from j on; none for k = D.
    const opened = (d: tf.Tensor) => tf.pad(tf.cumsum(d, 1, false, true), [[0, 0], [0, 1]]);
    const through = (y: tf.Tensor, s: tf.Tensor) => tf.mul(y, tf.sub(s, tf.sum(tf.mul(y, s), 1, true)));
    return {
      arrays: [choice], score, probability,
      open: (scores) => {
        const open = new Uint8Array((scores.length / (gates + 1)) * gates);
        for (let b = 0; b * (gates + 1) < scores.length; b++) {
          const row = scores.subarray(b * (gates + 1), (b + 1) * (gates + 1));
          open.fill(1, b * gates + row.indexOf(Math.max(...row)), (b + 1) * gates);
        }
        return open;
      },
      gradient: (_, dGate, dProbability, { estimator, temperature }) => {
        const exact = through(choice, opened(dProbability));
        if (estimator === 'score') return exact;
        const y = tf.softmax(tf.div(score, temperature));
        return tf.add(exact, tf.div(through(y, opened(dGate)), temperature));
      },
      likelihood: (gate) => {
        // One at k, from the steps of the gates: a_l - a_(l - 1), and 1 - a_(D - 1) for k = D.
        const [before, after] = [tf.pad(gate, [[0, 0], [1, 0]]), tf.pad(gate, [[0, 0], [0, 1]], 1)];
        return tf.sub(tf.sub(after, before), choice);
      },
    };
  },
});

/** Logits -lambda k for which the mean rate of open gates, sum_k q_k (D - k) / D, is `rate`; by bisection. */
function geometric(gates: number, rate: number): Float32Array {
  const logits = (lambda: number) => Array.from({ length: gates + 1 }, (_, k) => -lambda * k);
  const rateOf = (lambda: number) => {
    const z = logits(lambda);
    const most = Math.max(...z);
    const q = z.map((x) => Math.exp(x - most));
    return q.reduce((sum, x, k) => sum + (x * (gates - k)) / gates, 0) / q.reduce((a, b) => a + b, 0);
  };
  let [low, high] = [-100, 100]; // the rate grows with lambda
  for (let i = 0; i < 80; i++) {
    const middle = (low + high) / 2;
    if (rateOf(middle) < rate) low = middle;
    else high = middle;
  }
  return Float32Array.from(logits(low));
}
