import * as tf from '@tensorflow/tfjs';
import { EspalierError, explainIssues, OptionsError, type Adapted, type Learner, type LearnerOptions, type Lesson, type PrivacyRequest } from '@espalier/core';
import { z } from 'zod';
import { tangentsOf } from './component.ts';
import { options as tangentOptions } from './options.ts';
import { perSampleOf } from './per-sample.ts';
import type { PrivacyRecord } from './privacy-record.ts';
import { calibrate, epsilonOf } from './rdp.ts';
import { regularise } from './regulariser.ts';
import { poissonSample, secureRandomness, type Randomness } from './secure.ts';

const Options = z.strictObject({
  /** n, how many samples are protected. */
  samples: z.int().positive(),
  /** b = q n, how many a step takes on average; every one is taken with probability q by itself. */
  batch: z.number().positive(),
  /** T, steps of the whole training. */
  steps: z.int().positive(),
  /** What is promised: epsilon, for which the noise is calibrated, or the noise itself. */
  epsilon: z.number().positive().optional(),
  noiseMultiplier: z.number().positive().optional(),
  /** Less than 1 / n. */
  delta: z.number().positive().lt(1),
  /** R, the longest that the gradient of a sample may be. */
  clip: z.number().positive(),
  sampling: z.literal('poisson', "only 'poisson': the accountant's promise does not hold for shuffled batches, and none is made for them").default('poisson'),
});
export type PrivacyOptions = z.input<typeof Options>;

/** Settings of private training, complete. */
export interface PrivacyPlan {
  readonly samples: number; // n
  readonly rate: number; // q
  readonly steps: number; // T
  readonly noiseMultiplier: number; // sigma
  readonly clip: number; // R
  readonly delta: number;
}

/**
 * Settles the noise of private training. @throws OptionsError for what cannot be promised: delta of 1 / n or more, which a
 * mechanism that publishes one sample whole would keep; sampling other than Poisson's; a batch larger than the data.
 */
export function privacyPlan(options: PrivacyOptions | PrivacyRequest): PrivacyPlan {
  const parsed = Options.safeParse(options);
  if (!parsed.success) throw new OptionsError(explainIssues('privacy', Options, parsed.error));
  const { samples, batch, steps, epsilon, noiseMultiplier, delta, clip } = parsed.data;
  if (delta >= 1 / samples) throw new OptionsError(`'privacy' option 'delta' is ${delta}, expected less than 1 / samples = ${1 / samples}: publishing one sample whole would keep such a promise. Use ${Number((0.1 / samples).toPrecision(1))} or less.`);
  if (batch > samples) throw new OptionsError(`'privacy' option 'batch' is ${batch}, more than the ${samples} samples`);
  if ((epsilon === undefined) === (noiseMultiplier === undefined)) throw new OptionsError("'privacy': give epsilon, or noiseMultiplier, and not both");
  const rate = batch / samples;
  return { samples, rate, steps, clip, delta, noiseMultiplier: noiseMultiplier ?? calibrate(epsilon!, delta, { rate, count: steps }) };
}

/** What may be said after so many steps, for whoever adds or removes one sample. */
export function privacyRecord({ samples, rate, noiseMultiplier, clip, delta }: PrivacyPlan, steps: number): PrivacyRecord {
  const { epsilon, order } = epsilonOf({ rate, noiseMultiplier, count: steps }, delta);
  return {
    epsilon, delta, order, adjacency: 'add or remove one sample', sampling: 'poisson', samples, rate, steps, noiseMultiplier, clip,
    assumptions: [
      'samples are chosen by independent coins that stay secret, as is the noise',
      'the tangents of any step may be published: reported losses, scores and gradient norms are not covered',
      'base, selection, settings and the number of steps were not chosen by looking at these samples',
    ],
  };
}

/** The indices of the samples of a step; may be none. */
export const privateBatch = ({ samples, rate }: PrivacyPlan, randomness: Randomness = secureRandomness()): number[] => poissonSample(samples, rate, randomness);

