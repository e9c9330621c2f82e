import * as tf from '@tensorflow/tfjs';
import type { Adapted } from './adapt.ts';
import type { Measured } from './hooks.ts';
import type { StepOptions } from './shared.ts';
import { finish } from './step.ts';

/** What a measure found for some samples. */
export interface Measurement {
  readonly instance: string; // of the plugin
  readonly name: string;
  readonly of: readonly Measured[]; // M
  readonly probability: boolean;
  readonly samples: readonly string[]; // B
  readonly values: Float32Array; // [B, M]
}

/** Runs a batch and gives what the plugins' measures find. */
export async function measurements<I>(adapted: Adapted<I>, inputs: I, options: StepOptions = {}): Promise<Measurement[]> {
  const found: Measurement[] = [];
  const { measures } = adapted.plan;
  if (!measures.length) return found;
  const step = await adapted.start(inputs, options);
  try {
    tf.tidy(() => void adapted.model.forward(inputs, step));
    for (const { instance, hook: { name, of, probability, read } } of measures) {
      const numbers = step.keep(tf.tidy(() => read(step).clone()));
      found.push({ instance, name, of, probability, samples: step.samples, values: (await numbers.data<'float32'>()).slice() });
    }
    return found;
  } finally {
    finish(step);
  }
}
