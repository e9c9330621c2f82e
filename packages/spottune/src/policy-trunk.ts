import * as tf from '@tensorflow/tfjs';
import { copyOf, evaluate, gelu, kaiming, layerNorm, ones, primal, RefusedError, zeros, type Host, type Streams } from '@espalier/core';
import { GROUP, type Policy } from './policy.ts';
import type { PolicyOptions } from './policy-options.ts';

type TrunkOptions = Extract<PolicyOptions, { kind: 'trunk' }>;

/**
 * Z = W2 gelu(W1 LN(pooled) + b1) + b2, with pooled the mean over the tokens that are there, stream by stream side by side
 * [B, S D], of the pretrained model's streams before block `from`. W2 starts at zero, b2 at `start`.
 * @throws RefusedError when the model does not give its streams.
 */
export function trunkPolicy({ model, variable, streams, norms }: Host, { from, hidden }: TrunkOptions, start: Float32Array): Policy {
  if (!model.encode) throw new RefusedError(`a trunk policy reads the streams of '${model.name}', which has no encode(inputs, step). Use policy: { kind: 'global' }.`);
  const width = streams.length * norms().find((n) => n.block !== undefined)!.dim;
  const at = {
    gamma: variable('policy.norm.gamma', [width], ones, GROUP),
    beta: variable('policy.norm.beta', [width], zeros, GROUP),
    up: variable('policy.up.kernel', [width, hidden], kaiming, GROUP),
    upBias: variable('policy.up.bias', [hidden], zeros, GROUP),
    down: variable('policy.down.kernel', [hidden, start.length], zeros, GROUP),
    downBias: variable('policy.down.bias', [start.length], copyOf(start), GROUP),
  };
  const encode = model.encode.bind(model);
  return {
    parameters: Object.values(at),
    common: false,
    prepare: (step) => {
      const frozen = step.with({ variant: 'pretrained', range: [0, from], training: false });
      const pooled = step.keep(tf.tidy(() => pool(encode(step.inputs, frozen)))); // [B, S D]
      return () => {
        const x = primal(layerNorm(pooled, at.gamma.variable, at.beta.variable));
        const h = primal(gelu(tf.add(tf.matMul(x, at.up.variable), at.upBias.variable)));
        return tf.add(tf.matMul(h, at.down.variable), at.downBias.variable);
      };
    },
  };
}

/** The mean over tokens that the mask keeps, streams side by side: [B, S D]. */
function pool(streams: Streams): tf.Tensor {
  const each = Object.values(streams).map(({ hidden, mask }) => {
    const x = evaluate(hidden); // [B, T, D]
    const kept = tf.cast(tf.greater(tf.reshape(mask, [mask.shape[0]!, -1, 1]), -1), 'float32'); // [B, T, 1]
    return tf.div(tf.sum(tf.mul(x, kept), 1), tf.maximum(tf.sum(kept, 1), 1));
  });
  return tf.concat(each, -1);
}
