import * as tf from '@tensorflow/tfjs';
import { finish, primal, startStep, tidy, type Adapted, type Streams } from '@espalier/core';
import { layoutOf } from './layout.ts';
import { settingsOf, type Given } from './options.ts';
import { seenIn } from './reconstruction.ts';

/** Runs the frozen encoder up to a block on batch after batch; f sees the streams inside a tidy. */
async function eachTop(adapted: Adapted<unknown>, from: number, batches: AsyncIterable<unknown>, f: (top: Streams, inputs: unknown) => void): Promise<void> {
  const { model, plan } = adapted;
  for await (const inputs of batches) {
    const step = startStep(plan, inputs, model.batch(inputs), { variant: 'pretrained' });
    try {
      tidy(() => f(model.encode!(inputs, step.with({ range: [0, from] })), inputs));
    } finally {
      finish(step);
    }
  }
}

/**
 * Sets the task vectors of an instance to the mean top feature of the tokens they judge, over the inputs given, at length
 * sqrt(d): then no gate begins closed. With `init: 'paper'` they stay as drawn.
 */
export async function prepare(adapted: Adapted<unknown>, instance: string, options: Given, batches: AsyncIterable<unknown>): Promise<void> {
  const settings = settingsOf(options);
  if (settings.init === 'paper' || !settings.gate || !adapted.model.encode) return;
  const { from, descents } = layoutOf(adapted.model.scope.points, settings);
  const kinds = settings.vectors === 'modality' ? ['xi.text', 'xi.region'] : ['xi'];
  const sums = new Map<string, Float64Array>(descents.flatMap(({ stream, width }) => kinds.map((kind) => [`${stream}.${kind}`, new Float64Array(width)] as const)));
  const add = (name: string, x: tf.Tensor, mask: tf.Tensor) => {
    const total = tf.sum(tf.mul(x, tf.expandDims(mask, -1)), [0, 1]).dataSync();
    const sum = sums.get(name)!;
    total.forEach((v, i) => (sum[i]! += v));
  };
  await eachTop(adapted, from, batches, (top, inputs) => {
    for (const { stream } of descents) {
      const { hidden, mask } = top[stream]!;
      const seen = seenIn(mask);
      if (kinds.length === 1) add(`${stream}.xi`, primal(hidden), seen);
      else {
        const region = adapted.model.tokens!(inputs)[stream]!.region!;
        add(`${stream}.xi.region`, primal(hidden), region);
        add(`${stream}.xi.text`, primal(hidden), tf.mul(seen, tf.sub(1, region)));
      }
    }
  });
  for (const [name, sum] of sums) {
    const length = Math.hypot(...sum);
    if (length > 0) tf.tidy(() => adapted.parameters.get(`${instance}/${name}`)!.variable.assign(tf.tensor1d(Float32Array.from(sum, (v) => (v * Math.sqrt(sum.length)) / length))));
  }
}
