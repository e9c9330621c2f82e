import { didYouMean, EspalierError } from '@espalier/core';
import { z } from 'zod';
import type { Place } from './events.ts';
import type { Metrics } from './task.ts';

/** By which validation metric the best variables are chosen. They are restored at the end of the run. */
export interface BestOptions {
  readonly metric: string;
  readonly goal?: 'max' | 'min'; // default 'max'
  readonly patience?: number; // evaluations without a new best after which training stops early; default no limit
}

export const BestState = z.strictObject({
  step: z.int().nonnegative(),
  epoch: z.int().positive(),
  value: z.number(),
  metrics: z.record(z.string(), z.number()),
  waited: z.int().nonnegative(), // evaluations since
});
/** The best evaluation so far. */
export type BestState = z.infer<typeof BestState>;

/** The state after one more evaluation. Only a strictly better value is a new best. @throws EspalierError when the metric is missing or not finite. */
export function considered(best: BestState | undefined, { metric, goal = 'max' }: BestOptions, metrics: Metrics, { step, epoch }: Place): BestState {
  const value = metrics[metric];
  const names = Object.keys(metrics);
  if (value === undefined) throw new EspalierError(`validation gave no metric '${metric}'.${didYouMean(metric, names)} It gave ${names.join(', ') || 'none'}.`);
  if (!Number.isFinite(value)) throw new EspalierError(`step ${step}: validation gave ${value} for '${metric}', expected a finite number`);
  const better = !best || (goal === 'max' ? value > best.value : value < best.value);
  return better ? { step, epoch, value, metrics: { ...metrics }, waited: 0 } : { ...best, waited: best.waited + 1 };
}

/** Whether patience is at its end. */
export const exhausted = (best: BestState | undefined, { patience = Infinity }: BestOptions): boolean => best !== undefined && best.waited >= patience;
