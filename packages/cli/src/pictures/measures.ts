import { measurements, tensorsIn, type Measured, type Measurement } from '@espalier/core';
import { batches, type VqaRecord } from '@espalier/data';
import * as tf from '@tensorflow/tfjs';
import { setImmediate } from 'node:timers/promises';
import type { Scored, ScoreOptions } from '../scoring.ts';

/** What a plugin's measure found over the questions of a split. */
export interface MeasureReport {
  readonly instance: string;
  readonly name: string;
  readonly of: readonly Measured[]; // M
  readonly questions: number;
  readonly mean: readonly number[]; // [M]
  readonly byQuestionType: Readonly<Record<string, { readonly questions: number; readonly mean: readonly number[] }>>;
  /**
   * Of probabilities, mean entropies in bits: what is undecided within a sample, mean H(p), and what differs between samples,
   * H(mean p) - mean H(p), which is 0 for a policy that ignores its input. Both [M].
   */
  readonly entropy?: { readonly within: readonly number[]; readonly between: readonly number[] };
}

/** Runs the questions and adds up what the plugins' measures say of them. Undefined when the signal asked to stop. */
export async function measureRecords({ adapted, model, data, tokens, batchSize }: Scored, records: readonly VqaRecord[], { signal, onBatch }: ScoreOptions = {}): Promise<MeasureReport[] | undefined> {
  const all = new Map<string, ReturnType<typeof gathering>>();
  let at = 0;
  if (!adapted.plan.measures.length) return [];
  for await (const batch of batches(records, { data, tokenizer: tokens, batchSize })) {
    if (signal?.aborted) return undefined;
    const inputs = model.inputs(batch);
    const types = records.slice(at, at + batch.ids.length).map((r) => r.questionType);
    for (const found of await measurements(adapted, inputs, { samples: batch.ids })) {
      const key = `${found.instance} ${found.name}`;
      const gathered = all.get(key) ?? gathering(found);
      all.set(key, gathered);
      gathered.add(found, types);
    }
    tf.dispose(tensorsIn(inputs));
    at += batch.ids.length;
    onBatch?.(at, records.length);
    await setImmediate();
  }
  return [...all.values()].map((g) => g.report());
}

/** The mean of each measure over samples and all it is of, as 'INSTANCE NAME'. */
export const measureMeans = (reports: readonly MeasureReport[]): Record<string, number> =>
  Object.fromEntries(reports.map(({ instance, name, mean }) => [`${instance} ${name}`, mean.reduce((a, b) => a + b, 0) / mean.length]));

/** Sums of one measure. */
function gathering({ instance, name, of, probability }: Measurement) {
  const sums = () => ({ questions: 0, sum: new Float64Array(of.length) });
  const [whole, within] = [sums(), new Float64Array(of.length)];
  const byType = new Map<string, ReturnType<typeof sums>>();
  const mean = ({ questions, sum }: ReturnType<typeof sums>) => ({ questions, mean: Array.from(sum, (x) => x / questions) });
  return {
    add: ({ values }: Measurement, types: readonly string[]) =>
      types.forEach((type, b) => {
        const own = byType.get(type) ?? sums();
        byType.set(type, own);
        const row = values.subarray(b * of.length, (b + 1) * of.length);
        for (const to of [whole, own]) {
          to.questions++;
          row.forEach((x, m) => (to.sum[m]! += x));
        }
        if (probability) row.forEach((p, m) => (within[m]! += bits(p)));
      }),
    report: (): MeasureReport => {
      const all = mean(whole);
      const inside = Array.from(within, (x) => x / whole.questions);
      return {
        instance, name, of, ...all,
        byQuestionType: Object.fromEntries([...byType].sort(([a], [b]) => (a < b ? -1 : 1)).map(([type, own]) => [type, mean(own)])),
        ...(probability && { entropy: { within: inside, between: all.mean.map((p, m) => Math.max(0, bits(p) - inside[m]!)) } }),
      };
    },
  };
}

/** H(p) in bits. */
const bits = (p: number): number => [p, 1 - p].reduce((h, x) => (x > 0 ? h - x * Math.log2(x) : h), 0);
