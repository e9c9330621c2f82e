import * as tf from '@tensorflow/tfjs';
import type { Adapted } from './adapt.ts';
import { evaluate } from './ops.ts';
import { variantName, type Variant } from './view.ts';

/** What a readout found in one pass. */
export interface Reading {
  readonly instance: string; // of the plugin
  readonly path: string; // of the site
  readonly stream: string | undefined; // whose tokens the scores belong to
  readonly variant: string;
  readonly labels: readonly string[]; // M
  readonly shape: readonly number[]; // [B, T, M]
  readonly values: Float32Array;
}

/** Runs a batch once per variant and gives what the plugins' readouts find, in the order of the sites. */
export async function readings<I>(adapted: Adapted<I>, inputs: I, variants: readonly Variant[] = ['adapted', 'pretrained']): Promise<Reading[]> {
  const found: Reading[] = [];
  for (const variant of variants) {
    const kept: (Omit<Reading, 'values'> & { readonly scores: tf.Tensor })[] = [];
    try {
      const output = await adapted.forward(inputs, {
        variant,
        observe: (site, x, step) => {
          for (const { instance, hook } of adapted.plan.readouts) {
            const { at, passes } = hook;
            if (at !== site || (passes && (step.pass < passes[0] || step.pass >= passes[1]))) continue;
            const scores = tf.keep(tf.tidy(() => evaluate(hook.read(x, step)).clone()));
            kept.push({ instance, path: site.path, stream: hook.stream, variant: variantName(variant), labels: hook.labels, shape: scores.shape, scores });
          }
        },
      });
      output.dispose();
      for (const { scores, ...what } of kept) found.push({ ...what, values: await scores.data<'float32'>() });
    } finally {
      tf.dispose(kept.map(({ scores }) => scores));
    }
  }
  return found;
}
