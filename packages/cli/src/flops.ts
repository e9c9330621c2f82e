import { costsOf, tensorsIn, type Cost, type CostRow, type Spread } from '@espalier/core';
import { batches, type VqaRecord } from '@espalier/data';
import * as tf from '@tensorflow/tfjs';
import type { Scored } from './scoring.ts';

/** FLOPs of one forward pass per sample: two per multiply-add of a matrix product. */
export interface Flops {
  readonly total: number; // spent, mean
  readonly byPlugin: Readonly<Record<string, number>>; // spent, mean; 'backbone' is the model itself
  readonly byPlace: Readonly<Record<string, number>>; // source or block; 'head' lies outside of them
  readonly samples: number; // that were counted
  /** What a sample is expected to cost by the probabilities of its decisions, and what it did cost. */
  readonly perSample: Cost;
  readonly perSampleByPlugin: Readonly<Record<string, Cost>>;
  readonly perSampleByPlace: Readonly<Record<string, Cost>>;
}

/** FLOPs of batches, from their accounts. */
export function flopsOf(accounts: readonly (readonly CostRow[])[]): Flops {
  const { samples, total, byInstance, byPlace } = costsOf(accounts);
  const named = (costs: Readonly<Record<string, Cost>>, rest: string) => Object.fromEntries(Object.entries(costs).map(([name, cost]) => [name || rest, doubled(cost)]));
  // From the sums of batches, which are whole numbers, rather than from the samples' shares of them.
  const mean = (keep: (row: CostRow) => boolean) => (2 * accounts.flat().reduce((sum, row) => (keep(row) ? sum + row.macs * row.spent.length : sum), 0)) / Math.max(1, samples);
  const means = (key: 'instance' | 'place', rest: string) => Object.fromEntries([...new Set(accounts.flat().map((row) => row[key]))].map((name) => [name || rest, mean((row) => row[key] === name)]));
  return {
    samples, total: mean(() => true), byPlugin: means('instance', 'backbone'), byPlace: means('place', 'head'),
    perSample: doubled(total), perSampleByPlugin: named(byInstance, 'backbone'), perSampleByPlace: named(byPlace, 'head'),
  };
}

const doubled = ({ expected, spent }: Cost): Cost => {
  const twice = ({ mean, p95 }: Spread): Spread => ({ mean: 2 * mean, p95: 2 * p95 });
  return { expected: twice(expected), spent: twice(spent) };
};

/** Questions that FLOPs are counted on, at most. */
export const COUNTED = 128;

/** FLOPs of the first questions of a split, run for the purpose. */
export async function flopsOn({ adapted, model, data, tokens, batchSize }: Scored, records: readonly VqaRecord[], most = COUNTED): Promise<Flops> {
  const accounts: CostRow[][] = [];
  for await (const batch of batches(records.slice(0, most), { data, tokenizer: tokens, batchSize })) {
    const inputs = model.inputs(batch);
    accounts.push(await adapted.account(inputs, { samples: batch.ids }));
    tf.dispose(tensorsIn(inputs));
  }
  return flopsOf(accounts);
}
