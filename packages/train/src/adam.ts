import * as tf from '@tensorflow/tfjs';
import type { Transform } from './transform.ts';

export interface AdamOptions {
  readonly beta1?: number; // default 0.9
  readonly beta2?: number; // default 0.999
  readonly epsilon?: number; // default 1e-8, of bertAdam and vlBertAdamW 1e-6
}

/** What makes up for moments that start at zero: both moments, the step alone (epsilon is then added to an uncorrected root), or nothing. */
export type Correction = 'moments' | 'step' | 'none';

/** u = m / (spread sqrt(v) + epsilon): every correction of update t goes into the denominator, one product fewer per number. */
export function denominatorOf({ beta1, beta2, epsilon }: Required<AdamOptions>, correct: Correction, t: number): { readonly spread: number; readonly epsilon: number } {
  if (correct === 'none') return { spread: 1, epsilon };
  const first = 1 - beta1 ** t;
  const spread = first / Math.sqrt(1 - beta2 ** t);
  return { spread, epsilon: epsilon * (correct === 'moments' ? first : spread) };
}

/**
 * m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; t counts the updates of this variable, and u is by what is corrected
 *   moments (default)  (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon), arXiv 1412.6980, algorithm 1;
 *   step               sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon), the order of computation at the end of its section 2;
 *   none               m / (sqrt(v) + epsilon), as BERT was trained.
 */
export const scaleByAdam = ({ beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 }: AdamOptions = {}, correct: Correction = 'moments'): Transform => ({
  name: 'adam',
  slots: ['mean', 'variance'],
  settings: () => ({ beta1, beta2, epsilon, ...(correct !== 'moments' && { correct }) }),
  apply: ({ update: g, slots, count }) => {
    const [before, square] = slots;
    const m = tf.add(tf.mul(before!, beta1), tf.mul(g, 1 - beta1));
    const v = tf.add(tf.mul(square!, beta2), tf.mul(tf.square(g), 1 - beta2));
    const own = denominatorOf({ beta1, beta2, epsilon }, correct, count);
    return { update: tf.div(m, tf.add(tf.mul(tf.sqrt(v), own.spread), own.epsilon)), slots: [m, v] };
  },
});
