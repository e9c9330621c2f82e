import * as tf from '@tensorflow/tfjs';
import { EspalierError, type Adapted, type Learner, type LearnerOptions, type PrimalTrace } from '@espalier/core';

export interface CachedLearnerOptions<T> extends Pick<LearnerOptions<T>, 'loss' | 'score'> {
  /** Bytes that traces may take; what finds no room is computed anew every time. Default 2^30. */
  readonly bytes?: number;
}

/** A learner and what it holds. */
export interface CachedLearner<I, T> extends Learner<I, T> {
  readonly held: { readonly entries: number; readonly bytes: number }; // entries: batches
}

/**
 * Learns with all values of the frozen model kept: a batch that comes again, with the same samples in the same order, costs derivative
 * parts alone. For batches that are shuffled anew see the option `cache` of `Adapted.learner`, which keeps what enters the first
 * linearised blocks.
 * @throws EspalierError where the frozen model's values differ from step to step.
 */
export function cachedLearner<I, T>(adapted: Adapted<I>, { loss, score, bytes = 2 ** 30 }: CachedLearnerOptions<T>): CachedLearner<I, T> {
  const moving = adapted.plugins.find((p) => !p.linearises && adapted.trainable.some((v) => v.instance === p.instance));
  if (adapted.plan.dropout) throw new EspalierError('a cache of the frozen model: its values differ from step to step where it drops. Leave out the option dropout of tangent.');
  if (moving) throw new EspalierError(`a cache of the frozen model: '${moving.instance}' moves it. Freeze that plugin.`);
  if (adapted.plan.begins.length) throw new EspalierError(`a cache of the frozen model: '${adapted.plan.begins[0]!.instance}' decides anew in every step`);
  const traces = new Map<string, PrimalTrace>();
  const held = () => [...traces.values()].reduce((sum, t) => sum + t.bytes, 0);
  return {
    learn: async (inputs, targets, key) => {
      const name = JSON.stringify(key.samples);
      const known = traces.get(name);
      const trace = known ?? (await adapted.trace(inputs));
      const kept = known !== undefined || held() + trace.bytes <= bytes;
      if (kept) traces.set(name, trace);
      try {
        const { seed, step, samples } = key;
        const learned = await adapted.learn(inputs, (y, at) => loss(y, targets, at), { seed, step, samples, trace });
        const told = [['loss', learned.loss], ...[...learned.losses].map(([n, x]) => [`losses.${n}`, x] as const), ...(score ? [['score', tf.tidy(() => score(learned.output, targets))] as const] : [])] as const;
        const scalars = tf.tidy(() => tf.concat(told.map(([, x]) => tf.reshape(x, [1])))) as tf.Tensor1D; // one number each
        if (score) told.at(-1)![1].dispose();
        const { gradients } = learned;
        tf.dispose([learned.loss, learned.output, ...learned.losses.values()]);
        return { names: told.map(([n]) => n), scalars, gradients, dispose: () => tf.dispose([scalars, ...gradients.values()]) };
      } finally {
        if (!kept) trace.dispose();
      }
    },
    last: 'traced', captures: false, cached: undefined, refused: 'the frozen model is replayed from its own trace',
    get held() {
      return { entries: traces.size, bytes: held() };
    },
    dispose: () => {
      for (const t of traces.values()) t.dispose();
      traces.clear();
    },
  };
}
