import * as tf from '@tensorflow/tfjs';

/** What a hidden key's score gets. Not minus infinity: exp of it is exactly 0 beside any key that is seen, and it cannot make NaN. */
const HIDDEN = -10000;

/** 1 = seen, 0 = hidden, [B, T] -> additive [B, 1, 1, T]. */
export const additiveMask = (seen: tf.Tensor2D): tf.Tensor => tf.mul(tf.sub(1, tf.reshape(seen, [seen.shape[0], 1, 1, seen.shape[1]])), HIDDEN);

/** Nothing hidden: [B, 1, 1, T] of zeros. */
export const openMask = (batch: number, tokens: number): tf.Tensor => tf.zeros([batch, 1, 1, tokens]);
