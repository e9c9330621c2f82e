import * as tf from '@tensorflow/tfjs';
import type { Transform } from './transform.ts';

/** t <- momentum t + g; u = t (Polyak's heavy ball, no dampening). */
export const accumulateMomentum = (momentum: number): Transform => ({
  name: 'momentum',
  slots: ['trace'],
  settings: () => ({ momentum }),
  apply: ({ update, slots }) => {
    const trace = tf.add(tf.mul(slots[0]!, momentum), update);
    return { update: trace, slots: [trace] };
  },
});
