import { OptionsError, type ActivationStore, type SaveOptions } from '@espalier/core';
import { z } from 'zod';
import type { BestOptions } from './best.ts';
import type { GroupOptions } from './groups.ts';
import type { MetricSink } from './metrics.ts';
import { parseSettings } from './settings.ts';

export interface CheckpointOptions {
  readonly directory: string; // one run's own
  readonly every?: number; // steps; default 500. A checkpoint is also written at every new best, when stopped, and at the end
  readonly keep?: number; // the last so many, and the best; default 2
  readonly model?: SaveOptions; // what core's `save` is given: the backbone's configuration, the task
}

export interface FitOptions {
  readonly optimisers: Readonly<Record<string, GroupOptions>>; // by parameter group; a plugin's variables are in 'default' unless it says otherwise
  readonly epochs?: number; // at least one of epochs and maxSteps; training ends with the first that is reached
  readonly maxSteps?: number; // updates
  readonly seed?: number; // of dropout and noise; default 0
  readonly clip?: number; // largest norm of the gradient over all groups that have no clip of their own; default 1; Infinity for none
  readonly accumulate?: number; // batches per update; default 1. The last update of an epoch takes what is left
  readonly recompute?: boolean; // compute a block's activations again for its gradient instead of keeping them; default false
  readonly capture?: boolean; // record the step and replay it where the backend can (onnx) and the step allows it; default true. The numbers are the same
  readonly cache?: ActivationStore; // keeps what nothing trainable touches from step to step: core's activationMemory() or activationFiles(DIR). The numbers are the same
  readonly evaluateEvery?: number; // epochs; default 1. The end of the run is always evaluated
  readonly best?: BestOptions;
  readonly checkpoint?: CheckpointOptions;
  readonly resume?: boolean; // go on from the latest whole checkpoint, or begin when there is none; default false
  readonly configuration?: Readonly<Record<string, unknown>>; // what else determines the numbers (data, batch size): a resume must agree in it
  readonly metrics?: MetricSink; // where step, evaluation and epoch records go, such as `metricsFile(path)`
  readonly signal?: AbortSignal; // aborting it is `stop()`
  readonly clock?: () => number; // milliseconds; default performance.now
}

const positive = z.int().positive();
const BestSchema = z.strictObject({ metric: z.string().min(1), goal: z.enum(['max', 'min']).default('max'), patience: positive.or(z.literal(Infinity)).default(Infinity) });
const CheckpointSchema = z.strictObject({
  directory: z.string().min(1),
  every: positive.default(500),
  keep: positive.default(2),
  model: z.custom<SaveOptions>((x) => typeof x === 'object' && x !== null).default({ config: null }),
});
// Parsed on their own, so that a misspelt option is compared with its neighbours.
const nested = z.record(z.string(), z.unknown());
const FitSchema = z.strictObject({
  optimisers: z.custom<FitOptions['optimisers']>((x) => typeof x === 'object' && x !== null, 'expected { default: { method: adamW(), rate: 1e-4 } }'),
  epochs: positive.optional(),
  maxSteps: positive.optional(),
  seed: z.int().default(0),
  clip: z.number().positive().or(z.literal(Infinity)).default(1),
  accumulate: positive.default(1),
  recompute: z.boolean().default(false),
  capture: z.boolean().default(true),
  cache: z.custom<ActivationStore>((x) => typeof x === 'object' && x !== null && 'get' in x && 'set' in x, 'expected a store such as activationMemory() or activationFiles(DIR)').optional(),
  evaluateEvery: positive.default(1),
  best: nested.optional(),
  checkpoint: nested.optional(),
  resume: z.boolean().default(false),
  configuration: z.record(z.string(), z.unknown()).default({}),
  metrics: z.custom<MetricSink>((x) => typeof x === 'object' && x !== null && 'write' in x, "expected a metric sink such as metricsFile('metrics.jsonl')").optional(),
  signal: z.instanceof(AbortSignal).optional(),
  clock: z.custom<() => number>((x) => typeof x === 'function').default(() => () => performance.now()),
});
/** Options with their defaults. */
export type FitSettings = Omit<z.infer<typeof FitSchema>, 'best' | 'checkpoint'> & {
  readonly best: z.infer<typeof BestSchema> | undefined;
  readonly checkpoint: z.infer<typeof CheckpointSchema> | undefined;
};

/** @throws OptionsError for unknown options, with the nearest names, and for wrong values. */
export function fitSettings(options: FitOptions): FitSettings {
  const given = parseSettings('fit', FitSchema, options);
  const settings = {
    ...given,
    best: given.best && parseSettings('fit: best', BestSchema, given.best),
    checkpoint: given.checkpoint && parseSettings('fit: checkpoint', CheckpointSchema, given.checkpoint),
  };
  if (settings.epochs === undefined && settings.maxSteps === undefined) throw new OptionsError('fit: give epochs, maxSteps, or both');
  if (settings.resume && !settings.checkpoint) throw new OptionsError('fit: resume needs checkpoint.directory to resume from');
  return settings;
}