export interface PrivateLearnerOptions<T> extends Pick<LearnerOptions<T>, 'score'> {
  readonly loss: (output: tf.Tensor, targets: T) => tf.Scalar; // a mean over rows, each of one sample
  readonly instance?: string; // default 'tangent'
  readonly randomness?: Randomness; // default the system's; another one is for tests
}

/**
 * A learner whose gradients are (sum of min(1, R / |g_i|) g_i + N(0, sigma^2 R^2)) / (q n), plus that of the regulariser, which
 * no sample enters: DP-SGD (arXiv 1607.00133). A step without samples (`key.samples` empty, its inputs not looked at) is noise
 * alone. Any optimiser may follow, with one batch per update. @throws EspalierError where other plugins train too.
 */
export function privateLearner<I, T>(adapted: Adapted<I>, plan: PrivacyPlan, { loss, score, instance = 'tangent', randomness = secureRandomness() }: PrivateLearnerOptions<T>): Learner<I, T> {
  const points = tangentsOf(adapted, instance);
  const plugin = adapted.plugins.find((p) => p.instance === instance)!;
  const { lambda, regulariser, dropout } = tangentOptions.parse(plugin.options);
  const moving = adapted.plugins.filter((p) => p.instance !== instance && adapted.trainable.some((v) => v.instance === p.instance));
  if (!plugin.linearises || moving.length) throw new EspalierError(`private training of '${instance}': what stands beside it must be frozen${moving.length ? `, and ${moving.map((p) => `'${p.instance}'`).join(', ')} is not` : ''}`);
  if (dropout) throw new EspalierError(`private training of '${instance}' drops nothing: leave out its option dropout`);
  const gradients = perSampleOf(adapted, instance);
  const expected = plan.rate * plan.samples;
  const penalties = (): readonly tf.Tensor[] | undefined =>
    lambda > 0 ? tf.grads((...ds: tf.Tensor[]) => tf.mul(lambda, regularise(regulariser, ds)))(points.map((p) => p.variable)) : undefined;
  const noised = (shape: readonly number[], sum: tf.Tensor | undefined, penalty: tf.Tensor | undefined): tf.Tensor => {
    const noise = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < noise.length; i++) noise[i] = plan.noiseMultiplier * plan.clip * randomness.normal();
    const own = tf.tensor(noise, [...shape]);
    const mean = tf.div(sum ? tf.add(sum, own) : own, expected);
    return penalty ? tf.add(mean, penalty) : mean;
  };
  const lesson = (sums: ReadonlyMap<string, tf.Tensor>, told: { loss: tf.Scalar; score: tf.Scalar | undefined }): Lesson => {
    const names = ['loss', 'losses.task', ...(score ? ['score'] : [])];
    const extra = penalties();
    const found = new Map(points.map((p, i) => [p.path, tf.tidy(() => noised(p.variable.shape, sums.get(p.path), extra?.[i]))]));
    tf.dispose(extra ? [...extra] : []);
    const scalars = tf.tidy((): tf.Tensor1D => tf.stack<tf.Scalar>([told.loss, told.loss, ...(score ? [told.score ?? tf.scalar(0)] : [])]) as tf.Tensor1D); // of scalars
    tf.dispose([...sums.values(), told.loss, ...(told.score ? [told.score] : [])]);
    return { names, scalars, gradients: found, dispose: () => tf.dispose([scalars, ...found.values()]) };
  };
  return {
    learn: async (inputs, targets, key) => {
      if (!key.samples.length) return lesson(new Map(), { loss: tf.scalar(0), score: undefined });
      const each = await gradients.of(inputs, targets, loss, key);
      try {
        const factors = Array.from(each.norms, (norm) => Math.min(1, plan.clip / (norm + 1e-6)));
        return lesson(each.sum(factors), { loss: each.loss.clone(), score: score && tf.tidy(() => score(each.output, targets)) });
      } finally {
        each.dispose();
      }
    },
    last: 'traced', captures: false, cached: undefined, refused: 'gradients of single samples are not recorded',
    dispose: () => gradients.dispose(),
  };
}
