import { addGradients, denseGradient, gradientTensors, multiplyGradient, type Gradient, type Lesson } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';
import { squaredNorm } from './clip.ts';

/** What one host read tells of a step: means over its samples. */
export interface Report {
  readonly loss: number;
  readonly losses: Readonly<Record<string, number>>;
  readonly score: number | undefined;
  readonly norm: number; // of the mean gradient, over all variables
  readonly rest: number; // the same without the sets
  readonly norms: readonly number[]; // the same over each set of variables that was asked for
}

/** The gradients of one step, gathered over one or more batches. They are sums: multiply by `scale` for the mean over samples. */
export interface Gathering {
  readonly gradients: ReadonlyMap<string, Gradient>;
  readonly scale: number;
  /** Takes a batch's part over, weighted. */
  add(lesson: Lesson, weight: number): void;
  /** One read for loss, score and norms together; `sets` are of variables that have no other in common. */
  report(sets?: readonly ReadonlySet<string>[]): Promise<Report>;
  dispose(): void;
}

/** Gathers the sum over batches of weight x. With the number of samples as weight the mean equals that of one big batch. */
export function gathering(): Gathering {
  const gradients = new Map<string, Gradient>();
  let scalars: tf.Tensor | undefined; // in the order of `names`
  let names: readonly string[] = [];
  let lessons = 0;
  let total = 0;
  return {
    gradients,
    get scale() {
      return 1 / total;
    },
    add: (lesson, weight) => {
      lessons++;
      total += weight;
      for (const [name, g] of lesson.gradients) gradients.set(name, weighted(gradients.get(name), g, weight));
      names = lesson.names;
      scalars = denseGradient(weighted(scalars, lesson.scalars, weight));
    },
    report: async (sets = []) => {
      // The norm of a sum is not the sum of norms: only one batch alone can bring its own, and only of everything.
      const own = lessons === 1 && total === 1 && !sets.length ? names.indexOf('squaredNorm') : -1;
      const inside = (keep: (path: string) => boolean) => tf.reshape(squaredNorm([...gradients].flatMap(([path, g]) => (keep(path) ? [g] : []))), [1]);
      const all = own >= 0 ? scalars!.clone() : tf.tidy(() => tf.concat([scalars!, inside((path) => !sets.some((set) => set.has(path))), ...sets.map((set) => inside((path) => set.has(path)))]));
      const values = await all.data<'float32'>();
      all.dispose();
      const mean = new Map(names.map((name, i) => [name, values[i]! / total]));
      const losses = names.filter((n) => n.startsWith('losses.')).map((n) => [n.slice('losses.'.length), mean.get(n)!] as const);
      const squares = own >= 0 ? [values[own]!] : [...values.subarray(names.length)];
      const norm = (squared: number) => Math.sqrt(squared) / total;
      const norms = squares.slice(1).map(norm);
      return { loss: mean.get('loss')!, losses: Object.fromEntries(losses), score: mean.get('score'), norm: norm(squares.reduce((a, b) => a + b, 0)), rest: norm(squares[0]!), norms };
    },
    dispose: () => tf.dispose([...[...gradients.values()].flatMap(gradientTensors), ...(scalars ? [scalars] : [])]),
  };
}

/** before + weight x; takes both over. One batch alone of weight 1 is taken as it is. */
function weighted(before: Gradient | undefined, x: Gradient, weight: number): Gradient {
  if (!before && weight === 1) return x;
  const part = multiplyGradient(x, weight);
  const sum = before ? addGradients(before, part) : part;
  tf.dispose([...gradientTensors(x), ...(before ? [...gradientTensors(before), ...gradientTensors(part)] : [])]);
  return sum;
}
