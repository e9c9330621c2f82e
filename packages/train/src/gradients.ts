import type { Learned } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';
import { squaredNorm } from './clip.ts';

/** What one host read tells of a step: means over its samples. */
export interface Report {
  readonly loss: number;
  readonly losses: Readonly<Record<string, number>>;
  readonly score: number | undefined;
  readonly norm: number; // of the mean gradient, over all variables
}

/** The gradients of one step, gathered over one or more batches. They are sums: multiply by `scale` for the mean over samples. */
export interface Gathering {
  readonly gradients: ReadonlyMap<string, tf.Tensor>;
  readonly scale: number;
  /** Takes a batch's part over, weighted; disposes what it is given. */
  add(learned: Learned, score: tf.Scalar | undefined, weight: number): void;
  /** One read for loss, score and norm together. */
  report(): Promise<Report>;
  dispose(): void;
}

/** Gathers the sum over batches of weight x. With the number of samples as weight the mean equals that of one big batch. */
export function gathering(): Gathering {
  const gradients = new Map<string, tf.Tensor>();
  const scalars = new Map<string, tf.Tensor>(); // 'loss', 'score', 'losses.NAME'
  let total = 0;
  const put = (sums: Map<string, tf.Tensor>, name: string, x: tf.Tensor, weight: number) => {
    const before = sums.get(name);
    sums.set(name, tf.tidy(() => {
      const part = weight === 1 ? x.clone() : tf.mul(x, weight);
      return tf.keep(before ? tf.add(before, part) : part);
    }));
    before?.dispose();
  };
  return {
    gradients,
    get scale() {
      return 1 / total;
    },
    add: (learned, score, weight) => {
      total += weight;
      for (const [name, g] of learned.gradients) put(gradients, name, g, weight);
      put(scalars, 'loss', learned.loss, weight);
      for (const [name, x] of learned.losses) put(scalars, `losses.${name}`, x, weight);
      if (score) put(scalars, 'score', score, weight);
      learned.dispose();
      score?.dispose();
    },
    report: async () => {
      const names = [...scalars.keys()];
      const all = tf.tidy(() => tf.concat([...scalars.values(), squaredNorm(gradients.values())].map((x) => tf.reshape(x, [1]))));
      const values = await all.data<'float32'>();
      all.dispose();
      const mean = new Map(names.map((name, i) => [name, values[i]! / total]));
      const losses = names.filter((n) => n.startsWith('losses.')).map((n) => [n.slice('losses.'.length), mean.get(n)!] as const);
      return { loss: mean.get('loss')!, losses: Object.fromEntries(losses), score: mean.get('score'), norm: Math.sqrt(values[names.length]!) / total };
    },
    dispose: () => tf.dispose([...gradients.values(), ...scalars.values()]),
  };
}
