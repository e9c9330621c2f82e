import { OptionsError } from '@espalier/core';
import { z } from 'zod';
import { parseSettings } from './settings.ts';

/** What the learning rate is multiplied by over a run. */
export interface Schedule {
  readonly settings: Readonly<Record<string, unknown>>;
  /** The factor of update `step` (from 1) of `total`; in (0, 1]. @throws OptionsError when the warm-up is longer than the run. */
  factor(step: number, total: number): number;
}

export interface ScheduleOptions {
  readonly shape?: 'constant' | 'linear' | 'cosine'; // what follows the warm-up; default 'constant'
  readonly warmup?: { readonly steps: number } | { readonly fraction: number }; // default none; a fraction is of the total, rounded
  readonly floor?: number; // the factor that linear and cosine fall towards; default 0
}

const Warmup = z.union([z.strictObject({ steps: z.int().nonnegative() }), z.strictObject({ fraction: z.number().min(0).max(1) })], {
  error: 'expected { steps: 500 } or { fraction: 0.1 }',
});
const ScheduleSchema = z.strictObject({
  shape: z.enum(['constant', 'linear', 'cosine']).default('constant'),
  warmup: Warmup.default({ steps: 0 }),
  floor: z.number().min(0).max(1).default(0),
});

/**
 * Update t of T with W of warm-up: t / W while t <= W; then with u = (t - 1 - W) / (T - W) in [0, 1)
 * constant 1, linear floor + (1 - floor)(1 - u), cosine floor + (1 - floor)(1 + cos(pi u)) / 2.
 * So neither the first nor the last update has rate 0: no step is wasted. @throws OptionsError.
 */
export function schedule(options: ScheduleOptions = {}): Schedule {
  const settings = parseSettings('schedule', ScheduleSchema, options);
  const { shape, warmup, floor } = settings;
  return {
    settings,
    factor: (step, total) => {
      const warm = 'steps' in warmup ? warmup.steps : Math.round(warmup.fraction * total);
      if (warm > total) throw new OptionsError(`schedule: a warm-up of ${warm} steps does not fit into a run of ${total}. Shorten it, or give it as { fraction: 0.1 }.`);
      if (step <= warm) return step / warm;
      if (shape === 'constant') return 1;
      const u = (step - 1 - warm) / (total - warm);
      return floor + (1 - floor) * (shape === 'linear' ? 1 - u : (1 + Math.cos(Math.PI * u)) / 2);
    },
  };
}
