import * as tf from '@tensorflow/tfjs';
import { add, gelu, relu, scale, sigmoid, softmax, sub, transpose, type Value } from '@espalier/core';
import type { Settings } from './options.ts';

/** relu6(x + 3) / 6. */
const hardSigmoid = (x: Value): Value => scale(sub(relu(add(x, tf.scalar(3))), relu(add(x, tf.scalar(-3)))), 1 / 6);

/** The nonlinearity of the linear generator on C' [r, out]; undefined is the identity. */
export function activationOf({ activation, axis }: Settings): ((c: Value) => Value) | undefined {
  switch (activation) {
    case 'identity':
      return undefined;
    case 'sigmoid':
      return sigmoid;
    case 'hsigmoid':
      return hardSigmoid;
    case 'gelu':
      return gelu;
    case 'softmax':
      return axis === 'outputs' ? softmax : (c) => transpose(softmax(transpose(c, [1, 0])), [1, 0]);
  }
}
