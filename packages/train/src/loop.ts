import { EspalierError, tensorsIn, type Adapted } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';
import { setImmediate } from 'node:timers/promises';
import { considered, exhausted } from './best.ts';
import type { TrainerState } from './checkpoint.ts';
import type { EpochEvent, EvaluationEvent, Place, StepEvent, TrainEvent, TrainSummary } from './events.ts';
import type { Groups } from './groups.ts';
import { openKeeper } from './keeper.ts';
import type { FitSettings } from './options.ts';
import { pace } from './pace.ts';
import type { Task } from './task.ts';
import { updateOf } from './update.ts';

/** What a run consists of. */
export interface Training<B, I, T> {
  readonly adapted: Adapted<I>;
  readonly task: Task<B, I, T>;
  readonly settings: FitSettings;
  readonly groups: Groups;
  readonly signal: AbortSignal;
  readonly state: TrainerState; // at first `beginning()`
  emit(event: TrainEvent): void;
}

/** The state before the first step. */
export const beginning = (): TrainerState => ({
  step: 0, epoch: 1, batch: 0, evaluated: 0, samples: 0, seconds: 0, busy: 0, records: 0, running: { weight: 0, loss: 0 },
});

/** The step made last, and the epoch it belongs to. */
export const placeOf = ({ step, epoch, batch }: TrainerState): Place => ({ step, epoch: batch === 0 && epoch > 1 ? epoch - 1 : epoch });

/** How long the run is: in updates, in all and per epoch. */
export function lengthOf({ batchesPerEpoch }: { readonly batchesPerEpoch: number }, { epochs = Infinity, maxSteps = Infinity, accumulate }: FitSettings) {
  const stepsPerEpoch = Math.ceil(batchesPerEpoch / accumulate);
  const steps = Math.min(maxSteps, epochs * stepsPerEpoch);
  return { steps, stepsPerEpoch, epochs: Math.ceil(steps / stepsPerEpoch) };
}

