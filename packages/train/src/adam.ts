import * as tf from '@tensorflow/tfjs';
import type { Transform } from './transform.ts';

export interface AdamOptions {
  readonly beta1?: number; // default 0.9
  readonly beta2?: number; // default 0.999
  readonly epsilon?: number; // default 1e-8
}

/**
 * m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; u = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon), where t counts
 * the updates of this variable (arXiv 1412.6980).
 */
export const scaleByAdam = ({ beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 }: AdamOptions = {}): Transform => ({
  name: 'adam',
  slots: ['mean', 'variance'],
  settings: () => ({ beta1, beta2, epsilon }),
  apply: ({ update: g, slots, count }) => {
    const [before, spread] = slots;
    const m = tf.add(tf.mul(before!, beta1), tf.mul(g, 1 - beta1));
    const v = tf.add(tf.mul(spread!, beta2), tf.mul(tf.square(g), 1 - beta2));
    // Both corrections go into the denominator: one product fewer per variable.
    const first = 1 - beta1 ** count;
    const denominator = tf.add(tf.mul(tf.sqrt(v), first / Math.sqrt(1 - beta2 ** count)), epsilon * first);
    return { update: tf.div(m, denominator), slots: [m, v] };
  },
});
