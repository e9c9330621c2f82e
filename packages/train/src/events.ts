import type { CacheStatistics } from '@espalier/core';
import type { Metrics } from './task.ts';

/** Where a run stands. Steps are updates of the variables, counted from 1; epochs are counted from 1. */
export interface Place {
  readonly step: number;
  readonly epoch: number;
}

/** The first event. */
export interface StartEvent extends Place {
  readonly type: 'start'; // step 0, or the step resumed from
  readonly steps: number; // of the whole run
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly resumed: string | undefined; // the checkpoint's directory
  readonly ignored: readonly string[]; // checkpoints that were incomplete, each with the reason
}
/** The variables were moved. */
export interface StepEvent extends Place {
  readonly type: 'step';
  readonly loss: number; // total, mean over the samples of the step
  readonly losses: Readonly<Record<string, number>>; // 'task' and what plugins added
  readonly accuracy?: number; // the task's score
  readonly gradientNorm: number; // global, before clipping
  readonly learningRates: Readonly<Record<string, number>>; // by parameter group
  readonly samplesPerSecond: number; // smoothed
  readonly eta: number; // seconds left of training, without evaluations
}
/** The task's `validate` was run. */
export interface EvaluationEvent extends Place {
  readonly type: 'evaluation';
  readonly metrics: Metrics;
  readonly best: boolean; // the best so far by the chosen metric
}
/** A whole epoch is over, its evaluation included. */
export interface EpochEvent extends Place {
  readonly type: 'epoch';
  readonly loss: number; // mean over the samples of the epoch
  readonly accuracy?: number;
}
/** A checkpoint was written. */
export interface CheckpointEvent extends Place {
  readonly type: 'checkpoint';
  readonly directory: string;
}
/** The run was asked to stop, and has. */
export interface StoppedEvent extends Place {
  readonly type: 'stopped';
}
/** The last event of a run that did not fail. */
export interface DoneEvent extends Place {
  readonly type: 'done';
  readonly summary: TrainSummary;
}
/** The last event of a run that failed. */
export interface FailedEvent extends Place {
  readonly type: 'failed';
  readonly error: Error;
}
/** What a run tells of itself. */
export type TrainEvent = StartEvent | StepEvent | EvaluationEvent | EpochEvent | CheckpointEvent | StoppedEvent | DoneEvent | FailedEvent;

/** How a run ended. */
export interface TrainSummary extends Place {
  readonly stopped: boolean; // asked to, by `stop()` or the signal; the variables are those of the last step
  readonly reason: 'finished' | 'patience' | 'stopped';
  readonly loss: number | undefined; // of the last step
  readonly best: (Place & { readonly value: number; readonly metrics: Metrics }) | undefined; // whose variables the model now has, unless stopped
  readonly samples: number; // seen in training, before a resume too
  readonly seconds: number; // of the run, before a resume too
  readonly samplesPerSecond: number; // samples / seconds spent in steps
  readonly checkpoint: string | undefined; // the last one's directory
  readonly cached: CacheStatistics | undefined; // where a cache was given
  readonly captured: boolean; // steps were recorded once per shape of the batch and replayed, not traced each time
  readonly captureRefused: string | undefined; // why steps could not be recorded, where the backend can record
}
