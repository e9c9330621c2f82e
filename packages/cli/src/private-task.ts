import type { Adapted, Plugin, PrivateTraining } from '@espalier/core';
import { batches, type BatchOptions, type VqaRecord } from '@espalier/data';
import type { Task } from '@espalier/train';
import type { VqaExamples } from '@espalier/vl-models';
import { z } from 'zod';
import { UsageError } from './errors.ts';
import { parseJson } from './json.ts';

interface Wanted {
  readonly privacy: string | Readonly<Record<string, unknown>>;
  readonly samples: number;
  readonly batchSize: number;
  readonly epochs: number;
}

/** Private training by the plugin that can. @throws UsageError when none or several can; OptionsError for what cannot be promised. */
export function privateTraining(adapted: Adapted<unknown>, { privacy, samples, batchSize, epochs }: Wanted): PrivateTraining<unknown> {
  const options = z.record(z.string(), z.unknown()).safeParse(typeof privacy === 'string' ? parseJson(privacy, '--privacy') : privacy);
  if (!options.success) throw new UsageError(`--privacy is no JSON object of options such as {"epsilon":3,"delta":1e-5,"clip":10}`);
  const able = adapted.plugins.filter((p): p is Plugin & Required<Pick<Plugin, 'privately'>> => p.privately !== undefined && p.trainable);
  const [plugin, ...more] = able;
  if (!plugin || more.length) throw new UsageError(`--privacy: ${plugin ? 'one plugin at a time trains privately, here are' : 'none of the plugins here trains privately:'} ${adapted.plugins.map((p) => p.instance).join(', ')}. Use --plugin tangent.`);
  const batch = Math.min(batchSize, samples);
  return plugin.privately(adapted, { batch, ...options.data, samples, steps: epochs * Math.ceil(samples / batch) });
}

type Data = Pick<BatchOptions, 'data' | 'tokenizer'>;

/** A task whose batches are those that private training draws: a step may have no sample, an epoch no fixed ones. */
export function privately(task: Task<VqaExamples, unknown>, training: PrivateTraining<unknown>, records: readonly VqaRecord[], data: Data): Task<VqaExamples, unknown> {
  // Where no sample is drawn, one stands in for the shapes of arrays; nothing looks at it.
  const none = new WeakSet<VqaExamples>();
  return {
    ...task,
    batches: async function* (_, from) {
      for (let i = from; i < task.batchesPerEpoch; i++) {
        const drawn = training.batch().map((index) => records[index]!);
        const own = drawn.length ? drawn : records.slice(0, 1);
        for await (const batch of batches(own, { ...data, batchSize: own.length, prefetch: 0 })) {
          if (!drawn.length) none.add(batch);
          yield batch;
        }
      }
    },
    samples: (batch) => (none.has(batch) ? [] : batch.ids),
    learner: (_, { score }) => training.learner({ loss: task.loss, ...(score && { score }) }),
  };
}
