import { OptionsError } from '@espalier/core';
import { z } from 'zod';
import { parseSettings } from './settings.ts';

/** What the learning rate is multiplied by over a run. */
export interface Schedule {
  readonly settings: Readonly<Record<string, unknown>>;
  /** The factor of update `step` (from 1) of `total`; in [0, 1]. @throws OptionsError when the warm-up is longer than the run. */
  factor(step: number, total: number): number;
}

export interface ScheduleOptions {
  readonly shape?: 'constant' | 'linear' | 'cosine'; // what follows the warm-up; default 'constant'
  readonly warmup?: { readonly steps: number } | { readonly fraction: number }; // default none; a fraction is of the total, rounded
  readonly floor?: number; // the factor that linear and cosine fall towards; default 0
  readonly progress?: 'moving' | 'before' | 'after'; // how far update t is; default 'moving'
}

const Warmup = z.union([z.strictObject({ steps: z.int().nonnegative() }), z.strictObject({ fraction: z.number().min(0).max(1) })], {
  error: 'expected { steps: 500 } or { fraction: 0.1 }',
});
const ScheduleSchema = z.strictObject({
  shape: z.enum(['constant', 'linear', 'cosine']).default('constant'),
  warmup: Warmup.default({ steps: 0 }),
  floor: z.number().min(0).max(1).default(0),
  progress: z.enum(['moving', 'before', 'after']).default('moving'),
});

/**
 * Update t of T with W of warm-up, at progress p: p / W while p < W; then with u = (p - W) / (T - W) in [0, 1]
 * constant 1, linear floor + (1 - floor)(1 - u), cosine floor + (1 - floor)(1 + cos(pi u)) / 2. The progress p is
 *   moving  t in the warm-up and t - 1 after it: neither the first nor the last update has rate 0, no step is wasted;
 *   before  t - 1: the first update has rate 0, as with BertAdam in LXMERT. A fraction of warm-up is then not rounded;
 *   after   t: the last update has rate 0, as in VL-BERT and with Hugging Face's linear schedule.
 * @throws OptionsError.
 */
export function schedule(options: ScheduleOptions = {}): Schedule {
  const settings = parseSettings('schedule', ScheduleSchema, options);
  const { shape, warmup, floor, progress } = settings;
  return {
    settings,
    factor: (step, total) => {
      const warm = 'steps' in warmup ? warmup.steps : progress === 'before' ? warmup.fraction * total : Math.round(warmup.fraction * total);
      if (warm > total) throw new OptionsError(`schedule: a warm-up of ${warm} steps does not fit into a run of ${total}. Shorten it, or give it as { fraction: 0.1 }.`);
      const p = progress === 'before' || (progress === 'moving' && step > warm) ? step - 1 : step;
      if (p < warm) return p / warm;
      if (shape === 'constant' || warm === total) return 1;
      const u = (p - warm) / (total - warm);
      return floor + (1 - floor) * (shape === 'linear' ? 1 - u : (1 + Math.cos(Math.PI * u)) / 2);
    },
  };
}
