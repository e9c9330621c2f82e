import { adam, adamW, bertAdam, biasesAndNorms, sgd, vlBertAdamW, type Method, type ScheduleOptions } from '@espalier/train';
import { UsageError } from './errors.ts';

/** The names of `--optimiser`. */
export const OPTIMISERS = ['adamw', 'bert-adam', 'vl-bert-adamw', 'adam', 'sgd'] as const;
export type OptimiserName = (typeof OPTIMISERS)[number];

export interface NamedOptimiser {
  readonly method: Method;
  readonly progress: NonNullable<ScheduleOptions['progress']>; // of its reference's schedule
}

/** An optimiser with its own weight decay where none is given. Those of the references decay biases and norms too. @throws UsageError for a decay that it has not. */
export function optimiserNamed(name: OptimiserName, weightDecay?: number): NamedOptimiser {
  const decay = weightDecay === undefined ? {} : { weightDecay };
  switch (name) {
    case 'adamw':
      return { method: adamW({ ...decay, exempt: biasesAndNorms }), progress: 'moving' };
    case 'bert-adam':
      return { method: bertAdam(decay), progress: 'before' };
    case 'vl-bert-adamw':
      return { method: vlBertAdamW(decay), progress: 'after' };
    case 'sgd':
      return { method: sgd({ ...decay, exempt: biasesAndNorms }), progress: 'moving' };
    case 'adam':
      if (weightDecay) throw new UsageError(`--optimiser adam has no weight decay, and --weight-decay is ${weightDecay}. Use adamw, or leave it out.`);
      return { method: adam(), progress: 'moving' };
  }
}