/** Trains until the run's end, its patience's end, or a stop. */
export async function train<B, I, T>(training: Training<B, I, T>): Promise<TrainSummary> {
  const { adapted, task, settings, groups, signal, state, emit } = training;
  const { best: choice, metrics, clock, accumulate, evaluateEvery, checkpoint: saving } = settings;
  const { steps, stepsPerEpoch, epochs } = lengthOf(task, settings);
  const { keeper, state: resumed, ignored } = await openKeeper(adapted, groups, settings, configurationOf(training));
  if (resumed) Object.assign(state, resumed);
  else await adapted.prepare(() => someInputs(task));
  await metrics?.open(state.records);
  const began = clock() - 1000 * state.seconds;
  const learning = { loss: task.loss, score: task.score, recompute: settings.recompute, capture: settings.capture, cache: settings.cache };
  const learner = task.learner?.(adapted, learning) ?? adapted.learner(learning);
  const speed = pace();
  const place = () => placeOf(state);
  emit({ type: 'start', ...place(), steps, epochs, stepsPerEpoch, resumed: resumed && keeper.last, ignored });

  /** Emits what belongs into the metrics, and writes it there first. */
  const record = async (event: StepEvent | EvaluationEvent | EpochEvent) => {
    if (metrics) {
      await metrics.write({ ...event, time: (clock() - began) / 1000 });
      state.records++;
    }
    emit(event);
  };

  const checkpoint = async () => {
    await metrics?.flush(); // a checkpoint counts on its records
    state.seconds = (clock() - began) / 1000;
    const directory = await keeper.write(state);
    if (directory !== undefined) emit({ type: 'checkpoint', ...place(), directory });
  };
  const due = () => saving !== undefined && state.step % saving.every === 0;

  /** From where the epoch stands to its end, the run's end, or a stop. */
  const learnEpoch = async () => {
    const { epoch } = state;
    let update = updateOf(learner, task, groups, settings, state.step + 1);
    let since = clock();
    try {
      for await (const batch of task.batches(epoch, state.batch)) {
        if (state.batch === task.batchesPerEpoch) throw new EspalierError(`epoch ${epoch} has more batches than the task's batchesPerEpoch ${task.batchesPerEpoch}`);
        await update.learn(batch);
        if (update.batches < accumulate && state.batch + update.batches < task.batchesPerEpoch) continue;
        const { loss, losses, score, norm, learningRates } = await update.apply(steps, keeper.last);
        const { batches, samples } = update;
        const seconds = (clock() - since) / 1000;
        since = clock();
        speed.step(samples, seconds);
        const { running } = state;
        Object.assign(state, {
          step: state.step + 1, batch: state.batch + batches, samples: state.samples + samples, busy: state.busy + seconds, lastLoss: loss,
          running: {
            weight: running.weight + samples, loss: running.loss + loss * samples,
            ...(score !== undefined && { score: (running.score ?? 0) + score * samples }),
          },
        });
        await record({
          type: 'step', ...place(), loss, losses, ...(score !== undefined && { accuracy: score }), gradientNorm: norm, learningRates,
          samplesPerSecond: speed.samplesPerSecond, eta: (steps - state.step) * speed.secondsPerStep,
        });
        update.dispose();
        update = updateOf(learner, task, groups, settings, state.step + 1);
        if (state.step === steps) return;
        if (due() && state.batch < task.batchesPerEpoch) await checkpoint();
        await setImmediate(); // a backend may compute without ever waiting: let timers, signals and consumers have their turn
        if (signal.aborted) return;
        since = clock();
      }
    } finally {
      update.dispose();
    }
    if (state.batch < task.batchesPerEpoch)
      throw new EspalierError(`epoch ${epoch} ended after ${state.batch + update.batches} batches, the task's batchesPerEpoch is ${task.batchesPerEpoch}`);
  };

  /** Evaluation, and the end of an epoch. False when it was cut short by a stop. */
  const settle = async (): Promise<boolean> => {
    const whole = state.batch === task.batchesPerEpoch;
    const last = state.step === steps;
    let better = false;
    if (task.validate && (last || state.epoch % evaluateEvery === 0) && state.evaluated !== state.step) {
      const found = await task.validate(adapted, signal);
      if (!found && signal.aborted) return false;
      if (!found) throw new EspalierError('validate gave no metrics although it was not asked to stop');
      for (const [name, value] of Object.entries(found))
        if (!Number.isFinite(value)) throw new EspalierError(`step ${state.step}: validation gave ${value} for '${name}', expected a finite number. Leave out what has no value.`);
      if (choice) state.best = considered(state.best, choice, found, place());
      better = choice !== undefined && state.best?.step === state.step;
      if (better) await keeper.remember();
      state.evaluated = state.step;
      await record({ type: 'evaluation', ...place(), metrics: found, best: better });
    }
    if (whole) {
      const { weight, loss, score } = state.running;
      const mean = (sum: number) => (weight ? sum / weight : 0); // batches of a task may be empty
      await record({ type: 'epoch', ...place(), loss: mean(loss), ...(score !== undefined && { accuracy: mean(score) }) });
      Object.assign(state, { epoch: state.epoch + 1, batch: 0, running: { weight: 0, loss: 0 } });
    }
    if (better || last || due() || outOfPatience()) await checkpoint();
    return true;
  };

  const outOfPatience = () => choice !== undefined && exhausted(state.best, choice);
  const settled = () => state.batch < task.batchesPerEpoch && (!task.validate || state.evaluated === state.step);
  const run = async (): Promise<TrainSummary['reason']> => {
    for (;;) {
      if (outOfPatience()) return 'patience';
      if (state.step === steps && settled()) return 'finished';
      if (signal.aborted) return 'stopped';
      if (state.step < steps && state.batch < task.batchesPerEpoch) await learnEpoch();
      if (signal.aborted || !(await settle())) return 'stopped';
    }
  };

  const reason = await run().finally(() => learner.dispose());
  const stopped = reason === 'stopped';
  await checkpoint(); // does nothing when this very state is there already
  if (stopped) emit({ type: 'stopped', ...place() });
  else if (state.best && state.best.step !== state.step) await keeper.recall(state);
  const seconds = (clock() - began) / 1000;
  return {
    ...place(), stopped, reason, loss: state.lastLoss, best: state.best && bestOf(state.best), samples: state.samples, seconds,
    samplesPerSecond: state.busy > 0 ? state.samples / state.busy : 0, checkpoint: keeper.last,
    captured: learner.captures, captureRefused: learner.refused, cached: learner.cached,
  };
}

/** Samples that first values are made from, at most. */
const PREPARED = 1000;

/** Inputs of the first epoch's first samples. */
async function* someInputs<B, I, T>(task: Task<B, I, T>): AsyncGenerator<I> {
  let seen = 0;
  for await (const batch of task.batches(1, 0)) {
    const inputs = task.inputs(batch);
    try {
      yield inputs;
    } finally {
      tf.dispose(tensorsIn(inputs));
    }
    seen += task.samples(batch).length;
    if (seen >= PREPARED) return;
  }
}

const bestOf = ({ step, epoch, value, metrics }: NonNullable<TrainerState['best']>) => ({ step, epoch, value, metrics });

/** What determines the numbers of a run. `recompute`, `capture` and `cache` do not. */
function configurationOf<B, I, T>({ adapted, task, settings, groups }: Training<B, I, T>): Readonly<Record<string, unknown>> {
  const { seed, epochs, maxSteps, clip, accumulate, evaluateEvery, best, configuration } = settings;
  return {
    seed, epochs, maxSteps, accumulate, evaluateEvery,
    clip: String(clip),
    best: best && { ...best, patience: String(best.patience) },
    batchesPerEpoch: task.batchesPerEpoch,
    optimisers: groups.settings,
    model: adapted.model.name,
    initialisers: adapted.seed,
    plugins: adapted.plugins.map(({ instance, options, trainable }) => ({ instance, trainable, options })),
    variables: Object.fromEntries([...adapted.parameters.values()].map((p) => [p.path, `[${p.variable.shape.join(', ')}] ${p.group}`])),
    task: configuration,
  };
}
