import * as tf from '@tensorflow/tfjs';
import { add, matMul, mul, normal, primal, transpose, type LinearPoint, type Value } from '@espalier/core';
import type { Read, Variables } from './dense.ts';
import type { Group } from './groups.ts';
import type { Settings } from './options.ts';

/** What positions add to C' [r, out] of a linear. */
export type Positions = (c: Value, at: LinearPoint, phi: Value, read: Read) => Value;

/** Positions of the parameter tokens: the place of an output channel among the others. Undefined where there are none. */
export function positionsOf(variables: Variables, { name, linears }: Group, { posEnc, rank }: Settings): Positions | undefined {
  switch (posEnc) {
    case 'none':
      return undefined;
    case 'sin':
      // (W + s P) phi = W phi + s (P phi), with s the standard deviation of W.
      return (c, at, phi) => add(c, mul(matMul(phi, sinusoid(at.in, at.out)), spread(at)));
    case 'learnedRank': {
      const learned = variables(`${name}.positions`, [linears[0]!.out, rank], normal(0.02));
      return (c, _at, _phi, read) => add(c, transpose(read(learned), [1, 0]));
    }
  }
}

/** P' [in, out]: sin and cos of n / 10000^(2 i / in) for output channel n, arXiv 1706.03762. */
function sinusoid(width: number, tokens: number): tf.Tensor {
  return tf.tidy(() => {
    const half = Math.ceil(width / 2);
    const rates = tf.exp(tf.mul(tf.range(0, half), (-2 * Math.log(10_000)) / width));
    const angles = tf.matMul(tf.reshape(rates, [half, 1]), tf.reshape(tf.range(0, tokens), [1, tokens])); // [half, out]
    return tf.slice(tf.concat([tf.sin(angles), tf.cos(angles)]), [0, 0], [width, tokens]);
  });
}

/** The standard deviation of the pretrained kernel, []. */
const spread = ({ pretrained }: LinearPoint): tf.Tensor => tf.tidy(() => tf.sqrt(tf.moments(primal(pretrained.kernel)).variance));
