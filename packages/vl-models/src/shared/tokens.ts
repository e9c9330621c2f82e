import * as tf from '@tensorflow/tfjs';
import type { TokenMasks } from '@espalier/core';

/** Of one stream whose answer is read at one row each of the flattened [B S, D]: the words between the first and that of `last` tokens before it. */
export function jointTokens(seen: tf.Tensor, answerRows: tf.Tensor, last: number, [from, to]: readonly [number, number]): TokenMasks {
  const [batch, total] = seen.shape as [number, number];
  const at = tf.reshape(tf.range(0, total), [1, total]);
  const answer = tf.reshape(tf.sub(tf.cast(answerRows, 'float32'), tf.range(0, batch * total, total)), [batch, 1]);
  const where = (condition: tf.Tensor) => tf.mul(seen, tf.cast(condition, 'float32'));
  const above = (low: number) => tf.cast(tf.greaterEqual(at, low), 'float32');
  return {
    question: tf.mul(where(tf.less(at, tf.sub(answer, last))), above(1)),
    region: tf.mul(where(tf.less(at, to)), above(from)),
    answer: where(tf.equal(at, answer)),
  };
}

/** Of [CLS] question [SEP] and padding, whose answer is read at [CLS]; [B, S] ones and zeros. */
export function questionTokens(seen: tf.Tensor): TokenMasks {
  const [batch, length] = seen.shape as [number, number];
  const first = tf.concat([tf.ones([batch, 1]), tf.zeros([batch, length - 1])], 1);
  const next = tf.concat([tf.slice(seen, [0, 1], [batch, length - 1]), tf.zeros([batch, 1])], 1); // 0 at the last that is seen
  return { question: tf.mul(tf.mul(seen, next), tf.sub(1, first)), answer: first };
}
