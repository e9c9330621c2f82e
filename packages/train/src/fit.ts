import { EspalierError, OptionsError, type Adapted } from '@espalier/core';
import type * as tf from '@tensorflow/tfjs';
import { Subject, type Observable } from 'rxjs';
import { setTimeout } from 'node:timers/promises';
import type { TrainEvent, TrainSummary } from './events.ts';
import { optimiserGroups } from './groups.ts';
import { beginning, placeOf, train } from './loop.ts';
import { shieldObservers } from './observers.ts';
import { fitSettings, type FitOptions } from './options.ts';
import type { Task } from './task.ts';

/** A training under way. */
export interface Run {
  /**
   * What happens, as it happens. The run starts in a later turn of the event loop, so whoever subscribes in the same
   * turn as `fit` was called misses nothing; later subscribers get what comes from then on, and after the end only
   * completion. It completes after 'done' or 'failed' and never errors: a failure is the event 'failed', and `done`
   * rejects. An observer that throws, or leaves an operator's error unhandled, gets a process warning; training goes on.
   */
  readonly events: Observable<TrainEvent>;
  /** The summary; rejects with what made the run fail. */
  readonly done: Promise<TrainSummary>;
  /** Asks for the end: the current step is finished, a checkpoint written where there is a directory, `done` says `stopped: true`. */
  stop(): void;
}

/**
 * Trains the variables of an adapted model on a task: gradients by `Adapted.learn`, one update per `accumulate` batches.
 * At the end the model has the variables of the best evaluation when `best` is given, else (and when stopped) those of
 * the last step. Same settings, same numbers: bit for bit on one backend, whether or not the run was interrupted.
 * @throws OptionsError for wrong options, at once; everything later rejects `done`.
 */
export function fit<B, I, T = tf.Tensor2D>(adapted: Adapted<I>, task: Task<B, I, T>, options: FitOptions): Run {
  const settings = fitSettings(options);
  const { batchesPerEpoch } = task;
  if (!(Number.isInteger(batchesPerEpoch) && batchesPerEpoch > 0))
    throw new EspalierError(`fit: the task has ${batchesPerEpoch} batches per epoch, expected at least 1. Is the training split empty, or the batch larger than it?`);
  if (settings.best && !task.validate) throw new EspalierError(`fit: best.metric '${settings.best.metric}' needs a task with validate`);
  if (task.learner && settings.accumulate > 1) throw new OptionsError(`fit: accumulate is ${settings.accumulate}, but the task computes gradients in its own way, of one batch per update`);
  if (task.learner && settings.cache) throw new OptionsError('fit: the task computes gradients in its own way, which no cache of activations serves: leave cache out');
  const groups = optimiserGroups(adapted.trainable, settings.optimisers);
  const stopping = new AbortController();
  const signal = settings.signal ? AbortSignal.any([settings.signal, stopping.signal]) : stopping.signal;
  const subject = new Subject<TrainEvent>();
  const state = beginning();

  const run = async (): Promise<TrainSummary> => {
    const unshield = shieldObservers();
    try {
      await setTimeout(0);
      const summary = await train({ adapted, task, settings, groups, signal, state, emit: (event) => subject.next(event) });
      subject.next({ type: 'done', ...placeOf(state), summary });
      return summary;
    } catch (e) {
      subject.next({ type: 'failed', ...placeOf(state), error: e instanceof Error ? e : new Error(String(e)) });
      throw e;
    } finally {
      groups.dispose();
      await settings.metrics?.close();
      subject.complete();
      unshield();
    }
  };
  return { events: subject.asObservable(), done: run(), stop: () => stopping.abort() };
}
