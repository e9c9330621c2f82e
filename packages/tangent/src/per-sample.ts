import * as tf from '@tensorflow/tfjs';
import { evaluate, finish, mapValues, primal, slice, type Adapted, type StepKey, type Value } from '@espalier/core';
import { tangentsOf } from './component.ts';
import { canProbe, proberOf, type Cotangents, type Use } from './probes.ts';

export type RowLoss<T> = (output: tf.Tensor, targets: T) => tf.Scalar;

/** Gradients of the samples of a batch, clipped and summed without being formed one by one where that is possible. */
export interface PerSample {
  /** |g_i| of every sample's own loss, over all tangents together. */
  readonly norms: Float32Array;
  /** sum of factors_i g_i by variable; the caller's to dispose. */
  sum(factors: readonly number[]): Map<string, tf.Tensor>;
  readonly loss: tf.Scalar; // mean over the batch
  readonly output: tf.Tensor;
  dispose(): void;
}

/** Gradients of single samples of any batch of a model. */
export interface SampleGradients<I> {
  of<T>(inputs: I, targets: T, loss: RowLoss<T>, key: StepKey): Promise<PerSample>;
  dispose(): void;
}

/**
 * Gradients of single samples towards an instance's tangents. `loss` is a mean over rows of which each is of one sample. Linears
 * and norms take one backward pass for all samples (ghost norms, arXiv 2009.03106); with any other tangent, such as that of
 * a table or of a LoRA, every sample has a backward pass of its own.
 */
export function perSampleOf<I>(adapted: Adapted<I>, instance = 'tangent'): SampleGradients<I> {
  if (!canProbe(adapted, instance)) return { of: (inputs, targets, loss, key) => oneByOne(adapted, instance, inputs, targets, loss, key), dispose: () => {} };
  const prober = proberOf(adapted, instance);
  const of: SampleGradients<I>['of'] = async (inputs, targets, loss, key) => {
    const found = await prober.run(inputs, targets, loss, key);
    const names = tangentsOf(adapted, instance).map((p) => ({ name: p.path, path: p.path.slice(instance.length + 1).replace(/\.\w+$/, ''), part: p.path.replace(/.*\./, '') }));
    const squares = tf.tidy(() => tf.addN(names.map(({ path, part }) => squaredNorms(found, path, part))));
    const values = await squares.data<'float32'>();
    squares.dispose();
    return {
      norms: values.map(Math.sqrt),
      sum: (factors) => new Map(names.map(({ name, path, part }) => [name, tf.tidy(() => weighted(found, path, part, tf.tensor1d([...factors])))])),
      loss: found.loss, output: found.output, dispose: () => found.dispose(),
    };
  };
  return { of, dispose: () => prober.dispose() };
}

/** Both directions of a shared weight are one use with more tokens: their cross terms count. */
const joined = (uses: readonly Use[]): Use => ({ input: tf.concat(uses.map((u) => u.input), 1), cotangent: tf.concat(uses.map((u) => u.cotangent), 1) });

/** |g_i|^2 of one array, [B]. */
function squaredNorms({ uses, norms }: Cotangents, path: string, part: string): tf.Tensor {
  if (part === 'gamma' || part === 'beta') return tf.sum(tf.square(norms.get(path)![part]), 1);
  const { input, cotangent } = joined(uses.get(path)!);
  if (part === 'bias') return tf.sum(tf.square(tf.sum(cotangent, 1)), 1);
  const [, tokens, into] = input.shape as [number, number, number];
  // |A' E|^2 = sum over t, t' of (A A')(E E'), which is smaller than A' E where tokens are few.
  if (2 * tokens ** 2 < into * cotangent.shape[2]!) return tf.sum(tf.mul(tf.matMul(input, input, false, true), tf.matMul(cotangent, cotangent, false, true)), [1, 2]);
  return tf.sum(tf.square(tf.matMul(input, cotangent, true)), [1, 2]);
}

/** sum of factors_i g_i of one array. */
function weighted({ uses, norms }: Cotangents, path: string, part: string, factors: tf.Tensor1D): tf.Tensor {
  if (part === 'gamma' || part === 'beta') return tf.sum(tf.mul(norms.get(path)![part], tf.expandDims(factors, 1)), 0);
  const { input, cotangent } = joined(uses.get(path)!);
  const own = tf.mul(cotangent, tf.reshape(factors, [-1, 1, 1]));
  if (part === 'bias') return tf.sum(own, [0, 1]);
  return tf.matMul(tf.reshape(input, [-1, input.shape[2]!]), tf.reshape(own, [-1, own.shape[2]!]), true);
}

async function oneByOne<I, T>(adapted: Adapted<I>, instance: string, inputs: I, targets: T, loss: RowLoss<T>, key: StepKey): Promise<PerSample> {
  const points = tangentsOf(adapted, instance);
  const batch = adapted.model.batch(inputs);
  const rows: (readonly (tf.Tensor | undefined)[])[] = [];
  const losses: tf.Tensor[] = [];
  const held: { output?: tf.Tensor } = {};
  for (let i = 0; i < batch; i++) {
    const step = await adapted.start(inputs, { ...key });
    try {
      const { value, grads } = tf.engine().gradients(
        () => {
          const output = evaluate(adapted.model.forward(inputs, step));
          held.output ??= tf.keep(output.clone());
          return loss(row(output, i), mapValues(targets, (x) => row(primal(x), i)) as T); // a tree of the same form
        },
        points.map((p) => p.variable),
        undefined,
        true,
      );
      losses.push(value);
      rows.push((grads as readonly (tf.Tensor | null | undefined)[]).map((g) => g ?? undefined));
    } finally {
      finish(step);
    }
  }
  const norms = Float32Array.from(await Promise.all(rows.map(async (gradients) => {
    const squares = tf.tidy(() => tf.addN(gradients.flatMap((g) => (g ? [tf.sum(tf.square(g))] : []))));
    const [total] = await squares.data();
    squares.dispose();
    return Math.sqrt(total!);
  })));
  const mean = tf.tidy((): tf.Scalar => tf.div(tf.addN(losses), batch));
  tf.dispose(losses);
  return {
    norms, loss: mean, output: held.output!,
    sum: (factors) => new Map(points.map((p, k) => [p.path, tf.tidy(() => tf.addN([tf.zerosLike<tf.Tensor>(p.variable), ...rows.flatMap((g, i) => (g[k] ? [tf.mul(g[k], factors[i]!)] : []))]))])),
    dispose: () => tf.dispose([mean, held.output!, ...rows.flat().flatMap((g) => (g ? [g] : []))]),
  };
}

/** Row i of an array that has a row for every sample. */
const row = (x: tf.Tensor, i: number): tf.Tensor => primal(slice(x, [i, ...x.shape.slice(1).map(() => 0)], [1, ...x.shape.slice(1).map(() => -1)]) satisfies Value);
